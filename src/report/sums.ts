// What a counted request means for a report, said once; and the sums of one line of it. PURE.
// tunnels, denied and failed do not overlap: let through and opened · refused · let through but failed, or refused because
// the proxy itself could not serve. would_deny is the part of tunnels, failed and open that only observe mode let through.
import { OUTCOMES, REQUEST_ERRORS, type RequestErrorCode, requestError } from '../errors.ts';

export type End = 'tunnel' | 'denied' | 'failed' | 'challenge';

const CODES = Object.keys(REQUEST_ERRORS) as RequestErrorCode[];

/** Refusals that say nothing about the host: the proxy was full or failed. */
const UNSERVED: ReadonlySet<string> = new Set([
  ...CODES.filter((code) => requestError(code).source === 'proxy'),
  'client-full' satisfies RequestErrorCode,
]);
/** Asked for credentials: where they came, the request is counted again as what it then was (git always asks twice). */
export const CHALLENGE = 'credentials-required' satisfies RequestErrorCode;

/** Reasons of verdict deny that are not a denial of the host. */
export const NOT_DENIED: ReadonlySet<string> = new Set([...UNSERVED, CHALLENGE]);

/** How a request of this verdict, reason and outcome counts. */
export function endOf(verdict: string, reason: string, outcome: string): End {
  if (verdict === 'deny') {
    if (reason === CHALLENGE) return 'challenge';
    return UNSERVED.has(reason) ? 'failed' : 'denied';
  }
  return outcome === '' || Object.hasOwn(OUTCOMES, outcome) ? 'tunnel' : 'failed';
}

/** Sums as the store has them; times in ms. */
export interface Counted {
  readonly requests: number;
  readonly bytes_up: number;
  readonly bytes_down: number;
  readonly first_seen: number;
  readonly last_seen: number;
}

/** Sums of one line of the report. */
export class Sums {
  tunnels = 0;
  open = 0;
  denied = 0;
  wouldDeny = 0;
  failed = 0;
  bytesUp = 0;
  bytesDown = 0;
  /** Requests that a rule let through, open ones and failed ones included. */
  allowed = 0;
  /** Requests that came back with 407. */
  challenged = 0;
  first = Number.POSITIVE_INFINITY;
  last = Number.NEGATIVE_INFINITY;

  add(row: Counted, end: End, verdict: string): void {
    if (end === 'tunnel') this.tunnels += row.requests;
    else if (end === 'failed') this.failed += row.requests;
    else if (end === 'denied') this.denied += row.requests;
    else this.challenged += row.requests;
    if (verdict === 'allow') this.allowed += row.requests;
    if (verdict === 'observe') this.wouldDeny += row.requests;
    this.bytesUp += row.bytes_up;
    this.bytesDown += row.bytes_down;
    this.#seen(row.first_seen, row.last_seen);
  }

  /** A tunnel that is open now. */
  addOpen(time: number, verdict: string): void {
    this.open += 1;
    if (verdict === 'observe') this.wouldDeny += 1;
    else this.allowed += 1;
    this.#seen(time, time);
  }

  #seen(first: number, last: number): void {
    this.first = Math.min(this.first, first);
    this.last = Math.max(this.last, last);
  }
}
