// What reports and suggestions say is the same from a SQLite file and from a PostgreSQL database that two proxies count into: one
// history, both stores, every part of a report. Which sums are right is in the other tests of this folder; here none may differ.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfigHere } from '../../src/config/load-here.ts';
import type { StorePlace } from '../../src/config/store-place.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { Policy } from '../../src/policy/decide.ts';
import { DIMENSIONS } from '../../src/report/dimension.ts';
import { buildReport, type Filter } from '../../src/report/report.ts';
import { buildSuggestion } from '../../src/report/suggestion.ts';
import { createView } from '../../src/report/view.ts';
import { Keeper } from '../../src/usage/keep.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore, type Store } from '../../src/usage/store.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { appendEvents, claimed, type Event, type History, importAttempts, START, writeHistory } from './history.ts';

const HOUR_MS = 3_600_000;
const NOW = START + 80 * HOUR_MS;
const job = (pipeline: string, id: string, agent: string): Event['identity'] & object => ({
  kind: 'job',
  attributes: { pipeline, job: id, step: `step-${id}`, agent, queue: 'default' },
  claimed: {},
});
const POLICY = {
  listen: '10.0.0.5:3128',
  allow: [{ group: 'buildkite-agent' }, { group: 'amazon-s3' }, 'ok.example', 'idle.example'],
  expected_denials: ['known.example'],
};
const EVENTS: Event[] = [
  { host: 'agent-edge.buildkite.com', rule: 'bk-agent-edge', group: 'buildkite-agent', times: 3, up: 10, down: 20 },
  { host: 'agent-new.buildkite.com', verdict: 'deny' },
  { host: 'ok.example', rule: 'x:3', identity: job('web', 'j1', 'a1'), up: 1_000, down: 5_000_000_000, times: 3 },
  { host: 'moved.example', verdict: 'deny', identity: job('web', 'j1', 'a1') },
  { host: 'a.s3.amazonaws.com', rule: 'art-s3', group: 'amazon-s3', identity: job('api', 'j2', 'a2'), hour: 2 },
  { host: 'b.s3.us-west-2.amazonaws.com', verdict: 'deny', identity: job('api', 'j2', 'a2'), hour: 2 },
  { host: 'b.s3.us-west-2.amazonaws.com', verdict: 'deny', identity: job('api', 'j3', 'a2'), hour: 3 },
  { host: 'known.example', verdict: 'deny', hour: 3 },
  { host: 'seen.example', verdict: 'observe', identity: claimed('p "1"', "j'5"), hour: 30, client: '10.0.0.8' },
  { host: 'seen.example', verdict: 'observe', identity: claimed('p "1"', 'j6'), hour: 31, client: '10.0.0.8' },
  { host: 'ok.example', rule: 'x:3', outcome: 'connect-failed', hour: 31 },
  { host: 'ok.example', rule: 'x:3', cut: 'sni-mismatch', hour: 32 },
  { host: '', verdict: 'deny', reason: 'authority-malformed', hour: 33 },
  { host: 'new.example', port: 22, verdict: 'deny', identity: job('web', 'j7', 'a1'), hour: 60 },
  { host: '2001:db8::1', verdict: 'deny', reason: 'ip-literal-not-allowed', hour: 60 },
  { host: '\u0000nul\ud800.example', verdict: 'deny', identity: claimed('\u0000p', '\ud800j'), hour: 61 },
  { host: 'ok.example', rule: 'x:3', identity: job('web', 'j8', 'a1'), hour: 70, open: true },
];
const WINDOWS: Readonly<Record<string, Partial<Filter>>> = {
  all: {},
  'the last day': { from: START + 48 * HOUR_MS },
  'one pipeline': { pipeline: 'web' },
  'one job': { job: 'j2' },
  nothing: { from: START - 9 * HOUR_MS, to: START - 8 * HOUR_MS },
};

/** Everything that a store can be asked. */
async function told(history: History, logs: readonly string[], place: StorePlace) {
  for (const auditFile of logs) {
    const problems: unknown[] = [];
    await projectOnce({ auditFile, store: place, limits: DEFAULT_LIMITS, onProblem: (one) => problems.push(one) });
    expect(problems).toEqual([]);
  }
  await importAttempts(
    history,
    [
      { to: '140.82.112.3', port: 22, second: 1 },
      { to: '8.8.8.8', port: 53, protocol: 'UDP', second: 2, client: '10.0.0.8' },
      { to: '3.5.6.7', second: 30 * 3_600, client: '10.0.0.8', accepted: true },
    ],
    place,
  );
  const store = await openStore(place, 'write');
  try {
    const before = await asked(history, store);
    // The same by the day: what is older than a day before the newest record.
    const keeper = new Keeper({ hourly: 1, daily: 100 });
    while (await keeper.step(store, NOW));
    return { before, after: await asked(history, store) };
  } finally {
    await store.close();
  }
}

async function asked(history: History, store: Store) {
  const loaded = loadConfigHere({ file: history.configFile, now: NOW });
  const { catalog, policy, settings } = loaded;
  const view = createView({ catalog, rules: new Policy(policy).rules(), expectedDenials: settings.expectedDenials });
  const reports: Record<string, unknown> = {};
  for (const [name, window] of Object.entries(WINDOWS))
    for (const by of DIMENSIONS) {
      const filter = { from: START, to: NOW, pipeline: null, job: null, ...window };
      reports[`${name} by ${by}`] = await buildReport(store, view, filter, { by, timeline: true });
    }
  const text = readFileSync(history.configFile, 'utf8');
  const input = { file: history.configFile, text, loaded, from: START, to: NOW, now: NOW, pipeline: null };
  const suggestion = await buildSuggestion(store, { ...input, jobsMin: 1, scoped: true, unusedDays: 1 });
  return { reports, suggestion };
}

describe('both stores', () => {
  it.skipIf(postgresBin === null)('say the same, by the hour and by the day', { timeout: 120_000 }, async () => {
    const history = writeHistory(POLICY, EVENTS);
    const second = join(history.dir, 'second.jsonl');
    appendEvents(second, EVENTS.slice(0, 12), DEFAULT_LIMITS, 'n2');
    const logs = [history.auditFile, second];
    const sqlite = await told(history, logs, history.storeFile);
    const server = await Postgres.start();
    const postgres = await told(history, logs, server.place());
    // There is something in each part that may differ.
    expect(sqlite.before.reports['all by job']).toMatchObject({
      alarms: [{ host: 'agent-new.buildkite.com', count: 2 }],
      totals: { tunnels: 18, bytes_down: 30_000_000_120 },
      breakdown: { by: 'job', rows: expect.arrayContaining([expect.objectContaining({ name: 'j1', tunnels: 6 })]) },
      direct: { attempts: 3, rows: [{ verdict: 'accept', jobs: ["j'5"] }, { jobs: [] }, { jobs: ['j1'] }] },
      single_pipeline: [{ pipeline: 'api' }, { pipeline: 'p "1"' }],
    });
    expect(sqlite.before.reports['the last day by agent']).toMatchObject({
      drift: { hosts_total: 3, hosts: expect.arrayContaining([expect.objectContaining({ host: 'new.example' })]) },
    });
    expect(sqlite.before.suggestion.lines.length).toBeGreaterThan(2);
    expect(sqlite.before.suggestion.unused.length).toBeGreaterThan(0);
    for (const when of ['before', 'after'] as const) {
      for (const [name, report] of Object.entries(sqlite[when].reports))
        expect(postgres[when].reports[name], `${when}: ${name}`).toEqual(report);
      expect(postgres[when].suggestion).toEqual(sqlite[when].suggestion);
    }
  });
});
