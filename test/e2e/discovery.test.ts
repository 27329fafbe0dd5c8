// From "nobody knows what our builds need" to a policy that is enforced, as an operator types it: observe a scenario's traffic,
// report, suggest, patch, look at what is for review, replay, enforce. Then the same traffic passes and a foreign host does not.
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Replay } from '../../src/report/replay.ts';
import type { Report } from '../../src/report/report.ts';
import type { SuggestedLine } from '../../src/report/suggest.ts';
import { exchange } from '../support/metered.ts';
import { type Origin, startHttpOrigin, startOrigin } from '../support/origin.ts';
import { auditLines, type Finished, run, sallyport } from '../support/proxy-process.ts';
import { readScenarios, type Scenario, type ScenarioEvent } from '../support/scenarios.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

/** Multi-tenant storage and parameters; plain HTTP and hosts that no group names. */
const PLAYED = ['node-npm-ecr-s3-usw2', 'ruby-apt-plain-http'];
const SCENARIOS = readScenarios().filter(({ id }) => PLAYED.includes(id));
const TARGETS = [...new Set(SCENARIOS.flatMap(({ events }) => events.map(({ target }) => target)))];
const addressOf = (target: string): string => `127.78.0.${TARGETS.indexOf(target) + 1}`;
const hostOf = (target: string): string => target.replace(/:\d+$/, '');
const FOREIGN = 'exfiltrate.example:443';

let world: World | null = null;
const origins: Origin[] = [];
let unable: string | null = null;

beforeAll(async () => {
  const certificate = certificateFor(TARGETS.map(hostOf));
  try {
    for (const target of TARGETS) {
      const at = { host: addressOf(target), port: Number(target.split(':')[1]) };
      origins.push(
        at.port === 80
          ? await startHttpOrigin((_, response) => response.end('ok'), at)
          : await startOrigin((socket) => void socket.once('data', () => socket.end('ok')), {
              ...at,
              tls: certificate,
            }),
      );
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EADDRINUSE' && code !== 'EADDRNOTAVAIL') throw error;
    unable = `origins need ports 443 and 80 of 127.78.0.0/24: ${code}`;
  }
});

afterEach(async () => {
  await world?.close();
  world = null;
});

afterAll(async () => {
  for (const origin of origins) await origin.close();
});

function get(proxy: { host: string; port: number }, target: string, user: string | null): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers: Record<string, string> = { Host: target };
    if (user !== null) headers['Proxy-Authorization'] = `Basic ${Buffer.from(user).toString('base64')}`;
    const request = http.get({ ...proxy, path: `http://${target}/`, headers, agent: false }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode ?? 0));
    });
    request.once('error', reject);
  });
}

/** Status of one request of the event, by one job of the scenario's pipeline or by the agent. */
async function ask(running: World, scenario: Scenario, event: ScenarioEvent, job: string): Promise<number> {
  const user = event.identity === 'job' ? `${scenario.job.pipeline_slug}/${job}:` : null;
  const { proxy } = running.proxy;
  if (event.method === 'GET') return get(proxy, event.target, user);
  const { status } = await exchange({ proxy, target: event.target, user, ca: testCa().ca, payload: Buffer.from('x') });
  return status;
}

/** Two builds of the scenario's pipeline. */
async function play(running: World, scenario: Scenario): Promise<void> {
  for (const job of ['job-1', 'job-2'])
    for (const event of scenario.events)
      expect([event.target, await ask(running, scenario, event, job)]).toEqual([event.target, 200]);
}

function type(running: World, ...args: string[]): Promise<Finished> {
  return sallyport([...args, '--config', running.configFile], { cwd: running.dir });
}

describe.each(SCENARIOS.map((scenario) => [scenario.id, scenario] as const))('%s', (_, scenario) => {
  it('is observed, suggested, replayed and enforced', { timeout: 120_000 }, async (context) => {
    if (unable !== null) return context.skip(unable);
    const names = Object.fromEntries(TARGETS.map((target) => [hostOf(target), [addressOf(target)]]));
    // The origins of the test are inside: VPC endpoints, to the proxy.
    const private_upstreams = TARGETS.map((target) => ({ suffix: hostOf(target), addresses: LOOPBACK }));
    const running = await startWorld({ mode: 'observe', allow: [], private_upstreams }, names);
    world = running;

    // Observe.
    await play(running, scenario);
    const count = scenario.events.length * 2;
    await auditLines(running.auditFile, (lines) => lines.filter(({ event }) => event === 'ended').length === count);
    const observed = await running.report<Report>();
    expect(observed.totals).toMatchObject({ tunnels: count, would_deny: count, denied: 0 });

    // Suggest: the whole file and the patch are the same policy.
    const suggested = JSON.parse((await type(running, 'suggest', '--json')).stdout) as { lines: SuggestedLine[] };
    const whole = await type(running, 'suggest');
    const patch = await type(running, 'suggest', '--diff');
    expect([whole.code, patch.code, whole.stderr, patch.stderr]).toEqual([0, 0, '', '']);
    const patched = await run(['patch', '--silent', running.configFile], { input: patch.stdout });
    expect(patched).toMatchObject({ code: 0, stdout: '', stderr: '' });
    const policy = readFileSync(running.configFile, 'utf8');
    expect(whole.stdout.endsWith(policy)).toBe(true);

    // What is for review would fail, and nothing else.
    const proposed = join(running.dir, 'suggested.yaml');
    const replay = async (text: string) => {
      writeFileSync(proposed, text);
      const done = await type(running, 'replay', '--policy', proposed, '--ready', '--json');
      const { newly_fail } = JSON.parse(done.stdout) as Replay;
      return { code: done.code, hosts: [...new Set(newly_fail.map(({ host, port }) => `${host}:${port}`))].sort() };
    };
    const review = suggested.lines.filter((line) => line.review.length > 0);
    expect(new Set(review.flatMap((line) => line.review))).toEqual(new Set(review.length > 0 ? ['multi-tenant'] : []));
    const doubtful = [...new Set(review.flatMap(({ evidence }) => evidence.names))].sort();
    expect(await replay(policy)).toEqual({ code: doubtful.length > 0 ? 3 : 0, hosts: doubtful });
    const reviewed = policy.replaceAll(/^( *)# - /gm, '$1- ');
    expect(await replay(reviewed)).toEqual({ code: 0, hosts: [] });

    // Enforce.
    writeFileSync(running.configFile, reviewed.replace('mode: observe', 'mode: enforce'));
    await running.proxy.stop();
    await running.restart();
    await play(running, scenario);
    const foreign = { proxy: running.proxy.proxy, target: FOREIGN, user: 'evil/1:', ca: testCa().ca };
    expect(await exchange({ ...foreign, payload: Buffer.from('x') })).toMatchObject({
      ...{ status: 403, reason: 'host-not-allowed' },
    });

    // Drift: what is new is for review, and nothing else is left to do.
    await auditLines(running.auditFile, (lines) => lines.filter(({ event }) => event === 'ended').length === count * 2);
    const enforced = await running.report<Report>();
    expect(enforced.denied.map(({ host, count: times }) => [host, times])).toEqual([['exfiltrate.example', 1]]);
    const drift = await type(running, 'suggest', '--diff');
    expect(drift.stdout.split('\n').filter((line) => /^\+\s*(?:# )?- /.test(line))).toEqual([
      '+  # - exfiltrate.example',
    ]);
  });
});
