// What a source of addresses is to the resolver: it asks once, it can be told that nobody waits any more, and it never
// throws at the caller. It judges nothing: canonical form, number, order and lifetime of addresses are the resolver's.

export type Answer =
  | {
      readonly ok: true;
      /** As the source spelled them. */
      readonly addresses: readonly string[];
      /** How long the answer may be kept; 0 is not at all. */
      readonly ttlMs: number;
      /** One address family failed: the answer is good enough to dial, and too poor to be kept for its whole TTL. */
      readonly partial: boolean;
    }
  | { readonly ok: false; readonly code: 'dns-failed' | 'dns-timeout'; readonly detail: string };

/** One look-up under way. */
export interface Lookup {
  /** Settles when the source has really finished; never rejects. */
  readonly answer: Promise<Answer>;
  /** Another client waits too: where clients take turns, the look-up comes with the first of them. */
  join?(client: string): void;
  /** Nobody waits any more. The answer still settles: at once where the source can be stopped, else when it is done. */
  cancel(): void;
}

export interface LookupSource {
  /** @param client whose turn it takes, where the source can ask for few names at once */
  lookup(host: string, client: string): Lookup;
}

const WORDS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the name does not exist',
  ENODATA: 'the name has no address',
  ESERVFAIL: 'the name server failed (SERVFAIL)',
  EREFUSED: 'the name server refused the query (REFUSED)',
  ECONNREFUSED: 'the name server cannot be reached',
  EBADRESP: 'the name server sent a malformed answer',
  EBADNAME: 'the name cannot be put into a query',
  ETIMEOUT: 'the name server did not answer',
  EAI_AGAIN: 'the system resolver got no answer for now (EAI_AGAIN)',
};

/** A resolver's error code in words; a code without words is told as it is. */
export function lookupFailure(errno: string): Answer {
  return { ok: false, code: errno === 'ETIMEOUT' ? 'dns-timeout' : 'dns-failed', detail: WORDS[errno] ?? errno };
}
