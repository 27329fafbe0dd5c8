// The product as one file, alone in an empty folder, as on a host that has Node.js and nothing else: it serves, reports, upgrades, has its
// dashboard, and refuses to run what is damaged or what others could have changed.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startTestDns } from '../support/dns.ts';
import { startHttpOrigin } from '../support/origin.ts';
import { type Finished, launch, PROCESSES_MS, run } from '../support/proxy-process.ts';
import { tempDir, writePolicy } from '../support/temp.ts';
import { LOOPBACK } from '../support/world.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const READY = /sallyport ready: proxy 127\.0\.0\.1:(\d+) admin 127\.0\.0\.1:(\d+)/;
let made = '';

beforeAll(() => {
  made = join(tempDir('single'), 'sallyport');
  execFileSync(process.execPath, ['scripts/single-file.mjs', made], { cwd: ROOT });
}, PROCESSES_MS);

/** A folder with nothing but the file, and the environment of a user whose home is there. */
function host(type: 'commonjs' | 'module' = 'commonjs') {
  const dir = tempDir('host');
  const file = join(dir, 'sallyport');
  copyFileSync(made, file);
  // What lies beside it, or above, may say of what kind files without an ending are.
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ type }));
  const env = { HOME: join(dir, 'home'), XDG_CACHE_HOME: undefined, CACHE_DIRECTORY: undefined };
  const options = { cwd: dir, env };
  const sallyport = (...args: string[]): Promise<Finished> => run([process.execPath, file, ...args], options);
  return { dir, file, options, cache: join(env.HOME, '.cache', 'sallyport'), sallyport };
}

/** One byte of what is packed is another one. */
function damage(file: string): void {
  const text = readFileSync(file, 'latin1');
  const at = text.lastIndexOf('/*packed') + 1_000;
  writeFileSync(file, `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`, 'latin1');
}

describe('one file', { timeout: PROCESSES_MS }, () => {
  it('is about as large as docs/deployment.md says', () => {
    const page = readFileSync(join(ROOT, 'docs/deployment.md'), 'utf8');
    const said = Number(/`build\/sallyport`, ([\d.]+) MB/.exec(page)?.[1]);
    expect(Math.abs(statSync(made).size / 1e6 / said - 1)).toBeLessThan(0.1);
  });

  it('serves, reports and upgrades', async () => {
    const { dir, file, options, sallyport } = host();
    const origin = await startHttpOrigin((_, response) => response.end('from the origin'));
    const dns = await startTestDns();
    dns.set('a.allowed.test', ['127.0.0.1']);
    const config = writePolicy(join(dir, 'sallyport.yaml'), {
      version: 1,
      listen: '127.0.0.1:0',
      admin: '127.0.0.1:0',
      clients: { from: LOOPBACK },
      allow: [{ host: 'a.allowed.test', ports: [origin.port], protocol: 'http', addresses: LOOPBACK }],
      dns: { servers: [dns.address] },
    });
    const proxy = launch([process.execPath, file, 'serve', '--config', config], options);
    onTestFinished(() => void proxy.child.kill('SIGKILL'));
    const [, port = '', admin = ''] = await proxy.printed(READY);
    const curl = (...args: string[]) => run(['curl', '-sS', '-x', `http://127.0.0.1:${port}`, ...args], options);
    expect((await curl(`http://a.allowed.test:${origin.port}/`)).stdout).toBe('from the origin');
    expect((await curl('-i', 'http://b.refused.test/')).stdout).toMatch(/^HTTP\/1\.1 403 host-not-allowed/);
    expect(await (await fetch(`http://127.0.0.1:${admin}/`)).text()).toContain('<title>Sallyport');

    // Its output stays open in the new process's hands: the exit is told, the end of the output is not.
    const ended = once(proxy.child, 'exit');
    const upgraded = await sallyport('upgrade', '--config', config);
    expect(upgraded.code, upgraded.stderr).toBe(0);
    expect(await ended).toEqual([0, null]);
    expect((await curl(`http://a.allowed.test:${origin.port}/`)).stdout).toBe('from the origin');
    const next = JSON.parse(readFileSync(join(dir, 'data', 'audit.jsonl.lock'), 'utf8')) as { pid: number };
    onTestFinished(() => {
      if (existsSync(`/proc/${next.pid}`)) process.kill(next.pid, 'SIGKILL');
    });
    process.kill(next.pid, 'SIGTERM');
    await proxy.exited;

    const report = await sallyport('report', '--config', config, '--json');
    expect(JSON.parse(report.stdout).totals).toMatchObject({ requests: 3, tunnels: 2, denied: 1 });
    await origin.close();
    await dns.close();
  });

  it('is unpacked once', async () => {
    const { file, cache, sallyport } = host();
    expect((await sallyport('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const [unpacked = '', ...more] = readdirSync(cache);
    expect(more).toEqual([]);
    expect(readdirSync(join(cache, unpacked, 'dist'))).toContain('THIRD-PARTY.txt');
    // What is packed is not read again.
    damage(file);
    expect((await sallyport('--version')).code).toBe(0);
  });

  it.each(['commonjs', 'module'] as const)('runs among files of type %s', async (type) => {
    expect((await host(type).sallyport('--version')).code).toBe(0);
  });

  it('runs nothing of what is damaged', async () => {
    const { file, sallyport } = host();
    damage(file);
    const { code, stderr } = await sallyport('--version');
    expect([code, stderr]).toEqual([1, expect.stringContaining('is damaged')]);
  });

  it('runs nothing that others could have changed', async () => {
    const { cache, sallyport } = host();
    mkdirSync(cache, { recursive: true });
    chmodSync(cache, 0o777);
    const { code, stderr } = await sallyport('--version');
    expect([code, stderr]).toEqual([1, expect.stringContaining(`${cache}: others may write there`)]);
    expect(readdirSync(cache)).toEqual([]);
  });

  it('says what it lacks where no cache is named', async () => {
    const { file, options } = host();
    const nowhere = { ...options, env: { ...options.env, HOME: undefined } };
    const { code, stderr } = await run([process.execPath, file, '--version'], nowhere);
    expect([code, stderr]).toEqual([1, expect.stringContaining('neither HOME nor XDG_CACHE_HOME is set')]);
  });
});
