// The real program as a child process, and `mode` against a proxy that runs.
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { NoteLine } from '../../src/policy/record.ts';
import { loadNative } from '../../src/proxy/native-binding.ts';
import { launch, MAIN, PROCESSES_MS, readAudit, run } from '../support/proxy-process.ts';
import { policyFile, type, typeJson } from './console.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const program = (...args: string[]) => [process.execPath, MAIN, ...args];

describe('the program', () => {
  const { file } = policyFile({ allow: ['ok.example'] });

  it('gives the exit codes of its commands', async () => {
    expect((await run(program('explain', 'ok.example', '--config', file))).code).toBe(0);
    expect((await run(program('explain', 'no.example', '--config', file))).code).toBe(1);
    expect((await run(program('explain'))).code).toBe(2);
  });

  it('takes the policy file from SALLYPORT_CONFIG, and says so where there is none', async () => {
    const named = await run(program('explain', 'ok.example'), { env: { SALLYPORT_CONFIG: file }, cwd: '/' });
    expect(named.code).toBe(0);
    const none = await run(program('check'), { env: { SALLYPORT_CONFIG: undefined }, cwd: '/' });
    expect(none.code).toBe(2);
    expect(none.stderr).toContain('--config FILE is missing');
  });

  it('ends quietly when its reader goes away', async () => {
    const { code, stdout, stderr } = await run([
      '/bin/sh',
      '-c',
      '"$@" | head -n 1',
      'sh',
      ...program('catalog', 'list'),
    ]);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^group/);
  });

  it("ends, also where threads of V8's wait for it to collect garbage", async () => {
    // A flag of V8's own tests: threads that allocate, in a heap with little room. A command that ended by process.exit hung in one of five.
    const inLittleRoom = [process.execPath, '--stress-concurrent-allocation', '--max-old-space-size=28', MAIN];
    for (let i = 0; i < 10; i++) {
      const { code } = await run([...inLittleRoom, 'explain', 'ok.example', '--config', file]);
      // Its heap may be too small for it: then it has died, which is an end too.
      expect([0, null]).toContain(code);
    }
  });

  const beside = (script: string) => [process.execPath, '--import', `data:text/javascript,${script}`, MAIN];

  it('ends with its exit code where something is left open', async () => {
    const open = beside('setInterval(() => {}, 1e9); process.on("exit", () => console.log("in order"))');
    const { code, stdout } = await run([...open, 'explain', 'no.example', '--config', file]);
    expect(code).toBe(1);
    expect(stdout).toContain('in order');
  });

  it.runIf(loadNative().ok)('ends with its exit code where Node does not come to its end', async () => {
    const stuck = beside('process.on("exit", () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0))');
    expect((await run([...stuck, 'explain', 'no.example', '--config', file])).code).toBe(1);
  });

  it.each([
    [['serve', '--observe'], '--observe needs --listen'],
    [['serve', '--observe', '--listen', '127.0.0.1:0'], '--observe needs --from'],
    [['serve', '--observe', '--config', file], 'runs without a file'],
    [['serve', '--config', file, '--listen', '127.0.0.1:0'], 'belong to --observe'],
  ])('%j is a usage error', async (args, message) => {
    const { code, err } = await type(args);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});

describe('mode, with a proxy that runs', () => {
  const { file, audit } = policyFile({ mode: 'enforce', allow: ['ok.example'] });
  const running = launch(program('serve', '--config', file));
  beforeAll(async () => void (await running.printed(/^sallyport ready: /m)));
  afterAll(async () => {
    running.child.kill('SIGTERM');
    expect((await running.exited).code).toBe(0);
  });
  const notes = () => readAudit(audit).filter((line): line is NoteLine => line.event === 'mode');
  const now = { now: Date.now() };

  it('observe is in force when the command says so, and stands in the audit log with its reason', async () => {
    const { code, json } = await typeJson<Record<string, string>>(
      ['mode', 'observe', '--for-minutes', '30', '--reason', 'INC-42', '--config', file],
      now,
    );
    expect(code).toBe(0);
    expect(json).toMatchObject({ mode: 'observe', reason: 'INC-42', by: 'operator', in_force: true });
    expect(Date.parse(json['until'] ?? '') - now.now).toBe(30 * 60_000);
    expect(notes().at(-1)?.detail).toMatchObject({
      mode: 'observe',
      until: json['until'],
      reason: 'INC-42',
      by: 'operator',
    });
    expect((await type(['mode', 'status', '--config', file], now)).out).toMatch(
      /^mode observe until .* \(the policy says enforce\)\n {2}by operator .*: INC-42\n {2}proxy: process \d+/,
    );
  });

  it('clear ends it', async () => {
    const { code, out } = await type(['mode', 'clear', '--config', file], now);
    expect([code, out]).toEqual([0, 'the override is cleared; mode enforce is in force\n']);
    expect(notes().at(-1)?.detail).toMatchObject({ mode: 'enforce', until: null });
    expect((await type(['mode', 'status', '--config', file], now)).out).toContain('mode enforce, from the policy');
    expect((await type(['mode', 'clear', '--config', file], now)).out).toContain('no override stands');
  });

  it('a log that is being written is not repaired', async () => {
    const { code, err } = await type(['audit', 'repair', '--config', file]);
    expect(code).toBe(1);
    expect(err).toContain('audit-locked');
  });
});

describe('mode, without a proxy', () => {
  const { file, audit } = policyFile({ allow: ['ok.example'] });

  it('leaves the file for the start, and exits 1', async () => {
    const { code, err } = await type(['mode', 'enforce', '--for-minutes', '5', '--reason', 'trial', '--config', file]);
    expect(code).toBe(1);
    expect(err).toContain('no proxy runs with the audit log');
    expect(JSON.parse(readFileSync(`${audit}.mode.json`, 'utf8'))).toEqual({
      mode: 'enforce',
      until: '2026-11-24T12:05:00.000Z',
      reason: 'trial',
      by: 'operator',
      at: '2026-11-24T12:00:00.000Z',
    });
  });

  it('a lock that a crash left behind is nobody, and nobody is signalled', async () => {
    writeFileSync(
      `${audit}.lock`,
      `${JSON.stringify({ pid: process.ppid, host: (await import('node:os')).hostname(), started: '1' })}\n`,
    );
    const { code, err } = await type(['mode', 'enforce', '--for-minutes', '5', '--reason', 'trial', '--config', file]);
    expect(code).toBe(1);
    expect(err).toContain('no proxy runs');
  });

  it.each([
    [['--for-minutes', '0', '--reason', 'x'], '--for-minutes "0"'],
    [['--for-minutes', '1441', '--reason', 'x'], '1 to 1440'],
    [['--for-minutes', '1.5', '--reason', 'x'], '--for-minutes "1.5"'],
    [['--for-minutes', '5'], '--reason TEXT is missing'],
    [['--for-minutes', '5', '--reason', ' '], '--reason has 0 characters'],
    [['--reason', 'x'], '--for-minutes N is missing'],
  ])('%j is a usage error', async (args, message) => {
    const { code, err } = await type(['mode', 'observe', ...args, '--config', file]);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});
