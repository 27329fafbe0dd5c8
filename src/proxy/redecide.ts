// After a swap of the policy: what was let through before is decided again, with what it asked for and who asked, and is cut or
// kept. Thousands of tunnels take longer than a client should wait, so this goes in slices, between which all else runs.
import type { RequestErrorCode } from '../errors.ts';
import { decideRequest, verdictBelow } from '../policy/inspect.ts';
import type { ProxyContext } from './context.ts';
import type { OpenRequest, Passing } from './open-requests.ts';

/** What becomes of a request that was let through and would now be refused. */
export type OnReload = 'keep' | 'cut';

export interface Redecided {
  readonly decided: number;
  readonly refused: number;
}

// A slice ends after so long; the clock is read once in so many requests.
const SLICE_MS = 2;
const LOOK_AT_CLOCK = 16;

/**
 * Decides every open request again by the policy in force; to be called in the turn of the swap. What comes in meanwhile was decided
 * by that policy, so the work is bounded by what is open now.
 * @param turn calls back in a later turn (setImmediate)
 * @returns the counts, or null where another swap came before the end: that one's pass covers everything
 */
export async function redecide(
  ctx: ProxyContext,
  onReload: OnReload,
  turn: (next: () => void) => void = setImmediate,
): Promise<Redecided | null> {
  const { policy } = ctx;
  const most = ctx.open.size;
  let decided = 0;
  let refused = 0;
  let sliceMs = performance.now();
  for (const open of ctx.open.values()) {
    if (decided === most) break;
    if (decided % LOOK_AT_CLOCK === 0 && performance.now() - sliceMs >= SLICE_MS) {
      await new Promise<void>((next) => turn(next));
      if (ctx.policy !== policy) return null;
      sliceMs = performance.now();
      if (open.ended) continue;
    }
    decided++;
    const refusal = refusedNow(ctx, open);
    if (refusal === null) continue;
    refused++;
    if (onReload === 'cut') open.cut('policy-changed', refusal);
  }
  return { decided, refused };
}

/** Why the request would be refused by what is in force now, or null. */
function refusedNow(ctx: ProxyContext, open: OpenRequest): RequestErrorCode | null {
  const { policy } = ctx;
  const { authority, kind, path, identity, facts } = open;
  if (!ctx.book.client(facts.client).allowed) return 'client-not-allowed';
  if (kind === 'forward' && !ctx.plainHttp) return 'method-not-allowed';
  // It had the fields that its path wanted when it was let through; they are not kept.
  const carries = (): boolean => true;
  const decision = policy.decide({ authority, kind, path, carries, identity, method: facts.method, now: Date.now() });
  if (decision.verdict === 'deny' || decision.verdict === 'challenge') return decision.reason;
  const below = refusedBelow(ctx, open, decision);
  if (below !== null) return below;
  // Before the dial any of the addresses may become the one.
  for (const address of open.address === undefined ? open.addresses : [open.address]) {
    const check = policy.checkAddress(decision, authority, address);
    if (!check.ok) return check.reason;
  }
  return null;
}

/**
 * Of what is open inside an inspected CONNECT: what the rule says to it now. A CONNECT that nobody looks into goes on past a rule that
 * wants it looked into, so it is refused; the other way round its requests are decided when they come.
 */
function refusedBelow(
  { limits }: ProxyContext,
  { authority, path, facts, decision, websocket }: OpenRequest,
  { inspect, mode }: Passing,
): RequestErrorCode | null {
  if (inspect === null) return null;
  if (facts.tunnel === undefined) return decision.inspect === null ? 'request-not-allowed' : null;
  const request = { method: facts.method, target: path ?? '', host: authority.host, headers: null };
  const answer = decideRequest(inspect, request, limits);
  if (answer.verdict === 'deny') return verdictBelow(answer, mode) === 'deny' ? answer.reason : null;
  return websocket && !inspect.websocket && mode === 'enforce' ? 'request-not-allowed' : null;
}
