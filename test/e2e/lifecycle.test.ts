// The life of the process as an operator drives it: start, signals, crash, restart, and every way in which it must refuse to start.
import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Line } from '../../src/policy/record.ts';
import { decided, ended } from '../support/lines.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLine, auditLines, MAIN, PROCESSES_MS, readAudit, run, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writeFile, writePolicy } from '../support/temp.ts';
import { askedFor, openTunnel, ping } from '../support/tunnel.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

let world: World;
let origin: Origin;
const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const thing of open.splice(0)) await thing.close();
});

const HOST = 'echo.allowed.test';
const rule = (host: string) => ({ host, ports: [origin.port], protocol: 'any', addresses: LOOPBACK });

async function start(policy: Readonly<Record<string, unknown>> = {}): Promise<void> {
  origin = await startOrigin(echo);
  open.push(origin);
  world = await startWorld(
    { allow: [rule(HOST)], ...policy },
    { [HOST]: ['127.0.0.1'], 'late.allowed.test': ['127.0.0.1'] },
  );
  open.push(world);
}

const tunnel = (host = HOST): Promise<RawClient> => openTunnel(world.proxy.proxy, host, origin.port);
const asked = (host: string): Promise<string> => askedFor(world.proxy.proxy, host, origin.port);

const notes =
  (event: string) =>
  (line: Line): boolean =>
    line.event === event;

describe('SIGTERM', () => {
  it('ends an idle proxy with exit code 0', async () => {
    await start();
    expect(await world.proxy.stop()).toMatchObject({ code: 0, signal: null });
    expect(readAudit(world.auditFile).map(({ event }) => event)).toEqual(['start', 'stop']);
  });

  it('lets an open tunnel finish, takes no new one, and then ends with 0', async () => {
    await start();
    const client = await tunnel();
    world.proxy.signal('SIGTERM');
    await world.proxy.printed(/draining/);
    await expect(RawClient.connect(world.proxy.proxy)).rejects.toThrow(/ECONNREFUSED/);
    await ping(client);
    client.end();
    expect(await world.proxy.exited).toMatchObject({ code: 0 });
    expect(readAudit(world.auditFile).find(ended(HOST))).toMatchObject({
      outcome: 'closed',
      bytes_up: 8,
      bytes_down: 8,
    });
  });

  it('cuts the tunnels that outlast drain_timeout_ms, and records that', async () => {
    await start({ limits: { drain_timeout_ms: 100 } });
    const client = await tunnel();
    expect(await world.proxy.stop()).toMatchObject({ code: 0 });
    expect(readAudit(world.auditFile).find(ended(HOST))).toMatchObject({ outcome: 'drained' });
    client.close();
  });

  it('twice ends at once', async () => {
    await start({ limits: { drain_timeout_ms: 3_600_000 } });
    const client = await tunnel();
    world.proxy.signal('SIGTERM');
    await world.proxy.printed(/draining/);
    expect(await world.proxy.stop()).toMatchObject({ code: 0 });
    expect(readAudit(world.auditFile).at(-1)).toMatchObject({ event: 'stop' });
    client.close();
  });
});

describe('SIGHUP', () => {
  it('takes a new policy, and leaves open tunnels alone', async () => {
    await start();
    const client = await tunnel();
    expect(await asked('late.allowed.test')).toBe('403 host-not-allowed');
    world.write({ allow: [rule('late.allowed.test')] });
    world.proxy.signal('SIGHUP');
    const note = await auditLine(world.auditFile, notes('policy'));
    expect(note).toMatchObject({ detail: { result: 'loaded', before: world.proxy.policy } });
    expect(await asked('late.allowed.test')).toMatch(/^200/);
    expect(await asked(HOST)).toBe('403 host-not-allowed');
    await ping(client);
    client.close();
    const last = readAudit(world.auditFile).findLast(decided(HOST));
    expect(last?.policy).toBe(note.policy);
    expect(last?.policy).not.toBe(world.proxy.policy);
  });

  it.each([
    ['cut', 'reset'],
    ['keep', 'open'],
  ] as const)('with on_reload: %s an open tunnel that the new policy refuses is %s', async (onReload, state) => {
    await start();
    const client = await tunnel();
    world.write({ allow: [rule('late.allowed.test')], on_reload: onReload });
    world.proxy.signal('SIGHUP');
    const note = await auditLine(
      world.auditFile,
      (line) => line.event === 'policy' && line.detail['on_reload'] === onReload,
    );
    expect(note).toMatchObject({ detail: { result: 'decided-again', open: 1, refused: 1 } });
    await world.proxy.printed(/open requests that the policy in force refuses/);
    if (state === 'open') await ping(client);
    else {
      await client.readAll();
      expect(await auditLine(world.auditFile, ended(HOST))).toMatchObject({ outcome: 'policy-changed' });
    }
    expect(client.state).toBe(state);
    client.close();
  });

  it.each([
    ['a bad value', 'version: 1\nallow: ["*.com"]\n', 'config-pattern'],
    ['a half-written file', 'version: 1\nallow: [ "a.te', 'config-syntax'],
    ['an empty file', '', 'config-empty'],
  ])('keeps the old policy on %s, and says so', async (_, text, code) => {
    await start();
    writeFileSync(world.configFile, text);
    world.proxy.signal('SIGHUP');
    await world.proxy.printed(new RegExp(code));
    expect(await asked(HOST)).toMatch(/^200/);
    expect(await asked('late.allowed.test')).toBe('403 host-not-allowed');
    expect(await auditLine(world.auditFile, notes('policy'))).toMatchObject({
      detail: { result: 'refused' },
      policy: world.proxy.policy,
    });
  });
});

describe('SIGUSR2', () => {
  it('goes on in a new file after the old one was renamed, and the chain holds over both', async () => {
    await start();
    await asked('one.denied.test');
    const rotated = `${world.auditFile}.1`;
    renameSync(world.auditFile, rotated);
    world.proxy.signal('SIGUSR2');
    await auditLine(world.auditFile, notes('reopen'));
    await asked('two.denied.test');
    expect(readAudit(rotated).some(decided('one.denied.test'))).toBe(true);
    const rest = readAudit(world.auditFile);
    expect(rest.some(decided('two.denied.test'))).toBe(true);
    expect(rest[0]?.seq).toBe((readAudit(rotated).at(-1)?.seq ?? 0) + 1);
    const verified = await sallyport(['audit', 'verify', '--config', world.configFile], { cwd: world.dir });
    expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
  });
});

describe('kill -9', () => {
  it('loses no answered request, and the next start closes the open ones as interrupted', async () => {
    await start();
    const client = await tunnel();
    for (let i = 0; i < 20; i++) expect(await asked(`n${i}.denied.test`)).toBe('403 host-not-allowed');
    const open = readAudit(world.auditFile).find(decided(HOST));
    expect(await world.proxy.kill9()).toMatchObject({ signal: 'SIGKILL' });
    const lines = readAudit(world.auditFile);
    expect(lines.filter((line) => line.event === 'decided').map(({ host }) => host)).toEqual([
      HOST,
      ...Array.from({ length: 20 }, (_, i) => `n${i}.denied.test`),
    ]);
    expect(lines.some(ended(HOST))).toBe(false);
    await world.restart();
    expect(await auditLine(world.auditFile, ended(HOST))).toMatchObject({
      id: open?.id,
      outcome: 'interrupted',
      verdict: 'allow',
    });
    expect(await asked(HOST)).toMatch(/^200/);
    client.close();
    const all = readAudit(world.auditFile);
    expect(all.map(({ seq }) => seq)).toEqual(all.map((_, index) => index + 1));
  });

  it('sets a half-written last line aside, and goes on', async () => {
    await start();
    await asked('one.denied.test');
    await world.proxy.kill9();
    writeFileSync(world.auditFile, '{"time":"2026-', { flag: 'a' });
    await world.restart();
    expect(await asked('two.denied.test')).toBe('403 host-not-allowed');
    expect(
      readAudit(world.auditFile)
        .filter((line) => line.event === 'decided')
        .map(({ host }) => host),
    ).toEqual(['one.denied.test', 'two.denied.test']);
  });

  it('counts every request once in the report, whatever was killed in between', async () => {
    await start();
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 5; i++) await asked('same.denied.test');
      const client = await tunnel();
      client.end();
      await client.readAll();
      await auditLines(world.auditFile, (lines) => lines.filter(ended(HOST)).length === round + 1);
      await world.proxy.kill9();
      await world.restart();
    }
    const report = await world.report<{
      denied: { host: string; count: number }[];
      other: { hosts: { host: string; tunnels: number }[] }[];
    }>();
    expect(report.denied).toMatchObject([{ host: 'same.denied.test', count: 15 }]);
    expect(JSON.stringify(report.other)).toContain('"tunnels":3');
  });
});

describe('a second proxy', () => {
  it('is refused the audit log of the first', async () => {
    await start();
    const second = await sallyport(['serve', '--config', world.configFile], { cwd: world.dir });
    expect(second.code).toBe(1);
    expect(second.stderr).toContain('audit-locked');
    expect(await asked(HOST)).toMatch(/^200/);
  });
});

describe('it never starts open', () => {
  const refused = async (text: string | null, args?: readonly string[]) => {
    const dir = tempDir('start');
    const file = join(dir, 'sallyport.yaml');
    if (text !== null) writeFile(file, text);
    const done = await sallyport(['serve', ...(args ?? ['--config', file])], { cwd: dir });
    return { ...done, left: readdirSync(dir).filter((name) => name !== 'sallyport.yaml') };
  };

  it.each([
    ['a missing file', null, 'config-unreadable'],
    ['an empty file', '', 'config-empty'],
    ['a file of comments', '# nothing\n', 'config-empty'],
    ['a file that is not YAML', 'allow: [', 'config-syntax'],
    ['a list', '- a\n', 'config-value'],
    ['an unknown key', 'version: 1\nalow: []\n', 'config-unknown-key'],
    ['a doubled key', 'version: 1\nallow: []\nallow: []\n', 'config-duplicate-key'],
    ['an open wildcard', 'version: 1\nallow: ["*"]\n', 'config-pattern'],
    ['a bad address range', 'version: 1\nclients: { from: [10.0.0.0/33] }\n', 'config-cidr'],
    ['a group that nobody knows', 'version: 1\nallow: [{ group: buildkit-agent }]\n', 'config-group'],
    ['a failing test of its own', 'version: 1\nallow: []\ntests: [{ allow: "a.test:443" }]\n', 'policy-test-failed'],
  ])('on %s', async (_, text, code) => {
    const done = await refused(text);
    expect(done.code).toBe(1);
    expect(done.stdout).toBe('');
    expect(done.stderr).toContain(code);
    expect(done.stderr).not.toMatch(/^\s+at /m);
    // It ended before it made a log: it cannot have listened.
    expect(done.left).toEqual([]);
  });

  it('without a file and without --observe', async () => {
    const done = await refused(null, []);
    expect(done.code).not.toBe(0);
    expect(done.stdout).toBe('');
  });

  it('on an address that is taken', async () => {
    await start();
    const dir = tempDir('taken');
    const config = writePolicy(join(dir, 'sallyport.yaml'), {
      version: 1,
      listen: `127.0.0.1:${world.proxy.proxy.port}`,
      admin: '127.0.0.1:0',
      allow: [],
    });
    const done = await sallyport(['serve', '--config', config], { cwd: dir });
    expect(done.code).toBe(1);
    expect(done.stderr).toContain('listen-failed');
  });

  it('on an audit log that cannot be written', async () => {
    const dir = tempDir('unwritable');
    writeFile(join(dir, 'blocked'), 'a file where a folder should be');
    const config = writePolicy(join(dir, 'sallyport.yaml'), {
      version: 1,
      listen: '127.0.0.1:0',
      admin: '127.0.0.1:0',
      allow: [],
      audit: { file: join(dir, 'blocked', 'audit.jsonl') },
    });
    const done = await sallyport(['serve', '--config', config], { cwd: dir });
    expect(done.code).toBe(1);
    expect(done.stderr).toContain('audit-unwritable');
    expect(done.stdout).toBe('');
  });
});

describe('an old Node', () => {
  it('is told so in one line', async (context) => {
    const old = '/usr/bin/node';
    const version = existsSync(old) ? (await run([old, '--version'])).stdout.trim() : 'none';
    const major = Number(/^v(\d+)/.exec(version)?.[1] ?? Number.NaN);
    if (!(major < 22)) return context.skip(`no Node older than 22 at ${old} (found ${version})`);
    const done = await run([old, MAIN, 'serve', '--config', 'none.yaml']);
    expect(done.code).toBe(1);
    expect(done.stdout).toBe('');
    expect(done.stderr).toMatch(/^sallyport: error: node-version: [^\n]*22\.14[^\n]*\n$/);
    expect(done.stderr).toContain(version.slice(1));
  });
});
