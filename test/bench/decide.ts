// Cost of one decision against the number of rules. Run: node test/bench/decide.ts [--quick]
// Prints ns a decision for an exact hit, a wildcard hit, a miss far from every rule and a miss with a nearest rule, and
// the build time. --quick stops at 10,000 rules, checks that the answers are right, and prints no figures.
import assert from 'node:assert/strict';
import { parseAuthority } from '../../src/policy/authority.ts';
import { type CompiledPolicy, compilePolicy, EMPTY_SOURCE, type RuleSource } from '../../src/policy/compile.ts';
import { type Decision, Policy, type PolicyRequest } from '../../src/policy/decide.ts';
import { parsePattern } from '../../src/policy/pattern.ts';
import { ANONYMOUS } from '../../src/policy/record.ts';

const NOW = 1_790_000_000_000;

/** A rule of the shape that most have: every tenth is a wildcard. */
function ruleOf(index: number): RuleSource {
  const wildcard = index % 10 === 0;
  const host = `${wildcard ? '*.' : 'host-'}${wildcard ? `team${index}` : index}.zone${index % 997}.bench.test`;
  const parsed = parsePattern(host);
  assert(parsed.ok);
  return {
    effect: 'allow',
    pattern: parsed.pattern,
    ports: null,
    protocol: null,
    addresses: [],
    metadata: false,
    paths: null,
    inspect: null,
    mode: null,
    for: null,
    expires: null,
    id: `policy.yaml:${index + 1}`,
    origin: `policy.yaml:${index + 1}`,
    group: null,
    need: null,
    reason: null,
    owner: 'bench',
    layer: null,
  };
}

function compileRules(count: number): { compiled: CompiledPolicy; buildMs: number } {
  const rules = Array.from({ length: count }, (_, index) => ruleOf(index));
  const start = performance.now();
  const compiled = compilePolicy({ ...EMPTY_SOURCE, rules, digest: 'bench' });
  return { compiled, buildMs: performance.now() - start };
}

function requestFor(target: string): PolicyRequest {
  const parsed = parseAuthority(target);
  assert(parsed.ok, target);
  return {
    authority: parsed.authority,
    kind: 'connect',
    method: 'CONNECT',
    path: null,
    identity: ANONYMOUS,
    now: NOW,
  };
}

/** Requests spread over the policy, so that the figures include the cache misses of a real one. */
function requestsFor(count: number, hosts: (index: number) => string): PolicyRequest[] {
  const spread = Math.min(count, 1_000);
  return Array.from({ length: spread }, (_, at) => requestFor(`${hosts(Math.floor((at * count) / spread))}:443`));
}

const KINDS: readonly { name: string; verdict: Decision['verdict']; host: (index: number) => string }[] = [
  { name: 'exact', verdict: 'allow', host: (i) => exactHost(i) },
  { name: 'wildcard', verdict: 'allow', host: (i) => `a.b.team${i - (i % 10)}.zone${(i - (i % 10)) % 997}.bench.test` },
  { name: 'far miss', verdict: 'deny', host: (i) => `host-${i}.pastebin.invalid` },
  { name: 'near miss', verdict: 'deny', host: (i) => `x.${exactHost(i)}` },
];

/** The host of the exact rule at or after an index (multiples of ten are wildcards). */
function exactHost(index: number): string {
  const exact = index % 10 === 0 ? index + 1 : index;
  return `host-${exact}.zone${exact % 997}.bench.test`;
}

function checkAnswers(policy: Policy, count: number): void {
  for (const kind of KINDS) {
    for (const request of requestsFor(count, kind.host)) {
      const decision = policy.decide(request);
      assert.equal(decision.verdict, kind.verdict, `${kind.name}: ${request.authority.text}`);
    }
  }
}

function nsPerDecision(policy: Policy, requests: readonly PolicyRequest[], rounds: number): number {
  let best = Number.POSITIVE_INFINITY;
  // The best of five: the machine has other work, and interference only ever adds.
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const start = performance.now();
    for (let round = 0; round < rounds; round += 1) {
      const request = requests[round % requests.length];
      if (request !== undefined) policy.decide(request);
    }
    best = Math.min(best, ((performance.now() - start) * 1e6) / rounds);
  }
  return best;
}

function run(quick: boolean): void {
  const sizes = quick ? [10, 1_000, 10_000] : [10, 1_000, 100_000, 1_000_000];
  if (!quick)
    console.log(`rules      build ms   ${KINDS.map((kind) => kind.name.padStart(10)).join('')}   (ns a decision)`);
  for (const count of sizes) {
    const { compiled, buildMs } = compileRules(count);
    const policy = new Policy(compiled);
    checkAnswers(policy, count);
    if (quick) continue;
    const figures = KINDS.map((kind) => nsPerDecision(policy, requestsFor(count, kind.host), 100_000));
    const row = figures.map((ns) => Math.round(ns).toString().padStart(10)).join('');
    console.log(`${String(count).padEnd(10)} ${buildMs.toFixed(0).padStart(8)}   ${row}`);
  }
  if (quick) console.log(`decide: answers are right up to ${sizes.at(-1)} rules`);
}

run(process.argv.includes('--quick'));
