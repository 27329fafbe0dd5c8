// `sallyport audit query` as it is typed: what is printed in each form, the last sentence, and the exit code.
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openAuditLog } from '../../src/audit/log.ts';
import { run } from '../../src/cli/run.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Identity } from '../../src/policy/record.ts';
import { parseCsv } from '../report/csv.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { tempDir } from '../support/temp.ts';
import { NOW, pipes, policyFile, type } from './console.ts';

const claim: Identity = { kind: 'claimed', attributes: {}, claimed: { pipeline: '=HYPERLINK("http://x")', job: 'j1' } };

/** A refusal a day ago, a tunnel and a note an hour ago. */
function history(file = join(tempDir('query'), 'audit.jsonl')): string {
  let now = NOW - 24 * 3_600_000;
  const base = { file, node: 'n', limits: DEFAULT_LIMITS, whenFull: 'refuse', sync: 'none' } as const;
  const log = openAuditLog({ ...base, now: () => new Date(now) });
  const nearest = { pattern: '*.b.example', rule: null, why: 'w', fix: 'f' };
  const refused = { verdict: 'deny', reason: 'host-not-allowed', rule: null, group: null, nearest } as const;
  log.decided(decidedRecord({ id: 'r1', host: 'b.example', identity: claim, ...refused }));
  now = NOW - 3_600_000;
  log.decided(decidedRecord({ id: 'r2', host: 'a.example' }));
  log.ended(endedRecord({ id: 'r2', host: 'a.example' }));
  log.note({ event: 'stop', policy: 'p', detail: { reason: 'SIGTERM' } });
  log.close();
  return file;
}

const lines = (out: string): unknown[] =>
  out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('sallyport audit query', () => {
  it('prints a table, then that the log is complete', async () => {
    const { code, out, err } = await type(['audit', 'query', '--log', history(), '--host', '*.example']);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^time +event +verdict +why +host +pipeline +job +client +id\n/);
    expect(out).toMatch(
      /decided +deny +host-not-allowed +b\.example:443 +=HYPERLINK\("http:\/\/x"\) \(claimed\) +j1 +10\.0\.0\.7 +r1\n/,
    );
    expect(out).toMatch(/ended +allow +closed +a\.example:443 +10\.0\.0\.7 +r2\n/);
    expect(out).toMatch(
      /\ncomplete from its beginning to its end: 3 found; lines 1 to 4, .*; 4 lines checked in 1 files\n {2}stopped in good order from \S+ on\n$/,
    );
  });

  it('prints CSV that no spreadsheet runs, and keeps the sentence out of it', async () => {
    const { code, out, err } = await type(['audit', 'query', '--log', history(), '--format', 'csv']);
    expect(code).toBe(0);
    const [head, ...rows] = parseCsv(out);
    const cells = (row: number) => Object.fromEntries(head?.map((name, column) => [name, rows[row]?.[column]]) ?? []);
    expect(rows.length).toBe(4);
    expect(cells(0)).toMatchObject({
      ...{ event: 'decided', id: 'r1', verdict: 'deny', host: 'b.example', port: '443', nearest: '*.b.example' },
      ...{ identity: 'claimed', pipeline: '\'=HYPERLINK("http://x")', job: 'j1', outcome: '' },
    });
    expect(cells(1)).toMatchObject({ seq: '2', addresses: '192.0.2.10' });
    expect(cells(2)).toMatchObject({
      event: 'ended',
      outcome: 'closed',
      bytes_down: '2000',
      address: '192.0.2.10:443',
    });
    expect(cells(3)).toMatchObject({ event: 'stop', detail: '{"reason":"SIGTERM"}', id: '' });
    expect(err).toMatch(/^complete from .*: 4 found/);
  });

  it.each([[['--json']], [['--format', 'json']]])(
    'prints with %j the log as it is, and the statement as the last object',
    async (form) => {
      const log = history();
      const { code, out } = await type(['audit', 'query', '--log', log, '--from', '2h', ...form]);
      expect(code).toBe(0);
      const texts = readFileSync(log, 'latin1').split('\n');
      expect(out.split('\n').slice(0, 3)).toEqual(texts.slice(1, 4));
      expect(lines(out).at(-1)).toMatchObject({
        ...{ complete: true, from: new Date(NOW - 2 * 3_600_000).toISOString(), to: null, matched: 3, lines: 4 },
        ...{ files: [log], first: { seq: 2 }, last: { seq: 4 }, problems: [], problem_count: 0, unopened: [] },
      });
    },
  );

  it('promises nothing of a time that is still to come', async () => {
    const { code, out } = await type(['audit', 'query', '--log', history(), '--to', '9999-01-01']);
    expect(code).toBe(0);
    expect(out).toContain(`complete from its beginning to ${new Date(NOW).toISOString()}: 4 found`);
  });

  it('exits 1 where the log is not complete for that time, and names what is wrong', async () => {
    const log = history();
    appendFileSync(log, 'rubbish\u001b[2J\n');
    const whole = await type(['audit', 'query', '--log', log, '--verdict', 'deny']);
    expect(whole.code).toBe(1);
    expect(whole.out).toContain('not complete from its beginning to its end: 1 found');
    expect(whole.out).toContain(`  ${log}:5: not a line of an audit log\n`);
    expect((await type(['audit', 'query', '--log', log, '--to', '2h'])).code).toBe(0);
    const json = await type(['audit', 'query', '--log', log, '--json', '--id', 'none']);
    expect(json.code).toBe(1);
    expect(lines(json.out)).toMatchObject([{ complete: false, matched: 0, problem_count: 1 }]);
  });

  it('takes the log that the policy names, and says so where there is none', async () => {
    const { file, audit } = policyFile({ allow: ['a.example'] });
    const none = await type(['audit', 'query', '--config', file]);
    expect(none.code).toBe(1);
    expect(none.err).toContain(`there is no audit log ${audit}`);
    history(audit);
    expect((await type(['audit', 'query', '--config', file, '--client', '10.0.0.0/8'])).out).toContain('3 found');
    expect((await type(['audit', 'query', '--config', file, '--log', audit])).code).toBe(2);
  });

  it.each([
    [['--host', '*'], '"*" would open the proxy'],
    [['--host', 'https://a.example/'], 'Did you mean a.example?'],
    [['--client', '10.0.0.0/33'], 'is no address and no range'],
    [['--verdict', 'maybe'], 'Allowed choices are allow, deny, observe'],
    [['--from', 'yesterday'], '--from "yesterday" is no moment'],
    [['--from', '1h', '--to', '2h'], '--from does not lie before --to'],
    [['--from', '9999-01-01', '--to', '9999-02-01'], '--from does not lie in the past'],
  ])('%j is refused', async (flags, message) => {
    const { code, err } = await type(['audit', 'query', '--log', 'x', ...flags]);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });

  it('waits for who reads it, and stops when nobody does', async () => {
    const printed: string[] = [];
    let asked = 0;
    const write = (text: string) => void printed.push(text);
    const stdout = { write, taken: async () => ++asked < 0 };
    const world = {
      stdout,
      stderr: { write },
      env: {},
      now: () => NOW,
      user: 'operator',
      pipes,
      stdin: { isTTY: false },
      secret: async () => null,
    };
    expect(await run(['audit', 'query', '--log', history(), '--format', 'json'], world)).toBe(1);
    expect(asked).toBe(1);
    expect(printed.join('')).not.toContain('complete');
  });
});
