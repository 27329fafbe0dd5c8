// Runs the `tests:` of a policy file against the policy that it makes, before anything listens on it.
// PURE. A test judges the policy as if it were enforced: observe mode would make every `deny:` fail that it is about.
// Time must not make a file invalid: a test that fails only because a rule has expired is a warning.
import { OPERATOR_ERRORS } from '../errors.ts';
import { type Authority, parseAuthority, parseHttpsTarget, parseHttpTarget } from '../policy/authority.ts';
import type { Decision, Policy, PolicyRequest } from '../policy/decide.ts';
import { decideRequest, verdictBelow } from '../policy/inspect.ts';
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
  /** What is asked inside the CONNECT; null where the test is about the host. */
  readonly below: Inside | null;
}

interface Inside {
  readonly method: string;
  readonly target: string;
}

/** The requests of well-formed tests. */
export function testRequests(tests: readonly Placed<TestItem>[], now: number): TestRequest[] {
  return tests.flatMap(({ item }) => {
    const wanted = (['allow', 'deny', 'observe'] as const).find((key) => item[key] !== undefined);
    const target = wanted === undefined ? undefined : item[wanted];
    if (wanted === undefined || target === undefined) return [];
    const asked = requestOf(target, item.method, identityOf(item.as as Attributes | undefined), now);
    return asked === null ? [] : [{ wanted, ...asked }];
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
  const asked = requestOf(target, item.method, identityOf(item.as as Attributes | undefined), now);
  if (asked === null) {
    const message = `a URL is never asked for by CONNECT`;
    const hint = 'Write host:port, or another method.';
    return [{ problem: error('config-conflict', [...path, 'method'], message, hint), rule: null }];
  }
  const decision = judge(policy, asked);
  if (holds(wanted, decision)) return [];
  const at = [...path, wanted];
  const whole = asked.below !== null && decision.verdict === 'allow' && decision.inspect === null;
  const said = `${decisionText(decision)}${whole ? '; the rule is not inspected, so paths are not looked at' : ''}`;
  const message = `the test wants ${wanted} for ${target.text}, and the policy says ${said}`;
  const failure = error('policy-test-failed', at, message, failureHint(decision));
  const timeless = judge(policy, { ...asked, request: { ...asked.request, now: BEFORE_ALL } });
  const { rule } = decision;
  if (!holds(wanted, timeless)) return [{ problem: failure, rule }];
  const hint = OPERATOR_ERRORS['lint-expired'].hint;
  const late = `${message}; it held before the rule expired`;
  return [{ problem: { ...failure, severity: 'warning', message: late, hint }, rule }];
}

function identityOf(attributes: Attributes | undefined): Identity {
  return attributes === undefined ? ANONYMOUS : { kind: 'job', attributes, claimed: {} };
}

/** The decision on the CONNECT, or on what is asked inside it. */
function judge(policy: Policy, { request, below }: Omit<TestRequest, 'wanted'>): Decision {
  const decision = policy.decide(request);
  if (below === null || (decision.verdict !== 'allow' && decision.verdict !== 'observe')) return decision;
  const { inspect, mode, rule } = decision;
  if (inspect === null) return decision;
  // What a test says nothing of is as the rule wants it.
  const answer = decideRequest(inspect, { ...below, host: request.authority.host, headers: null });
  const verdict = verdictBelow(answer, mode);
  if (answer.verdict === 'allow' || verdict === 'allow') return decision;
  const { reason, nearest } = answer;
  if (verdict === 'deny') return { verdict, reason, rule, nearest };
  return { ...decision, verdict, reason, nearest, mode: 'observe' };
}

/** The request that a test is about: CONNECT, except on port 80 and for http:// URLs, which are forwarded. */
function requestOf(
  target: TestTarget,
  method: string | undefined,
  identity: Identity,
  now: number,
): Omit<TestRequest, 'wanted'> | null {
  if (target.kind === 'below') {
    const parsed = parseHttpsTarget(target.text);
    if (!parsed.ok || method === 'CONNECT') return null;
    const { authority, path } = parsed;
    const request = { authority, kind: 'connect', method: 'CONNECT', path: null, identity, now } as const;
    return { request, below: { method: method ?? 'GET', target: path } };
  }
  if (target.kind === 'forward') {
    const parsed = parseHttpTarget(target.text);
    if (!parsed.ok || method === 'CONNECT') return null;
    return { request: forward(parsed.authority, method ?? 'GET', parsed.path, identity, now), below: null };
  }
  const parsed = parseAuthority(target.text);
  if (!parsed.ok) return null;
  const { authority } = parsed;
  const verb = method ?? (authority.port === 80 ? 'GET' : 'CONNECT');
  if (verb !== 'CONNECT') return { request: forward(authority, verb, '/', identity, now), below: null };
  return { request: { authority, kind: 'connect', method: 'CONNECT', path: null, identity, now }, below: null };
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
