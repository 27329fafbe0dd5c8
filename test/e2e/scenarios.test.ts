// Ten minutes of build jobs in seconds: every event of test/fixtures/scenarios.yaml goes through the built proxy to a fake origin
// on port 443 or 80 of an address of its own, once against the published hosts alone and once with companions and the operator's
// rules. Each verdict and rule is the file's; the report's sums are the file's counts and the bytes that the clients measured.
import http from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { DecidedLine } from '../../src/policy/record.ts';
import type { Report } from '../../src/report/report.ts';
import { type } from '../cli/console.ts';
import { exchange } from '../support/metered.ts';
import { type Origin, startHttpOrigin, startOrigin } from '../support/origin.ts';
import { auditLines, PROCESSES_MS } from '../support/proxy-process.ts';
import { readScenarios, type Scenario, type ScenarioEvent, scenarioRules } from '../support/scenarios.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const SCENARIOS = readScenarios();
const TARGETS = [...new Set(SCENARIOS.flatMap(({ events }) => events.map(({ target }) => target)))];
const addressOf = (target: string): string => `127.77.0.${TARGETS.indexOf(target) + 1}`;
const hostOf = (target: string): string => target.replace(/:\d+$/, '');

// The most specific rule wins, and the layer bucket stands in the catalog by its whole name: the file names the wildcard above it.
const MORE_SPECIFIC: Readonly<Record<string, string>> = {
  'prod-us-west-2-starport-layer-bucket.s3.us-west-2.amazonaws.com': 'aws-ecr-layers',
};

interface Totals {
  tunnels: number;
  denied: number;
  bytes_up: number;
  bytes_down: number;
}

/** One byte for each kB of the file, shared out over the event's connections; at least one each. */
const share = (kb: number, count: number, index: number): number =>
  Math.max(1, Math.floor(kb / count) + (index < kb % count ? 1 : 0));

let world: World | null = null;
const origins: Origin[] = [];
let unable: string | null = null;
let payloadUp = 0;

beforeAll(async () => {
  const certificate = certificateFor(TARGETS.map(hostOf));
  try {
    for (const target of TARGETS) {
      const at = { host: addressOf(target), port: Number(target.split(':')[1]) };
      if (at.port === 80) {
        origins.push(
          await startHttpOrigin(
            (request, response) => response.end(Buffer.alloc(Number(request.url?.slice(1)), 'x')),
            at,
          ),
        );
        continue;
      }
      origins.push(
        await startOrigin(
          (socket) => {
            let held = Buffer.alloc(0);
            socket.on('data', (chunk: Buffer) => {
              held = Buffer.concat([held, chunk]);
              if (held.length < 8 || held.length < 8 + held.readUInt32BE(0)) return;
              payloadUp += held.length - 8;
              socket.end(Buffer.alloc(held.readUInt32BE(4), 'x'));
            });
          },
          { ...at, tls: certificate },
        ),
      );
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EADDRINUSE' && code !== 'EADDRNOTAVAIL') throw error;
    unable = `origins need ports 443 and 80 of 127.77.0.0/24: ${code}`;
  }
});

afterEach(async () => {
  await world?.close();
  world = null;
});

afterAll(async () => {
  for (const origin of origins) await origin.close();
});

/** A plain request in absolute form; its status and the length of its body. */
function get(
  proxy: { host: string; port: number },
  event: ScenarioEvent,
  user: string | null,
  size: number,
): Promise<{ status: number; reason: string; received: number }> {
  return new Promise((resolve, reject) => {
    const headers: Record<string, string> = { Host: event.target };
    if (user !== null) headers['Proxy-Authorization'] = `Basic ${Buffer.from(user).toString('base64')}`;
    const request = http.get(
      { ...proxy, path: `http://${event.target}/${size}`, headers, agent: false },
      (response) => {
        let received = 0;
        response.on('data', (chunk: Buffer) => {
          received += chunk.length;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, reason: response.statusMessage ?? '', received }),
        );
      },
    );
    request.once('error', reject);
  });
}

async function play(
  scenario: Scenario,
  running: World,
  event: ScenarioEvent,
  index: number,
): Promise<{ status: number; reason: string } & Pick<Totals, 'bytes_up' | 'bytes_down'>> {
  const user = event.identity === 'job' ? `${scenario.job.pipeline_slug}/${scenario.job.job_id}:` : null;
  const up = share(event.kb_up, event.count, index);
  const down = share(event.kb_down, event.count, index);
  if (event.method === 'GET') {
    const { status, reason, received } = await get(running.proxy.proxy, event, user, down);
    if (status === 200) expect(received).toBe(down);
    return { status, reason, bytes_up: 0, bytes_down: status === 200 ? down : 0 };
  }
  const payload = Buffer.alloc(8 + up, 'x');
  payload.writeUInt32BE(up, 0);
  payload.writeUInt32BE(down, 4);
  const { status, reason, wire, received } = await exchange({
    proxy: running.proxy.proxy,
    target: event.target,
    user,
    ca: testCa().ca,
    payload,
  });
  if (status === 200) expect(received).toBe(down);
  return { status, reason, bytes_up: wire.up, bytes_down: wire.down };
}

const nothing = (): Totals => ({ tunnels: 0, denied: 0, bytes_up: 0, bytes_down: 0 });

function add(into: Totals, more: Readonly<Partial<Totals>>): void {
  for (const key of Object.keys(into) as (keyof Totals)[]) into[key] += more[key] ?? 0;
}

/** The rows of the report added up; every request stands in one row, and the refused hosts stand in `denied` beside it. */
function sums(report: Report): Totals {
  const all = nothing();
  const rows = [...report.required, ...report.optional.flatMap(({ hosts }) => hosts), ...report.other];
  for (const row of rows) add(all, row);
  all.denied = report.denied.reduce((sum, { count }) => sum + count, 0);
  return all;
}

describe.each(SCENARIOS.map((scenario) => [scenario.id, scenario] as const))('%s', (_, scenario) => {
  it.for(['seed', 'all'] as const)('gets every verdict, rule and sum with the %s policy', async (which, context) => {
    if (unable !== null) return context.skip(unable);
    const names = Object.fromEntries(TARGETS.map((target) => [hostOf(target), [addressOf(target)]]));
    const running = await startWorld({ allow: scenarioRules(scenario, which) }, names);
    world = running;
    const expected = { all: nothing(), job: nothing() };
    const denied = new Map<string, number>();
    let kilobytesUp = 0;
    payloadUp = 0;
    for (const event of scenario.events) {
      const verdict = which === 'seed' ? event.seed_only : event.expect;
      for (let index = 0; index < event.count; index++) {
        const done = await play(scenario, running, event, index);
        expect(`${event.target} ${done.status} ${done.status === 200 ? '' : done.reason}`.trim()).toBe(
          `${event.target} ${verdict === 'allow' ? '200' : '403 host-not-allowed'}`,
        );
        const counts = verdict === 'allow' ? { ...done, tunnels: 1 } : { denied: 1 };
        add(expected.all, counts);
        if (event.identity === 'job') add(expected.job, counts);
        if (verdict === 'deny') denied.set(event.target, (denied.get(event.target) ?? 0) + 1);
        else if (event.method === 'CONNECT') kilobytesUp += share(event.kb_up, event.count, index);
      }
    }
    expect(payloadUp).toBe(kilobytesUp);

    const lines = await auditLines(
      running.auditFile,
      (found) => found.filter(({ event }) => event === 'ended').length === expected.all.tunnels,
    );
    const made = lines.filter((line): line is DecidedLine => line.event === 'decided');
    expect(made.map(({ host, port, verdict, rule }) => `${host}:${port} ${verdict} ${rule ?? ''}`.trim())).toEqual(
      scenario.events.flatMap((event) => {
        const verdict = which === 'seed' ? event.seed_only : event.expect;
        const rule = verdict === 'deny' ? '' : ruleOf(running, event, which);
        return Array.from({ length: event.count }, () => `${event.target} ${verdict} ${rule}`.trim());
      }),
    );

    const report = await running.report<Report>();
    expect(sums(report)).toEqual(expected.all);
    expect(report.totals).toMatchObject(expected.all);
    expect(new Map(report.denied.map(({ host, port, count }) => [`${host}:${port}`, count]))).toEqual(denied);
    expect(sums(await reportHere(running, '--job', scenario.job.job_id))).toEqual(expected.job);
    expect(sums(await reportHere(running, '--pipeline', scenario.job.pipeline_slug))).toEqual(expected.job);
    expect(rowsOf(report)).toEqual(expectedRows(scenario, which));
  });
});

/** The command in this process: that the built one says the same is seen once before. */
async function reportHere(running: World, ...args: readonly string[]): Promise<Report> {
  const typed = ['report', '--config', running.configFile, '--format', 'json', ...args];
  const { code, out, err } = await type(typed, { now: Date.now() });
  expect(code, err).toBe(0);
  return JSON.parse(out) as Report;
}

/** Tunnels by host as asked for: a row of one host, or the names behind a wildcard's row. */
function rowsOf(report: Report): Set<string> {
  const rows = [...report.required, ...report.optional.flatMap(({ hosts }) => hosts), ...report.other];
  return new Set(
    rows
      .filter(({ tunnels }) => tunnels > 0)
      .flatMap(({ host, port, names }) => (names.length > 0 ? names : [host]).map((name) => `${name}:${port}`)),
  );
}

function expectedRows(scenario: Scenario, which: 'seed' | 'all'): Set<string> {
  const verdict = (event: ScenarioEvent) => (which === 'seed' ? event.seed_only : event.expect);
  return new Set(scenario.events.filter((event) => verdict(event) === 'allow').map(({ target }) => target));
}

/** The rule that the file names, as records write it: a catalog id, or the line of the operator's own rule. */
function ruleOf(running: World, event: ScenarioEvent, which: 'seed' | 'all'): string {
  const rule = (which === 'all' ? MORE_SPECIFIC[hostOf(event.target)] : undefined) ?? event.rule ?? '';
  return rule.startsWith('op:') ? running.placeOf(`host: ${rule.slice(3)}`) : rule;
}
