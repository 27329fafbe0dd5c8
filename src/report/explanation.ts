// What the policy would answer to one request, and why, as an object: for `sallyport explain` and the admin API. It asks the same
// `decide` as the proxy and nothing else; names are not resolved, so the address guard has no say here.
import { requestError } from '../errors.ts';
import { type Authority, parseAuthority, parseHttpTarget } from '../policy/authority.ts';
import type { Decision, Policy } from '../policy/decide.ts';
import type { Identity } from '../policy/record.ts';
import type { RuleView } from '../policy/view.ts';

export interface Asked {
  readonly authority: Authority;
  readonly kind: 'connect' | 'forward';
  readonly method: string;
  readonly path: string | null;
}

export interface Explained {
  readonly decision: Decision;
  readonly passes: boolean;
  /** What to do about a refusal; null where it passes. */
  readonly hint: string | null;
  /** The answer as the JSON that `explain --json` and the API give. */
  readonly json: object;
}

export function explainRequest(policy: Policy, asked: Asked, identity: Identity, now: number): Explained {
  const decision = policy.decide({ ...asked, carries: () => true, identity, now });
  const passes = decision.verdict === 'allow' || decision.verdict === 'observe';
  const spec = decision.reason === 'allowed' ? null : requestError(decision.reason);
  const hint = passes && decision.verdict === 'allow' ? null : hintOf(decision, asked, spec?.hint ?? '');
  const { rule } = decision;
  const json = {
    host: asked.authority.host,
    port: asked.authority.port,
    kind: asked.kind,
    method: asked.method,
    verdict: decision.verdict === 'challenge' ? 'deny' : decision.verdict,
    reason: decision.reason,
    status: passes ? null : (spec?.status ?? null),
    rule:
      rule === null
        ? null
        : { id: rule.id, origin: rule.origin, group: rule.group, pattern: rule.pattern, layer: rule.layer ?? 'base' },
    protocol: passes ? decision.protocol : null,
    nearest: 'nearest' in decision ? decision.nearest : null,
    hint,
    policy: policy.digest,
  };
  return { decision, passes, hint, json };
}

/** What to do about it: the fix of the nearest rule, else the line that would allow exactly this, else the registry's hint. */
function hintOf(decision: Decision, asked: Asked, fallback: string): string {
  const nearest = 'nearest' in decision ? decision.nearest : null;
  if (nearest !== null && nearest.fix !== '') return `Add under allow: - ${nearest.fix}`;
  if (decision.reason === 'host-not-allowed')
    return nearest === null
      ? `Add under allow: - ${allowLine(asked)}`
      : `Mend what asks for it; it may be a squatter's name.`;
  return fallback.replaceAll('{host}', asked.authority.host).replaceAll('{port}', String(asked.authority.port));
}

function allowLine({ authority: { host, port }, kind }: Asked): string {
  if (kind === 'forward') return `{ host: ${host}, ports: [${port}], protocol: http }`;
  return port === 443 ? host : `{ host: ${host}, ports: [${port}] }`;
}

/** HOST, HOST:PORT, [V6]:PORT or http://…; the strict parsers of the proxy judge it, nothing here repairs it. */
export function parseAsked(
  text: string,
  method: string | null,
): { readonly ok: true; readonly asked: Asked } | { readonly ok: false; readonly problem: string } {
  const connect = method?.toUpperCase() === 'CONNECT';
  if (/^http:\/\//i.test(text)) {
    const target = parseHttpTarget(text);
    if (!target.ok) return target;
    const { authority } = target;
    if (connect) return { ok: true, asked: { authority, kind: 'connect', method: 'CONNECT', path: null } };
    return { ok: true, asked: { authority, kind: 'forward', method: method ?? 'GET', path: target.path } };
  }
  const parsed = parseAuthority(
    /:\d*$/.test(text) && !isBareV6(text) ? text : `${isBareV6(text) ? `[${text}]` : text}:443`,
  );
  if (!parsed.ok) return parsed;
  const { authority } = parsed;
  if (method === null || connect)
    return { ok: true, asked: { authority, kind: 'connect', method: 'CONNECT', path: null } };
  return { ok: true, asked: { authority, kind: 'forward', method, path: '/' } };
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
  };
}
