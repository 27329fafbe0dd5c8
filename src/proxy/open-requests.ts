// Every request that was let through and has not ended: CONNECT, plain HTTP and upgrades alike. Registered in the turn that
// writes the decided line (route.ts, step 7), removed with the ended one: what is in here is what a reload decides again, what a
// drain waits for and what an operator may cut. One object a request, no closures: the road of a tunnel is paid by every client.
import { ChurnMap } from '../churn-map.ts';
import type { RequestErrorCode } from '../errors.ts';
import type { Authority } from '../policy/authority.ts';
import type { Decision, PolicyRequest } from '../policy/decide.ts';
import type { Below, Ended, Identity } from '../policy/record.ts';
import type { Ask } from './route.ts';

/** Why a request is ended from outside. */
export type CutOutcome = 'killed' | 'drained' | 'policy-changed';

/** What has a request's bytes in its hands: the dial of a CONNECT, a tunnel, a plain-HTTP exchange. */
export interface Carrier {
  readonly bytesUp: number;
  readonly bytesDown: number;
  /**
   * Ends the request and writes its ended record before it returns.
   * @param refusal what a client is told that has no answer yet; null breaks its connection
   */
  cut(outcome: CutOutcome, refusal: RequestErrorCode | null): void;
}

export type Passing = Extract<Decision, { verdict: 'allow' | 'observe' }>;

/** The fields of the decided record that the ended one repeats. */
export type Facts = Pick<
  Ended,
  'id' | 'identity' | 'client' | 'host' | 'port' | 'method' | 'verdict' | 'reason' | 'group' | 'rule' | 'policy'
> &
  Below;

export class OpenRequest {
  readonly authority: Authority;
  readonly kind: PolicyRequest['kind'];
  /** Raw path and query of a plain-HTTP request; null for CONNECT. */
  readonly path: string | null;
  readonly decision: Passing;
  /** Inside an inspected CONNECT, which wants a word of the rule for it. */
  readonly websocket: boolean;
  /** Checked, in the order to be tried. */
  readonly addresses: readonly string[];
  readonly facts: Facts;
  /** On the clock of performance.now(): the head's arrival. */
  readonly startedMs: number;
  /** On the same clock: the 200, or the 101 of an upgrade; null before it, and for plain HTTP. */
  openedMs: number | null = null;
  /** The address that was dialled, as soon as it has answered. */
  address: string | undefined;
  /** Whether its ended record is written. */
  ended = false;
  readonly #all: OpenRequests;
  #carrier: Carrier | null = null;
  #cut: { readonly outcome: CutOutcome; readonly refusal: RequestErrorCode | null } | null = null;

  /** `ask` is not kept: its header fields, credentials among them, need not live as long as a tunnel. */
  constructor(all: OpenRequests, ask: Ask, decision: Passing, addresses: readonly string[], facts: Facts) {
    this.#all = all;
    this.authority = ask.authority;
    this.kind = ask.kind;
    this.path = ask.path;
    this.startedMs = ask.startedMs;
    this.decision = decision;
    this.websocket = ask.websocket === true;
    this.addresses = addresses;
    this.facts = facts;
  }

  get id(): string {
    return this.facts.id;
  }

  get identity(): Identity {
    return this.facts.identity;
  }

  /** Payload bytes from the client to the origin so far. */
  get bytesUp(): number {
    return this.#now?.bytesUp ?? 0;
  }

  /** Payload bytes from the origin to the client so far. */
  get bytesDown(): number {
    return this.#now?.bytesDown ?? 0;
  }

  /** A tunnel is found by its id, so that opening one costs nothing here. */
  get #now(): Carrier | null {
    return this.#all.tunnels.get(this.id) ?? this.#carrier;
  }

  /** Takes what carries the request until it is a tunnel. One that was cut meanwhile is ended by this call: look at `ended`. */
  attach(carrier: Carrier): void {
    this.#carrier = carrier;
    if (this.#cut) carrier.cut(this.#cut.outcome, this.#cut.refusal);
  }

  /**
   * Ends it from outside. An open tunnel is reset at both ends, a response under way is visibly broken; a client without an
   * answer is refused with `refusal`, or its connection breaks where that is null. Does nothing to one that has ended.
   */
  cut(outcome: CutOutcome, refusal: RequestErrorCode | null = null): void {
    if (this.ended) return;
    const carrier = this.#now;
    if (carrier) carrier.cut(outcome, refusal);
    else this.#cut = { outcome, refusal };
  }
}

/** The registry, by request id, in the order of arrival. Entries may be cut while it is iterated. */
export class OpenRequests {
  readonly tunnels: { get(id: string): Carrier | undefined };
  readonly #byId = new ChurnMap<string, OpenRequest>();

  /** @param tunnels the engine's, by request id */
  constructor(tunnels: OpenRequests['tunnels']) {
    this.tunnels = tunnels;
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): OpenRequest | undefined {
    return this.#byId.get(id);
  }

  /** One that ends before its turn is not visited; one that is let in meanwhile may be. */
  *values(): Generator<OpenRequest, void> {
    for (const open of this.#byId.values()) if (!open.ended) yield open;
  }

  add(open: OpenRequest): void {
    this.#byId.set(open.id, open);
  }

  /** Says whether it was there: the one who takes it out writes the ended record. */
  remove(open: OpenRequest): boolean {
    open.ended = true;
    return this.#byId.delete(open.id);
  }
}
