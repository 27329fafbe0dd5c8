// What needs no verification: the source address says which clients may come at all and which client group they are in; Basic
// credentials with an empty password are a claim (`http://PIPELINE%2FJOB:@proxy`): recorded and reported, never matched.
import type { LRUCache } from 'lru-cache';
import { boundedCache } from '../bounded-cache.ts';
import type { RequestErrorCode } from '../errors.ts';
import { type Cidr, canonicalAddress, cidrContains } from '../policy/address.ts';
import { ANONYMOUS, type Attributes, type Identity } from '../policy/record.ts';
import { hasControl } from './proxy-authorization.ts';

/** What is known of a source address, worked out once and cached. */
export interface Client {
  /** Canonical source address; a v4-mapped one is written as IPv4. */
  readonly address: string;
  /** Whether clients.from lists it. */
  readonly allowed: boolean;
  /** Whether proxy_protocol.from lists it: its connections begin with a header that says who the client is. */
  readonly conveys: boolean;
  /** Its identity when it sends no credentials: `address` where a client group has it, else `anonymous`. */
  readonly identity: Identity;
}

export type Identified =
  | { readonly ok: true; readonly identity: Identity }
  | { readonly ok: false; readonly code: RequestErrorCode };

export interface ClientRules {
  readonly clients: readonly Cidr[];
  /** Senders of PROXY protocol headers. */
  readonly proxyProtocol: readonly Cidr[];
  readonly clientGroups: readonly { readonly from: readonly Cidr[]; readonly attributes: Attributes }[];
}

const MAPPED = '::ffff:';

/** Answers for source addresses under one set of client rules. A reload makes a new one. */
export class ClientBook {
  readonly #rules: ClientRules;
  readonly #known: LRUCache<string, Client>;

  constructor(rules: ClientRules, entriesMax: number) {
    this.#rules = rules;
    this.#known = boundedCache(entriesMax);
  }

  /** @param remoteAddress as the socket gives it; undefined when the peer has gone already (then nothing is allowed) */
  client(remoteAddress: string | undefined): Client {
    const raw = remoteAddress ?? '';
    const known = this.#known.get(raw);
    if (known) return known;
    const made = this.#lookUp(raw);
    this.#known.set(raw, made);
    return made;
  }

  #lookUp(raw: string): Client {
    // A zone id (fe80::1%eth0) names the link, not the client.
    const bare = raw.split('%', 1)[0] ?? '';
    const canonical = canonicalAddress(bare);
    if (canonical === null) return { address: 'unknown', allowed: false, conveys: false, identity: ANONYMOUS };
    const address = (canonical.startsWith(MAPPED) && canonicalAddress(canonical.slice(MAPPED.length))) || canonical;
    const allowed = this.#rules.clients.some((cidr) => cidrContains(cidr, address));
    const conveys = this.#rules.proxyProtocol.some((cidr) => cidrContains(cidr, address));
    const group = this.#rules.clientGroups.find((g) => g.from.some((cidr) => cidrContains(cidr, address)));
    const identity: Identity = group ? { kind: 'address', attributes: group.attributes, claimed: {} } : ANONYMOUS;
    return { address, allowed, conveys, identity };
  }
}

const CLAIMS_MAX = 4_096;
/** Of a header that is remembered. To look one up costs its length, and tokens are three times as long. */
const CLAIM_HEADER_MAX = 384;
const claims = boundedCache<{ base: Identity; identity: Identity }>(CLAIMS_MAX);

/** The identity of a header that was a claim before, or null. */
export function knownClaim(client: Client, header: string): Identity | null {
  const known = header.length > CLAIM_HEADER_MAX ? undefined : claims.get(header);
  return known !== undefined && known.base === client.identity ? known.identity : null;
}

/**
 * Basic credentials with an empty password: a claim.
 * @param header the whole Proxy-Authorization value
 * @returns the identity; `credentials-malformed` for a user name that is no claim
 */
export function identifyClaim(client: Client, header: string, username: string): Identified {
  const claimed = readClaim(username);
  if (!claimed) return { ok: false, code: 'credentials-malformed' };
  const identity: Identity = {
    kind: client.identity.kind === 'anonymous' ? 'claimed' : client.identity.kind,
    attributes: client.identity.attributes,
    claimed,
  };
  if (header.length <= CLAIM_HEADER_MAX) claims.set(header, { base: client.identity, identity });
  return { ok: true, identity };
}

const CLAIM_CHARS_MAX = 256;

/** `PIPELINE/JOB` or `PIPELINE`; clients that do not decode the URL's userinfo send `PIPELINE%2FJOB`. */
function readClaim(username: string): Attributes | null {
  let text = username;
  if (text.includes('%')) {
    try {
      text = decodeURIComponent(text);
    } catch {
      return null;
    }
  }
  if (text === '' || text.length > CLAIM_CHARS_MAX || hasControl(text)) return null;
  const slash = text.indexOf('/');
  if (slash < 0) return { pipeline: text };
  const pipeline = text.slice(0, slash);
  const job = text.slice(slash + 1);
  if (pipeline === '' || job === '') return null;
  return { pipeline, job };
}
