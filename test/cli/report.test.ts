// `sallyport report` as a command: its window, logs without a store, and its exit code as a check.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Finding } from '../../src/report/findings.ts';
import type { Report } from '../../src/report/report.ts';
import { appendEvents, claimed, START, writeHistory } from '../report/history.ts';
import { tempDir } from '../support/temp.ts';
import { type, typeJson } from './console.ts';

const HOUR_MS = 3_600_000;
const NOW = START + 48 * HOUR_MS;
const at = (hours: number): string => new Date(START + hours * HOUR_MS).toISOString();
const history = writeHistory({ allow: ['ok.example', 'idle.example'], expected_denials: ['known.example'] }, [
  { host: 'ok.example', rule: 'x:1', identity: claimed('web', 'j1') },
  { host: 'known.example', verdict: 'deny' },
  { host: 'ok.example', rule: 'x:1', hour: 25 },
  { host: 'new.example', verdict: 'deny', hour: 26, identity: claimed('web', 'j2') },
]);
const report = (...args: string[]) =>
  typeJson<Report & { findings: Finding[] }>(['report', '--config', history.configFile, ...args], { now: NOW });

describe('the window', () => {
  it('--from and --to are --since and --until, as spans or times', async () => {
    const first = await report('--from', at(0), '--to', at(2));
    expect(first.json.totals).toMatchObject({ tunnels: 1, denied: 1 });
    expect(first.json).toEqual((await report('--since', '48h', '--until', '46h')).json);
    expect((await report('--from', '24h')).json.totals).toMatchObject({ tunnels: 1, denied: 1 });
  });

  it.each([
    [['--from', '1h', '--since', '1h'], '--from and --since are the same'],
    [['--to', '1h', '--until', '1h'], '--to and --until are the same'],
    [['--to', 'later'], '--to "later" is no moment'],
    [['--from', '1h', '--to', '2h'], 'the window ends before it begins'],
    [['--fail-on', 'denied,odd'], '--fail-on "denied,odd" is not understood'],
  ])('%j is refused', async (args, message) => {
    const { code, err } = await type(['report', '--config', history.configFile, ...args], { now: NOW });
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  });
});

describe('as a check', () => {
  const day = ['--from', at(24), '--to', at(48)];

  it('exits 3 on what it was told to fail on, and says what that was', async () => {
    for (const kind of ['denied', 'unused', 'drift']) {
      const { code, json } = await report(...day, '--fail-on', kind);
      expect([code, json.findings.map((found) => found.kind)]).toEqual([3, [kind]]);
    }
    const { code, err, out } = await type(
      ['report', '--config', history.configFile, ...day, '--fail-on', 'denied, drift', '--format', 'csv'],
      { now: NOW },
    );
    expect(code).toBe(3);
    expect(err).toContain('sallyport: denied: 1 host was refused');
    expect(err).toContain('sallyport: drift: 1 host was not asked for');
    expect(err).toContain('new.example:443');
    expect(out).toMatch(/^section,/);
  });

  it('exits 0 where there is nothing of it, or nobody asked', async () => {
    expect((await report(...day, '--fail-on', 'would-deny')).code).toBe(0);
    expect(await report(...day)).toMatchObject({ code: 0, json: { findings: [] } });
    // What expected_denials names is neither refused nor new.
    expect((await report('--from', at(0), '--to', at(2), '--fail-on', 'denied')).code).toBe(0);
  });
});

describe('from logs alone', () => {
  const dir = tempDir('logs');
  const [first, second] = [join(dir, 'a.jsonl'), join(dir, 'b.jsonl')];
  appendEvents(first, [{ host: 'ok.example', rule: 'x:1', times: 2 }]);
  appendEvents(second, [{ host: 'other.example', rule: 'x:2', identity: claimed('web', 'j9') }], undefined, 'n2');
  const logs = (...args: string[]) =>
    typeJson<Report>(['report', '--from', at(0), ...args], { now: NOW, env: { SALLYPORT_CONFIG: history.configFile } });

  it('several nodes are one report; the same log named twice is counted once; no store is made or read', async () => {
    const { code, json } = await logs('--log', first, '--log', second, '--log', first, '--by', 'pipeline');
    expect(code).toBe(0);
    expect(json.totals).toMatchObject({ tunnels: 3, hosts: 2, denied: 0 });
    expect(json.breakdown?.rows.map(({ pipeline, tunnels }) => [pipeline, tunnels])).toEqual([
      ['', 2],
      ['web', 1],
    ]);
    expect(existsSync(':memory:')).toBe(false);
  });

  it('archives that gzip has packed count; one that cannot be read is named', async () => {
    const packed = join(dir, 'packed.jsonl');
    writeFileSync(`${packed}.1.gz`, gzipSync(readFileSync(first)));
    expect((await logs('--log', packed)).json.totals).toMatchObject({ tunnels: 2, hosts: 1 });
    writeFileSync(`${packed}.2.bz2`, 'x');
    const { code, json, err } = await logs('--log', packed);
    expect([code, json.totals.tunnels, err]).toEqual([0, 2, `sallyport: ${packed}.2.bz2 is not counted\n`]);
  });

  it('a log that is not there is an error, not an empty report', async () => {
    const { code, err } = await type(['report', '--log', join(dir, 'none.jsonl')], { now: NOW });
    expect([code, err]).toEqual([1, expect.stringContaining('there is no audit log')]);
  });
});

it('each format of one window speaks of the same refusal', async () => {
  const args = ['report', '--config', history.configFile, '--from', at(24), '--format'];
  for (const format of ['table', 'csv', 'markdown', 'html'])
    expect((await type([...args, format], { now: NOW })).out, format).toContain('new.example');
});
