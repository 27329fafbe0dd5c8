// What the image holds, tried without an image: the root folder that scripts/stage-root.mjs makes, and the program started inside it with
// nothing else of this machine: a read-only root, an unprivileged user, no shell.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { startTestDns } from '../support/dns.ts';
import { echo, startOrigin } from '../support/origin.ts';
import { launch, run } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writePolicy } from '../support/temp.ts';
import { canMount } from '../support/tmpfs.ts';
import { LOOPBACK } from '../support/world.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const MB = 1_000_000;
let root = '';
let data = '';

beforeAll(() => {
  const dir = tempDir('image');
  chmodSync(dir, 0o755);
  root = join(dir, 'root');
  data = join(dir, 'data');
  mkdirSync(data);
  chmodSync(data, 0o777);
  execFileSync(process.execPath, ['scripts/stage-root.mjs', root], { cwd: ROOT });
}, 120_000);

function everything(folder = root): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) =>
    entry.isFile() ? [join(entry.parentPath, entry.name)] : [],
  );
}

/** The program in the root folder, which is mounted read-only; data/ is its only writable place. */
function inside(...args: string[]): string[] {
  const script = [
    'set -e',
    `mount --bind ${root} ${root}`,
    `mount --bind ${data} ${root}/var/lib/sallyport`,
    `mount -o remount,ro,bind ${root}`,
    `exec env -i PATH=/usr/sbin:/usr/bin SALLYPORT_CONFIG=/var/lib/sallyport/sallyport.yaml chroot --userspec=65532:65532 ${root} /usr/local/bin/node /opt/sallyport/dist/main.js "$@"`,
  ].join('\n');
  return ['unshare', '--mount', 'sh', '-c', script, 'sh', ...args];
}

describe('the root folder', () => {
  it('is below 200 MB and has no shell, no package manager and nothing that only builds need', () => {
    const files = everything();
    expect(files.reduce((sum, file) => sum + statSync(file).size, 0)).toBeLessThan(200 * MB);
    const names = files.map((file) => file.slice(root.length));
    expect(names.filter((name) => /\/(?:sh|bash|busybox|apt|npm|npx)$/.test(name))).toEqual([]);
    expect(names.filter((name) => name.includes('/node_modules/'))).toEqual([]);
    expect(names.filter((name) => /\.(?:[cm]?ts|map|tsbuildinfo)$/.test(name))).toEqual([]);
  });

  it('is about as large as docs/deployment.md says', () => {
    const said = Number(/about (\d+) MB/.exec(readFileSync(join(ROOT, 'docs/deployment.md'), 'utf8'))?.[1]);
    const size = everything().reduce((sum, file) => sum + statSync(file).size, 0) / MB;
    expect(Math.abs(size / said - 1)).toBeLessThan(0.1);
  });

  it('names each package that is in it, with its licence', () => {
    const text = readFileSync(join(root, 'opt/sallyport/dist/THIRD-PARTY.txt'), 'utf8');
    const packages: { name: string; version: string }[] = JSON.parse(
      readFileSync(join(root, 'opt/sallyport/dist/third-party.json'), 'utf8'),
    );
    expect(packages.length).toBeGreaterThan(20);
    for (const { name, version } of packages) expect(text).toContain(`${name} ${version} (`);
    expect(existsSync(join(root, 'opt/sallyport/LICENSE'))).toBe(true);
  });

  it('is the same each time: every file has the date of the sources', () => {
    expect(new Set(everything().map((file) => statSync(file).mtimeMs))).toEqual(new Set([0]));
  });
});

describe.skipIf(!canMount())('the program in it (needs root to mount)', { timeout: 120_000 }, () => {
  it('serves, is asked for its health, and drains, as an unprivileged user on a read-only root', async () => {
    const origin = await startOrigin(echo);
    const dns = await startTestDns();
    dns.set('a.allowed.test', ['127.0.0.1']);
    writePolicy(join(data, 'sallyport.yaml'), {
      version: 1,
      listen: '127.0.0.1:0',
      admin: '127.0.0.1:0',
      clients: { from: LOOPBACK },
      allow: [{ host: 'a.allowed.test', ports: [origin.port], protocol: 'any', addresses: LOOPBACK }],
      dns: { servers: [dns.address] },
      audit: { file: '/var/lib/sallyport/audit.jsonl' },
      usage: { store: '/var/lib/sallyport/usage.db' },
    });
    const proxy = launch(inside('serve'), { cwd: '/' });
    const ready = await proxy.printed(/sallyport ready: .*?127\.0\.0\.1:(\d+).*?127\.0\.0\.1:(\d+)/);
    const [port, admin] = [Number(ready[1]), Number(ready[2])];
    const client = await RawClient.connect({ host: '127.0.0.1', port });
    client.send(`CONNECT a.allowed.test:${origin.port} HTTP/1.1\r\nHost: x\r\n\r\nhello`);
    expect((await client.readHead()).status).toBe(200);
    expect((await client.read(5)).toString()).toBe('hello');
    client.end();
    await client.readAll();

    // The health check reads the policy file; this one names the port that the kernel chose.
    const policy = readFileSync(join(data, 'sallyport.yaml'), 'utf8');
    writePolicy(join(data, 'health.yaml'), { ...(parse(policy) as object), admin: `127.0.0.1:${admin}` });
    const asked = await run(inside('health', '--config', '/var/lib/sallyport/health.yaml'), { cwd: '/' });
    expect(asked).toMatchObject({ code: 0, stdout: 'ready\n' });

    proxy.child.kill('SIGTERM');
    expect((await proxy.exited).code).toBe(0);
    expect((await run(inside('audit', 'verify', '--log', '/var/lib/sallyport/audit.jsonl'), { cwd: '/' })).code).toBe(
      0,
    );
    const gone = await run(inside('health', '--config', '/var/lib/sallyport/health.yaml'), { cwd: '/' });
    expect(gone.code).toBe(1);
    expect(gone.stderr).toContain('ECONNREFUSED');
    expect(statSync(join(data, 'audit.jsonl')).uid).toBe(65_532);
    await origin.close();
    await dns.close();
  });
});
