// Whether one request on an inspected connection may pass, by the policy in force when it comes: the host again, then what the rule
// says below it. Writes its decided record, as route.ts does for the requests that it leads.
import type { RequestErrorCode } from '../../errors.ts';
import { type Authority, parseAuthority } from '../../policy/authority.ts';
import { decideRequest, type Inspection, verdictBelow } from '../../policy/inspect.ts';
import type { Below, Nearest } from '../../policy/record.ts';
import { shownTarget } from '../../policy/shown-target.ts';
import type { HeadProblem } from '../head.ts';
import type { Facts, Passing } from '../open-requests.ts';
import { type Ask, failed, letIn, type Routed, refuse } from '../route.ts';
import type { InspectedConnection } from './connection.ts';

/** A request as it stands on the wire, its authority already compared. */
export interface InspectedAsk {
  readonly id: string;
  readonly method: string;
  readonly target: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly websocket: boolean;
  readonly userAgent: string | undefined;
  readonly startedMs: number;
}

export type Admitted = Routed & { readonly inspection?: Inspection | null };

/** What its records say besides those of other requests. */
export function belowOf({ open }: InspectedConnection, target: string): Below {
  return { tunnel: open.id, path: shownTarget(target) };
}

/** Decides and records. */
export async function admit(connection: InspectedConnection, asked: InspectedAsk): Promise<Admitted> {
  const ask = askOf(connection, asked);
  const inside = belowOf(connection, asked.target);
  try {
    return await decide(connection, asked, ask, inside);
  } catch (error) {
    return failed(connection.ctx, ask, error, inside);
  }
}

async function decide(
  connection: InspectedConnection,
  asked: InspectedAsk,
  ask: Ask,
  inside: Below,
): Promise<Admitted> {
  const { ctx, open } = connection;
  const { policy } = ctx;
  const { authority, identity } = open;
  const decision = policy.decide({
    authority,
    kind: 'connect',
    method: 'CONNECT',
    path: null,
    identity,
    now: Date.now(),
  });
  if (decision.verdict === 'deny' || decision.verdict === 'challenge')
    return refuse(ctx, ask, identity, { reason: decision.reason, decision, more: inside });
  const found = below(connection, decision, asked);
  const more: Below = found.line === null ? inside : { ...inside, line: found.line };
  if (found.reason !== null && !(decision.mode === 'observe' && found.lifts)) {
    const { rule } = decision;
    const denied = { verdict: 'deny', reason: found.reason, rule, nearest: found.nearest } as const;
    return refuse(ctx, ask, identity, { reason: found.reason, decision: denied, detail: found.detail, more });
  }
  // The connection to the origin stands already, or is made again to any of these: each must still be one that may be dialled.
  for (const address of open.addresses) {
    const check = policy.checkAddress(decision, authority, address);
    if (check.ok) continue;
    const detail = `${address} (${check.class}) may not be dialled any more; a new CONNECT resolves the name again`;
    return refuse(ctx, ask, identity, { reason: check.reason, decision, detail, more });
  }
  const { failure } = connection;
  const { reason, verdict } = decision;
  if (failure)
    return refuse(ctx, ask, identity, {
      reason,
      verdict,
      outcome: failure.code,
      decision,
      detail: failure.detail,
      more,
    });
  const facts: Facts = {
    id: asked.id,
    identity,
    client: open.facts.client,
    host: authority.host,
    port: authority.port,
    method: asked.method,
    verdict: found.reason === null ? verdict : 'observe',
    reason: found.reason ?? reason,
    group: decision.rule?.group ?? null,
    rule: decision.rule?.id ?? null,
    policy: policy.digest,
    ...more,
  };
  const routed = await letIn(ctx, ask, { decision, addresses: open.addresses, facts }, {});
  return { ...routed, inspection: decision.inspect };
}

interface Found {
  /** null: nothing is against it. */
  readonly reason: RequestErrorCode | null;
  readonly nearest: Nearest | null;
  readonly detail: string;
  /** Of the line that let it through or refused it. */
  readonly line: string | null;
  /** Whether observe mode lets it pass all the same. */
  readonly lifts: boolean;
}

const FREE: Found = { reason: null, nearest: null, detail: '', line: null, lifts: true };

/** What the rule says to the request; nothing where it is not a rule with inspection any more. */
function below({ ctx, open }: InspectedConnection, decision: Passing, asked: InspectedAsk): Found {
  const { inspect } = decision;
  if (inspect === null) return FREE;
  const { method, target, headers } = asked;
  const answer = decideRequest(inspect, { method, target, headers, host: open.authority.host }, ctx.limits);
  const line = answer.entry?.origin ?? null;
  if (answer.verdict === 'deny') {
    const { reason, nearest } = answer;
    const lifts = verdictBelow(answer, 'observe') === 'observe';
    return { reason, nearest, detail: nearest?.why ?? '', line, lifts };
  }
  if (!asked.websocket || inspect.websocket) return { ...FREE, line };
  return { reason: 'request-not-allowed', nearest: null, detail: NO_WEBSOCKET, line, lifts: true };
}

const NO_WEBSOCKET = 'a WebSocket needs `websocket: true` on the rule';

/** What a Host field leaves out. */
export const DEFAULT_PORT = 443;

/** Host, or :authority, against what the connection was opened for. */
export function authorityProblem(text: string, authority: Authority): HeadProblem | null {
  const asked = parseAuthority(/:\d+$/.test(text) && !text.endsWith(']') ? text : `${text}:${DEFAULT_PORT}`);
  if (!asked.ok) return { code: 'host-header', detail: asked.problem };
  if (asked.authority.text === authority.text) return null;
  return { code: 'authority-mismatch', detail: `the connection is for ${authority.text}` };
}

/** The same as route.ts wants it. */
function askOf({ open, client }: InspectedConnection, asked: InspectedAsk): Ask {
  return {
    id: asked.id,
    client,
    kind: 'connect',
    method: asked.method,
    authority: open.authority,
    path: asked.target,
    websocket: asked.websocket,
    proxyAuthorization: undefined,
    userAgent: asked.userAgent,
    startedMs: asked.startedMs,
  };
}
