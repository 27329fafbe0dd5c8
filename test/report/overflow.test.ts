// A build that asks for more names than an hour tells apart: every request counts, under its group, in every format; and neither the
// memory of the projection nor the store grows with the names.
import fs from 'node:fs';
import path from 'node:path';
import v8 from 'node:v8';
import vm from 'node:vm';
import { describe, expect, it } from 'vitest';
import { LineWriter } from '../../src/audit/line.ts';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { Policy } from '../../src/policy/decide.ts';
import { DRIFT_PIPELINES_MAX } from '../../src/report/drift.ts';
import { PIPELINES_MAX } from '../../src/report/query.ts';
import { DENIED_MAX } from '../../src/report/refusals.ts';
import { renderCsv } from '../../src/report/render-csv.ts';
import { renderHtml } from '../../src/report/render-html.ts';
import { renderMarkdown } from '../../src/report/render-markdown.ts';
import { renderTable } from '../../src/report/render-table.ts';
import { buildSuggestion } from '../../src/report/suggestion.ts';
import { unifiedDiff } from '../../src/report/text-edits.ts';
import { Projector } from '../../src/usage/projector.ts';
import { openStore } from '../../src/usage/store.ts';
import { decidedRecord } from '../support/records.ts';
import { tempDir } from '../support/temp.ts';
import { parseCsv } from './csv.ts';
import { appendEvents, claimed, type Event, optional, reportOf, START, writeHistory } from './history.ts';

const LIMITS = { ...DEFAULT_LIMITS, usage_names_per_hour: 100 };
const POLICY = { allow: [{ group: 'buildkite-agent' }, { group: 'amazon-s3' }, '*.acme.example', 'ok.example'] };
const plain = { width: Number.POSITIVE_INFINITY, paint: (_style: string, text: string) => text };

describe('names beyond the limit', () => {
  // The flood comes first in its hour: what is let through afterwards has no names left.
  const flood = Array.from({ length: 120 }, (_, n): Event => ({ host: `h${n}.evil.example`, verdict: 'deny' }));
  const found = async (): ReturnType<typeof reportOf> => {
    const probe = await reportOf(writeHistory(POLICY, []));
    const own = probe.other.find(({ host }) => host === '*.acme.example')?.rule ?? '';
    const through: Event[] = [
      { host: 'a.s3.amazonaws.com', rule: 'art-s3', group: 'amazon-s3', up: 5, down: 700, times: 3 },
      { host: 'b.s3.amazonaws.com', rule: 'art-s3', group: 'amazon-s3', outcome: 'connect-failed' },
      { host: 'x.acme.example', rule: own.replace(/^.*:/, 'sallyport.yaml:') },
    ];
    const history = writeHistory(POLICY, [...flood, ...through], LIMITS);
    return reportOf(history, {}, LIMITS);
  };

  it('count under the group or the rule that they had, and for its state', async () => {
    const report = await found();
    expect(report.totals).toMatchObject({ requests: 125, denied: 120, tunnels: 4, failed: 1, hosts: 100 });
    expect(report.overflow).toMatchObject({ tunnels: 4, denied: 20, failed: 1 });
    expect(report.overflow.groups).toMatchObject([
      { group: '', rule: '', denied: 20, tunnels: 0 },
      { group: 'amazon-s3', rule: '', tunnels: 3, failed: 1, bytes_up: 15, bytes_down: 2_100 },
      { group: '', tunnels: 1, rule: expect.stringMatching(/^sallyport\.yaml:\d+$/) },
    ]);
    expect(report.overflow.groups[0]?.first_seen).toMatch(/^2026-11-20T08:00/);
    // It was used, though nobody knows under which names.
    expect(optional(report, 'amazon-s3')).toMatchObject({ state: 'used' });
    expect(report.drift.hosts.map(({ host }) => host)).not.toContain('(overflow)');
  });

  it('stand in every format', async () => {
    const report = await found();
    for (const text of [renderTable(report, plain), renderMarkdown(report), renderHtml(report)]) {
      expect(text).toMatch(/beyond the limit of names/i);
      expect(text).toContain('25 requests beyond limits.usage');
      expect(text).toContain('amazon-s3');
    }
    const [head = [], ...rows] = parseCsv(renderCsv(report));
    const of = rows.filter((row) => row[0] === 'overflow');
    const cells = ['group', 'tunnels', 'denied'].map((name) => of.map((row) => row[head.indexOf(name)]));
    expect(cells).toEqual([
      ['', 'amazon-s3', ''],
      ['0', '3', '1'],
      ['20', '0', '0'],
    ]);
    // What has none of them does not speak of it.
    expect(renderTable(await reportOf(writeHistory(POLICY, flood.slice(0, 5))), plain)).not.toMatch(
      /beyond the limit/i,
    );
  });
});

it('suggest does not take a rule for unused whose names were beyond the limit', async () => {
  const history = writeHistory(POLICY, [], LIMITS);
  const loaded = loadConfigHere({ file: history.configFile, now: START });
  const own = (pattern: string): string =>
    [...new Policy(loaded.policy).rules()].find((rule) => rule.pattern === pattern)?.id ?? '';
  const flood = Array.from(
    { length: 120 },
    (_, n): Event => ({ host: `h${n}.evil.example`, verdict: 'deny', hour: 70 }),
  );
  appendEvents(
    history.auditFile,
    [
      { host: 'ok.example', rule: own('ok.example') },
      ...flood,
      { host: 'x.acme.example', rule: own('*.acme.example'), hour: 70 },
    ],
    LIMITS,
  );
  await reportOf(history, {}, LIMITS);
  const store = openStore(history.storeFile, 'read');
  const now = START + 72 * 3_600_000;
  const text = fs.readFileSync(history.configFile, 'utf8');
  const input = { file: history.configFile, text, loaded, from: START + 60 * 3_600_000, to: now, now, pipeline: null };
  const { unused } = await buildSuggestion(store, { ...input, jobsMin: 1, scoped: false, unusedDays: 1 });
  await store.close();
  const origins = unused.map(({ origin }) => origin);
  expect(origins).toContain(own('ok.example'));
  expect(origins).not.toContain(own('*.acme.example'));
});

describe('a flood of names', () => {
  const NAMES = Number(process.env['FLOOD_NAMES'] ?? 60_000);
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc') as () => void;
  const heap = (): number => {
    collect();
    return process.memoryUsage().heapUsed;
  };

  /** A log of requests to as many names by as many claimed jobs, in one hour; the chain is not what is looked at here. */
  function writeFlood(file: string): void {
    const writer = new LineWriter(LIMITS.audit_field_bytes);
    const fd = fs.openSync(file, 'w');
    const prev = `,"prev":"${'0'.repeat(64)}"}\n`;
    for (let from = 0; from < NAMES; from += 10_000) {
      let text = '';
      for (let n = from; n < Math.min(NAMES, from + 10_000); n++) {
        const time = new Date(START + Math.floor((n / NAMES) * 3_000_000)).toISOString();
        const identity = { kind: 'claimed', attributes: {}, claimed: { pipeline: 'p', job: `j${n}` } } as const;
        const { addresses: _, ...record } = decidedRecord({ id: `r${n}`, identity });
        const refused = { verdict: 'deny', reason: 'host-not-allowed', rule: null, group: null } as const;
        const stamp = { time, seq: n + 1, node: '"n"' };
        text += writer.decided(stamp, { ...record, ...refused, host: `h${n}.evil.example` }) + prev;
      }
      fs.writeSync(fd, text);
    }
    fs.closeSync(fd);
  }

  it('is counted to the last one in memory that stays flat', { timeout: 120_000 }, async () => {
    const directory = tempDir('flood');
    const auditFile = path.join(directory, 'audit.jsonl');
    writeFlood(auditFile);
    const store = openStore(path.join(directory, 'usage.db'), 'write');
    const onProblem = (problem: { message: string }) => expect.fail(problem.message);
    const projector = new Projector({ auditFile, store, limits: LIMITS, onProblem });
    let lines = 0;
    let before = 0;
    for (let more = true; more; ) {
      const step = await projector.step();
      lines += step.lines;
      ({ more } = step);
      // Once every cache is full.
      if (before === 0 && lines >= NAMES / 3) before = heap();
    }
    const grown = heap() - before;
    expect(lines).toBe(NAMES);
    // The names that came since would take more.
    expect(grown).toBeLessThan(8_000_000);
    const rows = await store.db.selectFrom('usage').select(['requests']).execute();
    expect(rows.reduce((sum, { requests }) => sum + requests, 0)).toBe(NAMES);
    // A hundred hosts and one for the rest, and as many askers; each host met its asker.
    expect(rows.length).toBeLessThanOrEqual(102);
    for (const table of ['target', 'actor', 'denial'] as const)
      expect((await store.db.selectFrom(table).selectAll().execute()).length).toBeLessThanOrEqual(101);
    await projector.close();
    await store.close();
  });
});

describe('a flood of claimed pipelines', () => {
  const HOUR = 80;
  const over = 5;
  const flood = Array.from(
    { length: PIPELINES_MAX + over },
    (_, n): Event => ({
      host: 'new.example',
      verdict: 'deny',
      hour: HOUR,
      identity: claimed(`flood-${n}`, 'j'),
      times: 2,
    }),
  );
  const proven: Event = {
    host: 'new.example',
    rule: 'x:3',
    hour: HOUR,
    identity: { kind: 'job', attributes: { pipeline: 'web', job: 'j1' }, claimed: {} },
  };
  const found = () =>
    reportOf(writeHistory(POLICY, [{ host: 'ok.example' }, ...flood, proven]), {
      from: START + 72 * 3_600_000,
      to: START + 144 * 3_600_000,
    });

  it('pushes no proven pipeline out of the report, which says how many there are, and counts all', async () => {
    const report = await found();
    expect(report.pipelines).toHaveLength(PIPELINES_MAX);
    expect(report.pipelines_total).toBe(PIPELINES_MAX + over + 1);
    expect(report.pipelines.at(-1)).toMatchObject({ pipeline: 'web', claimed: false, jobs: 1, tunnels: 1 });
    expect(report.traffic.jobs).toMatchObject({ denied: 2 * flood.length, tunnels: 1 });
    expect(renderMarkdown(report)).toContain(`${PIPELINES_MAX + over + 1 - 200} more are in the JSON format`);
    const [fresh] = report.drift.hosts;
    expect(fresh?.pipelines).toHaveLength(DRIFT_PIPELINES_MAX);
    expect(fresh?.pipelines).toContain('web');
  });
});

it('names below buildkite.com without end hide no other refusal, and the most refused of them still stand first', async () => {
  const flood = Array.from({ length: DENIED_MAX }, (_, n): Event => ({ host: `x${n}.buildkite.com`, verdict: 'deny' }));
  const refused: Event[] = [
    { host: 'agent-new.buildkite.com', verdict: 'deny', times: 2 },
    { host: 'tool.example', verdict: 'deny', times: 3 },
  ];
  const { denied, denied_total: total } = await reportOf(writeHistory(POLICY, [...flood, ...refused]));
  expect(denied[0]).toMatchObject({ host: 'agent-new.buildkite.com', buildkite: true });
  expect(denied.findIndex(({ host }) => host === 'tool.example')).toBe(100);
  expect([denied.length, total]).toEqual([DENIED_MAX, DENIED_MAX + 2]);
});

describe('more rows than a call has room for arguments', () => {
  const MANY = 150_000;

  it('are rows of the CSV', async () => {
    const report = await reportOf(writeHistory(POLICY, [{ host: 'ok.example' }]));
    const [row] = report.other;
    if (row === undefined) throw new Error('no row');
    const text = renderCsv({ ...report, other: Array.from({ length: MANY }, () => row) });
    expect(text.split('\r\n').filter((line) => line.startsWith('other,'))).toHaveLength(MANY);
  });

  it('are lines of a diff', () => {
    const diff = unifiedDiff('allow:\n', [{ at: 7, remove: 0, text: '  - h.example\n'.repeat(MANY) }], 'policy.yaml');
    expect(diff.split('\n').filter((line) => line === '+  - h.example')).toHaveLength(MANY);
  });
});
