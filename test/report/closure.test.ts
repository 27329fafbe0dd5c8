// The promise of `suggest`, over random policies and histories through the real log and store: the proposed policy loads, and
// lets through every request that was let through or wanted, save what stands under review; with the lines under review let
// in, those too. What a deny rule or an expected denial refuses stays refused. The judge is `replay`'s, not suggest's own.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { fillTemplate } from '../../src/catalog/catalog.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { type Authority, parseAuthority } from '../../src/policy/authority.ts';
import { type Decision, METADATA_NAMES, Policy } from '../../src/policy/decide.ts';
import { parsePattern } from '../../src/policy/pattern.ts';
import { ANONYMOUS, type Identity } from '../../src/policy/record.ts';
import { buildSuggestion, type Suggestion } from '../../src/report/suggestion.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import fc from '../support/property.ts';
import { appendEvents, claimed, type Event, START, writeHistory } from './history.ts';

const NOW = START + 72 * 3_600_000;
const catalog = loadCatalog();

/** Every host that the catalog knows, its templates filled with the examples and with values that do not fit. */
const CATALOG = [...catalog.groups.values()].flatMap((group) =>
  group.entries.flatMap(({ host, ports, scheme }) => {
    const example = Object.fromEntries(group.parameters.map(({ name, example }) => [name, example]));
    const other = Object.fromEntries(
      group.parameters.map(({ name, kind }) => [name, kind === 'label' ? '0e1' : 'x_y']),
    );
    return [example, other].map((values) => {
      const name = fillTemplate(host, values).replace(/^\*/, 'some.name').toLowerCase();
      return { host: name, port: ports[0] ?? 443, method: scheme === 'http' ? 'GET' : 'CONNECT' };
    });
  }),
);
const ODD = [
  ...['git.corp.example', 'old.example', 'tried.example', 'guarded.invalid', 'x.corp.example', 'corp.example', 'null'],
  ...[
    '10.0.0.5',
    '192.0.2.7',
    '2606:4700::1111',
    'localhost',
    'a.localhost',
    'a_b.example',
    '-',
    'com',
    'co.uk',
    'true.on',
  ],
  ...[
    '169.254.169.254',
    'metadata.google.internal',
    'gist.github.com',
    'telemetry.example',
    'pastebin.com',
    '0x1.example',
  ],
  ...[
    'sts.eu-west-3.amazonaws.com',
    'sts.amazonaws.com',
    'b.s3.eu-west-3.amazonaws.com',
    '1.dkr.ecr.eu-west-3.amazonaws.com',
  ],
  ...Array.from({ length: 7 }, (_, at) => `n${at}.cdn.acme.dev`),
  ...Array.from({ length: 7 }, (_, at) => `n${at}.github.io`),
].map((host) => ({ host, port: 443, method: 'CONNECT' }));

const ENTRIES = [
  'github.com',
  '{ group: buildkite-agent }',
  '{ group: amazon-sts, with: { region: us-west-2 } }',
  '{ group: amazon-sts, with: { region: [us-west-2, us-east-1] } }',
  '{ group: amazon-s3, with: { region: us-west-2 }, for: { pipeline: deploy } }',
  '{ host: "*.corp.example", for: { queue: deploy } }',
  '{ host: old.example, expires: 2026-01-01 }',
  '{ host: tried.example, mode: observe }',
  '{ host: "*.acme.dev", ports: [8443] }',
  '"*.example:443"',
];
const FILES: readonly ((entries: readonly string[]) => string)[] = [
  (entries) => `version: 1\nallow:\n${entries.map((each) => `  # why\n  - ${each}  # c\n`).join('')}\n`,
  (entries) => `allow:\r\n${entries.map((each) => `- ${each}\r\n`).join('')}# tail\r\nversion: 1\r\n`,
  (entries) => `version: 1\nallow: [${entries.join(', ')}]\n`,
  (entries) => `version: 1\nallow: [\n${entries.map((each) => `  ${each}, # c\n`).join('')}]\n`,
  () => 'version: 1\n',
  () => 'version: 1\nallow: [] # nothing\n',
];
const REST = [
  'deny: [gist.github.com]',
  'expected_denials: [telemetry.example]',
  'tests: [{ deny: guarded.invalid:443 }]',
];

const proven = (pipeline: string, job: string): Identity => ({
  ...{ kind: 'job', claimed: {} },
  attributes: { pipeline, job, queue: pipeline },
});
const WHO = [
  ...[ANONYMOUS, claimed('web', 'c1'), claimed('web', 'c2'), claimed('a\n  - "*.evil.example"', 'c3')],
  ...[proven('deploy', 'd1'), proven('deploy', 'd2'), proven('w*', 'e1'), proven('"# - x', 'f1')],
];

const targets = fc.array(fc.oneof(fc.constantFrom(...CATALOG), fc.constantFrom(...ODD)), {
  minLength: 1,
  maxLength: 12,
});
const asked = fc.record({
  /** Which of the targets of a run: few, so that a host is asked for in several ways. */
  pick: fc.nat({ max: 11 }),
  port: fc.oneof({ weight: 6, arbitrary: fc.constant(null) }, fc.constantFrom(80, 22, 8443)),
  method: fc.oneof({ weight: 8, arbitrary: fc.constant(null) }, fc.constantFrom('GET', 'CONNECT')),
  identity: fc.constantFrom(...WHO),
  passes: fc.boolean(),
  hour: fc.integer({ min: 0, max: 71 }),
});

function authorityOf(host: string, port: number): Authority | null {
  const parsed = parseAuthority(`${host.includes(':') ? `[${host}]` : host}:${port}`);
  return parsed.ok ? parsed.authority : null;
}

type Target = Required<Pick<Event, 'host' | 'port' | 'method' | 'identity'>>;

function decide(policy: Policy, { host, port, method, identity }: Target): Decision | null {
  const authority = authorityOf(host, port);
  const request =
    method === 'CONNECT' ? ({ kind: 'connect', path: null } as const) : ({ kind: 'forward', path: '/' } as const);
  return authority === null ? null : policy.decide({ authority, method, identity, now: NOW, ...request });
}

/** The record that the proxy would have made under the policy. */
function eventOf(policy: Policy, target: Target, passes: boolean, hour: number): Event | null {
  const decision = decide(policy, target);
  if (decision === null) return null;
  const { reason, rule } = decision;
  const by = { rule: rule?.id ?? null, group: rule?.group ?? null, hour };
  if (decision.verdict === 'allow') return { ...target, ...by };
  const refused = reason as Exclude<Event['reason'], undefined>;
  const lifted = decision.verdict === 'observe' || (passes && !['host-denied', 'metadata-prohibited'].includes(reason));
  return { ...target, ...by, rule: null, group: null, reason: refused, verdict: lifted ? 'observe' : 'deny' };
}

async function suggestFor(
  text: string,
  events: readonly Event[],
  options: { jobsMin: number; scoped: boolean; unusedDays: number },
) {
  const history = writeHistory({}, []);
  const files = `audit: { file: ${history.auditFile} }\nusage: { store: ${history.storeFile} }\n`.replaceAll(
    '\n',
    text.includes('\r') ? '\r\n' : '\n',
  );
  const whole = `${text}${files}`;
  writeFileSync(history.configFile, whole);
  appendEvents(history.auditFile, events);
  const loaded = loadConfigHere({ file: history.configFile, now: NOW });
  await projectOnce({
    ...{ auditFile: history.auditFile, store: history.storeFile, limits: loaded.settings.limits },
    onProblem: (problem) => expect(problem).toBeNull(),
  });
  const store = openStore(history.storeFile, 'read');
  try {
    const input = { file: history.configFile, text: whole, loaded, from: START, to: NOW, now: NOW, pipeline: null };
    return { history, whole, made: await buildSuggestion(store, { ...input, ...options }) };
  } finally {
    await store.close();
  }
}

/** Whether anybody could want it: metadata, public suffixes and expected denials are never proposed. */
function isWanted({ host, port, reason, verdict }: Event, before: Decision | null, expected: boolean): boolean {
  if (before === null || before.reason === 'host-denied' || before.reason === 'metadata-prohibited') return false;
  if (METADATA_NAMES.has(host) || (expected && host === 'telemetry.example')) return false;
  // A challenge is followed by the request that counts.
  if (reason === 'credentials-required' && verdict === 'deny') return false;
  return parsePattern(host.includes(':') ? `[${host}]` : host).ok && port !== 0;
}

const passes = (decision: Decision | null): boolean =>
  decision !== null && (decision.verdict === 'allow' || (decision.verdict === 'observe' && decision.rule !== null));

const reviewed = ({ lines }: Suggestion): Set<string> =>
  new Set(lines.filter(({ review }) => review.length > 0).flatMap(({ evidence }) => evidence.names));

it('is closed under replay', { timeout: 300_000 }, async () => {
  const runs = fc.record({
    entries: fc.subarray(ENTRIES, { minLength: 1 }),
    file: fc.constantFrom(...FILES),
    rest: fc.subarray(REST),
    mode: fc.constantFrom('', 'mode: observe'),
    jobsMin: fc.constantFrom(1, 2),
    scoped: fc.boolean(),
    unusedDays: fc.constantFrom(30, 2),
    targets,
    requests: fc.array(asked, { minLength: 1, maxLength: 60 }),
  });
  let waved = 0;
  const check = async ({
    entries,
    file,
    rest,
    mode,
    jobsMin,
    scoped,
    unusedDays,
    targets: hosts,
    requests,
  }: typeof runs extends fc.Arbitrary<infer T> ? T : never) => {
    const body = file(entries);
    const eol = body.includes('\r') ? '\r\n' : '\n';
    const text = `${body}${[...rest, mode]
      .filter((line) => line !== '')
      .map((line) => `${line}${eol}`)
      .join('')}`;
    const first = writeHistory({}, []);
    writeFileSync(first.configFile, text);
    const before = new Policy(loadConfigHere({ file: first.configFile, now: NOW }).policy);
    const events = requests.flatMap(({ pick, port, method, identity, passes: through, hour }) => {
      const target = hosts[pick % hosts.length] ?? { host: '', port: 0, method: '' };
      const one = { host: target.host, port: port ?? target.port, method: method ?? target.method, identity };
      return eventOf(before, one, through, hour) ?? [];
    });
    const { history, whole, made } = await suggestFor(text, events, { jobsMin, scoped, unusedDays });
    expect(readFileSync(history.configFile, 'utf8')).toBe(whole);
    const load = (policy: string) =>
      new Policy(loadConfigHere({ file: history.configFile, text: policy, now: NOW }).policy);
    const after = load(made.policy);
    // In a flow list every comment may end like an entry; and what a test forbids is forbidden.
    const block = !made.policy.includes('allow: [');
    const letIn = block ? load(made.policy.replace(/^tests:.*$/m, '').replaceAll(/^( *)# - /gm, '$1- ')) : null;
    const review = reviewed(made);
    for (const event of events) {
      const target = event as Target;
      const was = decide(before, target);
      if (
        !isWanted(
          event,
          was,
          rest.some((line) => line.startsWith('expected')),
        )
      ) {
        if (was?.verdict === 'deny') expect([target, passes(decide(after, target))]).toEqual([target, false]);
        continue;
      }
      waved += 1;
      const name = `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`;
      const judge = review.has(name) ? letIn : after;
      if (judge !== null)
        expect([target, made.policy, passes(decide(judge, target))]).toEqual([target, made.policy, true]);
    }
  };
  await fc.assert(fc.asyncProperty(runs, check), { numRuns: Number(process.env['CLOSURE_RUNS'] ?? 25) });
  expect(waved).toBeGreaterThan(50);
});
