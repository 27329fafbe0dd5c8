// Runs the `tests:` of a policy file against the policy that it makes, before anything listens on it.
// PURE. A test judges the policy as if it were enforced: observe mode would make every `deny:` fail that it is about.
// Time must not make a file invalid: a test that fails only because a rule has expired is a warning.
import { OPERATOR_ERRORS } from '../errors.ts';
import { type Authority, parseAuthority, parseHttpTarget } from '../policy/authority.ts';
import type { Decision, Policy, PolicyRequest } from '../policy/decide.ts';
import { ANONYMOUS, type Attributes, type Identity } from '../policy/record.ts';
import { error, type PathProblem } from './issues.ts';
import type { TestTarget } from './leaf.ts';
import type { Placed } from './parse.ts';
import type { TestItem } from './schema.ts';

/** No rule has expired then. */
const BEFORE_ALL = Number.NEGATIVE_INFINITY;

type Wanted = 'allow' | 'deny' | 'observe';

/** A request that a test of the file is about, and what it wants. */
export interface TestRequest {
  readonly wanted: Wanted;
  readonly request: PolicyRequest;
}

/** The requests of well-formed tests. */
export function testRequests(tests: readonly Placed<TestItem>[], now: number): TestRequest[] {
  return tests.flatMap(({ item }) => {
    const wanted = (['allow', 'deny', 'observe'] as const).find((key) => item[key] !== undefined);
    const target = wanted === undefined ? undefined : item[wanted];
    if (wanted === undefined || target === undefined) return [];
    const request = requestOf(target, item.method, identityOf(item.as as Attributes | undefined), now);
    return request === null ? [] : [{ wanted, request }];
  });
}

/** Runs every test; a failing one is an error at its place, with the decision and the rule that made it. */
export function runTests(policy: Policy, tests: readonly Placed<TestItem>[], now: number): PathProblem[] {
  return failedTests(policy, tests, now).map(({ problem }) => problem);
}

/** A test that does not hold, and the rule that decided against it; null where none did. */
export interface FailedTest {
  readonly problem: PathProblem;
  readonly rule: Decision['rule'];
}

/** The tests that do not hold. */
export function failedTests(policy: Policy, tests: readonly Placed<TestItem>[], now: number): FailedTest[] {
  return tests.flatMap(({ index, item }) => runTest(policy, item, ['tests', index], now));
}

function runTest(policy: Policy, item: TestItem, path: readonly PropertyKey[], now: number): FailedTest[] {
  const wants = (['allow', 'deny', 'observe'] as const).filter((key) => item[key] !== undefined);
  const [wanted] = wants;
  const target = wanted === undefined ? undefined : item[wanted];
  if (wanted === undefined || target === undefined || wants.length > 1) {
    const found = wants.length > 1 ? `both ${wants.join(' and ')}` : 'neither allow, deny nor observe';
    const hint = 'Write one of them, such as deny: pastebin.example:443';
    const code = wants.length > 1 ? 'config-conflict' : 'config-missing-key';
    return [{ problem: error(code, path, `the test has ${found}`, hint), rule: null }];
  }
  const request = requestOf(target, item.method, identityOf(item.as as Attributes | undefined), now);
  if (request === null) {
    const message = `an http:// URL is never asked for by CONNECT`;
    const hint = 'Write host:port, or another method.';
    return [{ problem: error('config-conflict', [...path, 'method'], message, hint), rule: null }];
  }
  const decision = policy.decide(request);
  if (holds(wanted, decision)) return [];
  const at = [...path, wanted];
  const message = `the test wants ${wanted} for ${target.text}, and the policy says ${decisionText(decision)}`;
  const failure = error('policy-test-failed', at, message, failureHint(decision));
  const timeless = policy.decide({ ...request, now: BEFORE_ALL });
  const { rule } = decision;
  if (!holds(wanted, timeless)) return [{ problem: failure, rule }];
  const hint = OPERATOR_ERRORS['lint-expired'].hint;
  const late = `${message}; it held before the rule expired`;
  return [{ problem: { ...failure, severity: 'warning', message: late, hint }, rule }];
}

function identityOf(attributes: Attributes | undefined): Identity {
  return attributes === undefined ? ANONYMOUS : { kind: 'job', attributes, claimed: {} };
}

/** The request that a test is about: CONNECT, except on port 80 and for URLs, which are forwarded. */
function requestOf(
  target: TestTarget,
  method: string | undefined,
  identity: Identity,
  now: number,
): PolicyRequest | null {
  if (target.kind === 'forward') {
    const parsed = parseHttpTarget(target.text);
    if (!parsed.ok || method === 'CONNECT') return null;
    return forward(parsed.authority, method ?? 'GET', parsed.path, identity, now);
  }
  const parsed = parseAuthority(target.text);
  if (!parsed.ok) return null;
  const { authority } = parsed;
  const verb = method ?? (authority.port === 80 ? 'GET' : 'CONNECT');
  if (verb !== 'CONNECT') return forward(authority, verb, '/', identity, now);
  return { authority, kind: 'connect', method: 'CONNECT', path: null, identity, now };
}

function forward(authority: Authority, method: string, path: string, identity: Identity, now: number): PolicyRequest {
  // What a test says nothing of is as the rule wants it.
  return { authority, kind: 'forward', method, path, carries: () => true, identity, now };
}

function holds(wanted: Wanted, decision: Decision): boolean {
  // In observe mode a refusal shows as observe, and a challenge is one too.
  if (wanted === 'deny') return decision.verdict !== 'allow';
  return decision.verdict === wanted;
}

function decisionText(decision: Decision): string {
  const rule = decision.rule === null ? '' : `, by ${decision.rule.pattern} at ${decision.rule.origin}`;
  return decision.verdict === 'allow' ? `allow${rule}` : `${decision.verdict} (${decision.reason}${rule})`;
}

function failureHint(decision: Decision): string | undefined {
  const nearest = decision.verdict === 'deny' || decision.verdict === 'observe' ? decision.nearest : null;
  if (nearest === null) return undefined;
  const fix = nearest.fix === '' ? '' : ` To allow it: ${nearest.fix}`;
  return `Nearest is ${nearest.pattern}: ${nearest.why}${fix}`;
}
