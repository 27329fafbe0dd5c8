// What the policy would answer to one request, and why, as an object: for `sallyport explain` and the admin API. It asks the same
// `decide` as the proxy and nothing else; names are not resolved, so the address guard has no say here.
import { refusalHint, requestError } from '../errors.ts';
import { type Authority, parseAuthority, parseHttpsTarget, parseHttpTarget } from '../policy/authority.ts';
import type { Decision, Policy } from '../policy/decide.ts';
import { decideRequest, type Inspection, type RequestAnswer, verdictBelow } from '../policy/inspect.ts';
import { hostFix } from '../policy/nearest-text.ts';
import type { Identity, Nearest } from '../policy/record.ts';
import { shownTarget } from '../policy/shown-target.ts';
import type { RuleView } from '../policy/view.ts';

export interface Asked {
  readonly authority: Authority;
  readonly kind: 'connect' | 'forward';
  readonly method: string;
  readonly path: string | null;
  /** What is asked inside the CONNECT; null where nothing is known of that. */
  readonly below: { readonly method: string; readonly target: string } | null;
}

export interface Explained {
  /** On the CONNECT or the forwarded request. */
  readonly decision: Decision;
  /** On what is asked inside the CONNECT; null where that was not asked about, or is not looked at. */
  readonly answer: RequestAnswer | null;
  readonly passes: boolean;
  /** What to do about a refusal; null where it passes. */
  readonly hint: string | null;
  /** The answer as the JSON that `explain --json` and the API give. */
  readonly json: object;
}

export function explainRequest(policy: Policy, asked: Asked, identity: Identity, now: number): Explained {
  const { below, ...request } = asked;
  const decision = policy.decide({ ...request, carries: () => true, identity, now });
  const passed = decision.verdict === 'allow' || decision.verdict === 'observe';
  const answer = passed ? answerOf(decision, asked) : null;
  const verdict = answer === null || !passed ? decision.verdict : verdictBelow(answer, decision.mode);
  const passes = passed && verdict !== 'deny';
  const refusal = answer?.verdict === 'deny' ? answer : null;
  const reason = refusal?.reason ?? decision.reason;
  const { nearest } = refusal ?? ('nearest' in decision ? decision : { nearest: null });
  const hint = verdict === 'allow' ? null : hintOf(reason, asked, nearest, refusal !== null);
  const { rule } = decision;
  const json = {
    host: asked.authority.host,
    port: asked.authority.port,
    kind: asked.kind,
    method: below?.method ?? asked.method,
    ...(below === null ? {} : { path: shownTarget(below.target) }),
    verdict: verdict === 'challenge' ? 'deny' : verdict,
    reason,
    status: passes || reason === 'allowed' ? null : (requestError(reason).status ?? null),
    rule:
      rule === null
        ? null
        : { id: rule.id, origin: rule.origin, group: rule.group, pattern: rule.pattern, layer: rule.layer ?? 'base' },
    inspected: passed && decision.inspect !== null,
    line: answer === null || answer.entry === null ? null : { text: answer.entry.text, origin: answer.entry.origin },
    protocol: passes ? decision.protocol : null,
    nearest,
    hint,
    policy: policy.digest,
  };
  return { decision, answer, passes, hint, json };
}

function answerOf(
  decision: Extract<Decision, { verdict: 'allow' | 'observe' }>,
  { below, authority }: Asked,
): RequestAnswer | null {
  if (below === null || decision.inspect === null) return null;
  return decideRequest(decision.inspect, { ...below, host: authority.host, headers: null });
}

/** What to do about it: the fix of the nearest rule, else the line that would allow exactly this, else the registry's hint. */
function hintOf(reason: string, asked: Asked, nearest: Nearest | null, isBelow: boolean): string {
  const { host, port } = asked.authority;
  if (nearest !== null && nearest.fix !== '')
    return isBelow ? `Add under the rule of ${host}: ${nearest.fix}` : `Add under allow: - ${nearest.fix}`;
  if (reason !== 'host-not-allowed') return refusalHint(reason, host, port);
  return nearest === null
    ? `Add under allow: - ${allowLine(asked)}`
    : `Mend what asks for it; it may be a squatter's name.`;
}

function allowLine(asked: Asked): string {
  const { host, port } = asked.authority;
  return asked.kind === 'connect' && port === 443 ? host : hostFix(asked);
}

/** HOST, HOST:PORT, [V6]:PORT, http://… or https://…; the strict parsers of the proxy judge it, nothing here repairs it. */
export function parseAsked(
  text: string,
  method: string | null,
): { readonly ok: true; readonly asked: Asked } | { readonly ok: false; readonly problem: string } {
  const connect = method?.toUpperCase() === 'CONNECT';
  if (/^http:\/\//i.test(text)) {
    const target = parseHttpTarget(text);
    if (!target.ok) return target;
    const { authority } = target;
    if (connect) return { ok: true, asked: { authority, kind: 'connect', method: 'CONNECT', path: null, below: null } };
    return { ok: true, asked: { authority, kind: 'forward', method: method ?? 'GET', path: target.path, below: null } };
  }
  if (/^https:\/\//i.test(text)) {
    const target = parseHttpsTarget(text);
    if (!target.ok) return target;
    const { authority, path } = target;
    const below = connect ? null : { method: method ?? 'GET', target: path };
    return { ok: true, asked: { authority, kind: 'connect', method: 'CONNECT', path: null, below } };
  }
  const parsed = parseAuthority(
    /:\d*$/.test(text) && !isBareV6(text) ? text : `${isBareV6(text) ? `[${text}]` : text}:443`,
  );
  if (!parsed.ok) return parsed;
  const { authority } = parsed;
  if (method === null || connect)
    return { ok: true, asked: { authority, kind: 'connect', method: 'CONNECT', path: null, below: null } };
  return { ok: true, asked: { authority, kind: 'forward', method, path: '/', below: null } };
}

/** An IPv6 address typed without brackets has no port. */
function isBareV6(text: string): boolean {
  return !text.startsWith('[') && text.split(':').length > 2;
}

/** One rule of the effective policy as the JSON that `policy --json` and the API give. */
export function ruleObject(rule: RuleView, now: number) {
  return {
    effect: rule.effect,
    pattern: rule.pattern,
    ports: rule.ports ?? (rule.effect === 'allow' ? [443] : null),
    protocol: rule.protocol ?? (rule.effect === 'deny' ? 'any' : 'by port'),
    mode: rule.mode,
    group: rule.group,
    need: rule.need,
    rule: rule.id,
    origin: rule.origin,
    for: rule.for,
    addresses: rule.addresses.map(({ text }) => text),
    expires: rule.expires === null ? null : new Date(rule.expires).toISOString(),
    expired: rule.expires !== null && rule.expires < now,
    reason: rule.reason,
    owner: rule.owner,
    layer: rule.layer ?? 'base',
    inspect: rule.inspect === null ? null : inspectObject(rule.inspect),
  };
}

/** What may pass below the host, as lines for people; a preset is several lines of one text. */
function inspectObject(inspect: Inspection) {
  const lines = (entries: Inspection['allow']) => [
    ...new Map(entries.map(({ text, origin }) => [`${origin} ${text}`, { text, origin }])).values(),
  ];
  return {
    allow: lines(inspect.allow),
    deny: lines(inspect.deny),
    max_upload_bytes: inspect.maxUploadBytes,
    max_response_bytes: inspect.maxResponseBytes,
    websocket: inspect.websocket,
    upstream_ca: inspect.upstreamCa,
  };
}
