// Steps 3 to 7 of every request's road, CONNECT and plain HTTP alike: who asks, may it, where to, is that address allowed,
// and the record of it, in the kernel before anything is dialled. Denied names are never resolved: DNS is a way out.
import type { OutcomeCode, RequestErrorCode } from '../errors.ts';
import type { Client, Identified } from '../identity/identify.ts';
import type { Resolution } from '../net/resolve.ts';
import { type Authority, authorityText } from '../policy/authority.ts';
import type { Decision, Policy, PolicyRequest } from '../policy/decide.ts';
import type { Carries } from '../policy/paths.ts';
import type { Below, Decided, Ended, Identity, Nearest } from '../policy/record.ts';
import type { ProxyContext } from './context.ts';
import { INNER_HOST } from './inner-name.ts';
import { type Facts, OpenRequest, type Passing } from './open-requests.ts';
import type { Refusal } from './respond.ts';

/** A request whose target has been parsed. */
export interface Ask {
  readonly id: string;
  readonly client: Client;
  readonly kind: PolicyRequest['kind'];
  readonly method: string;
  readonly authority: Authority;
  /** Raw path and query of a plain-HTTP request; null for CONNECT. */
  readonly path: string | null;
  /** Whether a plain-HTTP request carries a field; a CONNECT is never asked. */
  readonly carries?: Carries;
  /** Inside an inspected CONNECT: whether it asks for a WebSocket. */
  readonly websocket?: boolean;
  readonly proxyAuthorization: string | undefined;
  readonly userAgent: string | undefined;
  /** On the clock of performance.now(): the head's arrival. */
  readonly startedMs: number;
}

export type Routed =
  | { readonly ok: true; readonly open: OpenRequest }
  | { readonly ok: false; readonly refusal: Refusal };

/**
 * Takes a parsed request to checked addresses, or to a refusal; either way its decided record is written when it is there. Where who
 * asks and the name's answer are at hand (cached, or the request is refused) that is in the turn of its head: all that come in one turn
 * are written together.
 */
export async function route(ctx: ProxyContext, ask: Ask): Promise<Routed> {
  try {
    return await follow(ctx, ask);
  } catch (error) {
    return failed(ctx, ask, error);
  }
}

/** Writing the record is the last thing that `follow` does, so a request that failed in it has none yet. */
export function failed(ctx: ProxyContext, ask: Ask, error: unknown, more: Partial<Decided> = {}): Promise<Routed> {
  ctx.log.error({ err: error, request: ask.id }, 'a request failed inside the proxy and was refused');
  return refuse(ctx, ask, ask.client.identity, { reason: 'internal-error', more });
}

function follow(ctx: ProxyContext, ask: Ask): Promise<Routed> {
  if (!ask.client.allowed) return refuse(ctx, ask, ask.client.identity, { reason: 'client-not-allowed' });
  if (ask.authority.host === INNER_HOST) return refuse(ctx, ask, ask.client.identity, INNER_ONLY);
  const who = ctx.proofs.identify(ask.client, ask.proxyAuthorization);
  return who instanceof Promise ? who.then((known) => identified(ctx, ask, known)) : identified(ctx, ask, who);
}

/** The name is no host: whatever the policy says, there is nothing to resolve or to dial. */
const INNER_ONLY: Refused = {
  reason: 'self-prohibited',
  detail: `${INNER_HOST} is the proxy itself; it answers http://${INNER_HOST}/v1/jobs/… and nothing else`,
};

function identified(ctx: ProxyContext, ask: Ask, who: Identified): Promise<Routed> {
  if (!who.ok) return refuse(ctx, ask, ask.client.identity, { reason: who.code });
  const { policy } = ctx;
  const decision = decide(policy, ask, who.identity);
  if (decision.verdict === 'deny' || decision.verdict === 'challenge')
    return refuseDecision(ctx, ask, who.identity, decision);

  const answer = ctx.resolver.resolve(ask.authority.host, ask.client.address);
  if (answer instanceof Promise)
    return answer.then((found) => resolved(ctx, ask, who.identity, policy, decision, found));
  return resolved(ctx, ask, who.identity, policy, decision, answer);
}

function resolved(
  ctx: ProxyContext,
  ask: Ask,
  identity: Identity,
  before: Policy,
  decided: Passing,
  found: Resolution,
): Promise<Routed> {
  // A reload may have come while the name was resolved: what is recorded and dialled below is the policy in force now.
  const { policy } = ctx;
  const decision = policy === before ? decided : decide(policy, ask, identity);
  if (decision.verdict === 'deny' || decision.verdict === 'challenge')
    return refuseDecision(ctx, ask, identity, decision);
  if (!found.ok) {
    const { reason, verdict } = decision;
    return refuse(ctx, ask, identity, { reason, verdict, outcome: found.code, decision, detail: found.detail });
  }
  return checkAndRecord(ctx, ask, identity, policy, decision, found.addresses);
}

function decide(policy: Policy, ask: Ask, identity: Identity): Decision {
  return policy.decide({
    authority: ask.authority,
    kind: ask.kind,
    method: ask.method,
    path: ask.path,
    ...(ask.carries === undefined ? {} : { carries: ask.carries }),
    identity,
    now: Date.now(),
  });
}

function checkAndRecord(
  ctx: ProxyContext,
  ask: Ask,
  identity: Identity,
  policy: Policy,
  decision: Passing,
  answers: readonly string[],
): Promise<Routed> {
  const addresses: string[] = [];
  const dropped: string[] = [];
  let observed = false;
  let worst: RequestErrorCode = 'address-prohibited';
  let detail = '';
  for (const address of answers) {
    const check = policy.checkAddress(decision, ask.authority, address);
    if (check.ok) {
      addresses.push(address);
      observed ||= check.observed;
    } else {
      dropped.push(`${address} ${check.class}`);
      worst = check.reason;
      detail = `${ask.authority.host} resolves to ${address} (${check.class})`;
    }
  }
  if (addresses.length === 0) return refuse(ctx, ask, identity, { reason: worst, decision, dropped, detail });

  const verdict = observed ? 'observe' : decision.verdict;
  const reason = observed && decision.reason === 'allowed' ? 'address-prohibited' : decision.reason;
  const facts: Facts = {
    id: ask.id,
    identity,
    client: ask.client.address,
    host: ask.authority.host,
    port: ask.authority.port,
    method: ask.method,
    verdict,
    reason,
    group: decision.rule?.group ?? null,
    rule: decision.rule?.id ?? null,
    policy: policy.digest,
  };
  const nearest = decision.verdict === 'observe' ? decision.nearest : null;
  return letIn(ctx, ask, { decision, addresses, facts }, optional({ dropped, nearest, userAgent: ask.userAgent }));
}

/** Writes the decided record of a request that may pass. */
export async function letIn(
  ctx: ProxyContext,
  ask: Ask,
  passing: { readonly decision: Passing; readonly addresses: readonly string[]; readonly facts: Facts },
  more: Partial<Decided>,
): Promise<Routed> {
  const { decision, addresses, facts } = passing;
  // In the turn that decided: whatever policy comes next finds it here.
  const open = new OpenRequest(ctx.open, ask, decision, addresses, facts);
  ctx.open.add(open);
  if (!(await gather(ctx, { ...facts, addresses, ...more }))) {
    ctx.open.remove(open);
    return { ok: false, refusal: refusalFor(ctx, ask, facts.identity, 'audit-unavailable') };
  }
  const durable = ctx.recorder.durable?.() ?? null;
  return durable === null ? { ok: true, open } : onDisk(ctx, ask, open, durable);
}

/** `audit.sync: batch`. What cannot be kept over a crash of the host does not pass; its line is there, so it gets its end. */
async function onDisk(ctx: ProxyContext, ask: Ask, open: OpenRequest, durable: Promise<void>): Promise<Routed> {
  try {
    await durable;
    return { ok: true, open };
  } catch (error) {
    ctx.log.error({ err: error, request: ask.id }, 'the decision could not be put on the disk; the request is refused');
    if (!open.ended) recordEnd(ctx, open, { outcome: 'audit-unavailable', bytesUp: 0, bytesDown: 0 });
    return { ok: false, refusal: refusalOf(ctx, open, 'audit-unavailable', null) };
  }
}

/** What is recorded of a request that does not pass. */
export interface Refused {
  readonly reason: RequestErrorCode | 'allowed';
  readonly verdict?: Decided['verdict'];
  /** Where the request was allowed and failed all the same (DNS): the code that the client is told. */
  readonly outcome?: RequestErrorCode;
  readonly decision?: Decision;
  readonly dropped?: readonly string[];
  readonly detail?: string;
  readonly more?: Partial<Decided>;
}

function refuseDecision(
  ctx: ProxyContext,
  ask: Ask,
  identity: Identity,
  decision: Exclude<Decision, Passing>,
): Promise<Routed> {
  return refuse(ctx, ask, identity, { reason: decision.reason, decision });
}

/** Writes the decided record of a request that does not pass. */
export async function refuse(
  ctx: ProxyContext,
  ask: Ask,
  identity: Identity,
  what: Refused,
): Promise<Routed & { readonly ok: false }> {
  const { decision } = what;
  const code = what.outcome ?? (what.reason as RequestErrorCode);
  const nearest = decision && 'nearest' in decision ? decision.nearest : null;
  const recorded = await gather(ctx, {
    id: ask.id,
    identity,
    client: ask.client.address,
    host: ask.authority.host,
    port: ask.authority.port,
    method: ask.method,
    verdict: what.verdict ?? 'deny',
    reason: what.reason,
    group: decision?.rule?.group ?? null,
    rule: decision?.rule?.id ?? null,
    policy: ctx.policy.digest,
    outcome: code,
    ...optional({ dropped: what.dropped, nearest, userAgent: ask.userAgent }),
    ...what.more,
  });
  if (!recorded) return { ok: false, refusal: refusalFor(ctx, ask, identity, 'audit-unavailable') };
  const refusal = refusalFor(ctx, ask, identity, code);
  // Who has not said who he is learns that somebody may, not which layer says so.
  const hidden = decision?.verdict === 'challenge' && decision.rule.layer !== null;
  const rule = hidden ? null : (decision?.rule?.id ?? null);
  return { ok: false, refusal: { ...refusal, rule, nearest, detail: what.detail ?? null } };
}

/** What the client is told of a request that was let through and cannot be served. */
export function refusalOf(
  ctx: ProxyContext,
  open: OpenRequest,
  code: RequestErrorCode,
  detail: string | null,
): Refusal {
  return { ...refusalFor(ctx, open, open.identity, code), detail };
}

function refusalFor(
  ctx: ProxyContext,
  { id, authority, kind }: Pick<Ask, 'id' | 'authority' | 'kind'>,
  identity: Identity,
  code: RequestErrorCode,
): Refusal {
  const names = identity.attributes.pipeline ? identity.attributes : identity.claimed;
  return {
    code,
    id,
    host: authority.host,
    port: authority.port,
    kind,
    help: ctx.help,
    pipeline: names.pipeline,
    job: names.job,
  };
}

type Draft<T> = { -readonly [Key in keyof T]: T[Key] };

/** What is there of it: one object and no spreads, since it is made for each request. */
function optional(fields: {
  dropped?: readonly string[] | undefined;
  nearest?: Nearest | null;
  userAgent?: string | undefined;
}): Partial<Decided> {
  const some: Draft<Partial<Decided>> = {};
  if (fields.dropped && fields.dropped.length > 0) some.dropped = fields.dropped;
  if (fields.nearest) some.nearest = fields.nearest;
  if (fields.userAgent) some.user_agent = fields.userAgent;
  return some;
}

/** Writes it with the others of this turn. @returns whether it is in the log */
function gather(ctx: ProxyContext, record: Decided): Promise<boolean> {
  return new Promise((resolve) => {
    const told = (failure: unknown): void => {
      if (failure !== null) unrecorded(ctx, record, failure);
      resolve(failure === null);
    };
    try {
      ctx.recorder.gather(record, told);
    } catch (error) {
      told(error);
    }
  });
}

/** Writes it at once. @returns whether it is in the log */
function write(ctx: ProxyContext, record: Decided): boolean {
  try {
    ctx.recorder.decided(record);
    return true;
  } catch (error) {
    unrecorded(ctx, record, error);
    return false;
  }
}

function unrecorded(ctx: ProxyContext, { id }: Decided, error: unknown): void {
  ctx.log.error({ err: error, request: id }, 'the decision could not be recorded; the request is refused');
}

/** A request that the policy is not asked about: it cannot be understood, asks the proxy for itself, or comes when nothing is taken. */
export interface Unasked {
  readonly id: string;
  readonly client: Client;
  readonly method: string;
  readonly target: string;
  readonly code: RequestErrorCode;
  readonly detail: string | null;
  /** Null where the target cannot be read: then it is recorded as it came. */
  readonly authority: Authority | null;
  /** Inside an inspected CONNECT. */
  readonly below?: Below;
}

/** Records a request that is refused and about which the policy is not asked; the refusal is 503 where that fails. */
export function refuseUnasked(ctx: ProxyContext, what: Unasked): Refusal {
  const recorded = write(ctx, {
    id: what.id,
    identity: what.client.identity,
    client: what.client.address,
    host: what.authority?.host ?? null,
    port: what.authority?.port ?? null,
    ...(what.authority ? {} : { target: what.target }),
    method: what.method,
    verdict: 'deny',
    reason: what.code,
    group: null,
    rule: null,
    policy: ctx.policy.digest,
    outcome: what.code,
    ...what.below,
  });
  const { host, port } = what.authority ?? { host: null, port: null };
  const refusal = { id: what.id, host, port, help: ctx.help };
  return recorded ? { ...refusal, code: what.code, detail: what.detail } : { ...refusal, code: 'audit-unavailable' };
}

/**
 * Step 12: the one ended record of what was let through; a second call does nothing. A failure cannot undo what has passed; it
 * is said loudly.
 */
export function recordEnd(
  ctx: ProxyContext,
  open: OpenRequest,
  end: {
    outcome: RequestErrorCode | OutcomeCode;
    bytesUp: number;
    bytesDown: number;
    status?: number | undefined;
    verdict?: Ended['verdict'];
    reason?: Ended['reason'];
  },
): void {
  if (!ctx.open.remove(open)) return;
  const { facts, address } = open;
  try {
    const record: Draft<Ended> = {
      ...facts,
      verdict: end.verdict ?? facts.verdict,
      reason: end.reason ?? facts.reason,
      outcome: end.outcome,
      bytes_up: end.bytesUp,
      bytes_down: end.bytesDown,
      duration_ms: Math.round((performance.now() - open.startedMs) * 10) / 10,
    };
    if (address !== undefined && facts.port !== null) record.address = authorityText(address, facts.port);
    if (end.status !== undefined) record.status = end.status;
    ctx.recorder.ended(record);
  } catch (error) {
    ctx.log.error(
      { err: error, request: facts.id },
      'the end of a request could not be recorded; it will show as interrupted',
    );
  }
}
