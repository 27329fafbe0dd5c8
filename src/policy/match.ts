// Which rules speak about a request, and how near the others came. The order is normative (decide.ts): exact before deeper
// wildcard before shallower; among equals file order. One object per Policy; each scan overwrites what the last one found,
// so that a decision allocates nothing here. It knows nothing of modes, reasons and words.
import type { Authority } from './authority.ts';
import {
  ALLOW_EXACT,
  ALLOW_WILDCARD,
  type CompiledPolicy,
  DENY_EXACT,
  DENY_WILDCARD,
  FLAG_LAYER,
  FLAG_METADATA,
  PROTOCOL_SHIFT,
  PROTOCOL_VALUES,
  type Protocol,
} from './compile.ts';
import { type Carries, pathAllowed } from './paths.ts';
import type { Attributes, Identity } from './record.ts';
import { isUnproven, mayBeAsked, selectorMatches } from './selector.ts';
import { headOf, LABELS_MAX, walkLabels } from './trie.ts';

export interface PolicyRequest {
  readonly authority: Authority;
  readonly kind: 'connect' | 'forward';
  readonly method: string;
  /** The raw path of a forwarded request; null for CONNECT. */
  readonly path: string | null;
  /** Whether a forwarded request carries a header field that a path rule wants; left out: it carries none. */
  readonly carries?: Carries;
  readonly identity: Identity;
  /** ms since the epoch. */
  readonly now: number;
}

/** Why a rule that names the host does not let the request through; bits. */
const PORT = 1;
const PROTOCOL = 2;
const EXPIRED = 4;
const IDENTITY = 8;

const DEFAULT_ALLOW_PORT = 443;

/** The protocol of a rule that gives none: by the port asked for. */
export function protocolOfPort(port: number): Protocol {
  if (port === 80) return 'http';
  return port === 22 ? 'ssh' : 'tls';
}

const carriesNone: Carries = () => false;

const NOTHING: Attributes = Object.freeze({});

/** What a selector is matched against. */
function provenOf(identity: Identity): Attributes {
  return isUnproven(identity) ? NOTHING : identity.attributes;
}

function onlyText(globs: readonly string[] | undefined): string | null {
  const [only] = globs ?? [];
  return only === undefined || globs?.length !== 1 || only.includes('*') ? null : only;
}

export class Matcher {
  readonly #compiled: CompiledPolicy;
  /** Trie nodes along the host: path[0] is the root, path[found] the last that the host shares with a rule. */
  readonly path = new Int32Array(LABELS_MAX + 1);
  found = 0;
  /** True where the whole host is a node. */
  whole = false;

  /** Rule numbers of the last scan; -1 for none. */
  winner = -1;
  /** Would let through, but selects who asks, and the client proved nothing. */
  challenge = -1;
  /** Matches in everything but the path. */
  pathMiss = -1;
  portMiss = -1;
  protocolMiss = -1;
  expiredMiss = -1;
  /** True where a rule of the base lets others through and this proven identity not. */
  forOthers = false;

  /** By row of a selector: the one pipeline or pipeline_id that it is for; null where that is not one plain text. */
  readonly #pipeline: readonly (string | null)[];
  readonly #pipelineId: readonly (string | null)[];

  constructor(compiled: CompiledPolicy) {
    this.#compiled = compiled;
    this.#pipeline = compiled.selectors.map((selector) => onlyText(selector?.pipeline));
    this.#pipelineId = compiled.selectors.map((selector) => onlyText(selector?.pipeline_id));
  }

  /** Finds the nodes of the host; must run before the other methods. */
  locate(authority: Authority): void {
    const found = walkLabels(this.#compiled.trie, authority.host, this.path);
    this.whole = found >= 0;
    this.found = this.whole ? found : -1 - found;
  }

  /** The first deny rule that applies, -1 without one. Deny rules look at port (none given: every), `for` and expiry. */
  denied(request: PolicyRequest): number {
    const { trie } = this.#compiled;
    if (this.whole) {
      const rule = this.#firstDeny(headOf(trie, this.path[this.found] ?? 0, DENY_EXACT), request);
      if (rule >= 0) return rule;
    }
    if (request.authority.kind !== 'name') return -1;
    for (let depth = this.#wildcardDepth(); depth > 0; depth -= 1) {
      const rule = this.#firstDeny(headOf(trie, this.path[depth] ?? 0, DENY_WILDCARD), request);
      if (rule >= 0) return rule;
    }
    return -1;
  }

  /** Fills winner and, where there is none, the misses. */
  allowed(request: PolicyRequest): void {
    const { trie } = this.#compiled;
    const { authority } = request;
    this.winner = -1;
    this.challenge = -1;
    this.pathMiss = -1;
    this.portMiss = -1;
    this.protocolMiss = -1;
    this.expiredMiss = -1;
    this.forOthers = false;
    if (this.whole && this.#scan(headOf(trie, this.path[this.found] ?? 0, ALLOW_EXACT), request)) return;
    // An address has no names below it; and `localhost` names are this machine, whatever wildcard they fall under.
    if (authority.kind !== 'name' || authority.host.endsWith('.localhost')) return;
    for (let depth = this.#wildcardDepth(); depth > 0; depth -= 1) {
      if (this.#scan(headOf(trie, this.path[depth] ?? 0, ALLOW_WILDCARD), request)) return;
    }
  }

  /** The protocol that a rule has for a request's port. */
  protocolOf(rule: number, port: number): Protocol {
    return PROTOCOL_VALUES[((this.#compiled.flags[rule] ?? 0) >> PROTOCOL_SHIFT) & 7] ?? protocolOfPort(port);
  }

  /** True where the rule may reach the metadata class. */
  metadataOf(rule: number): boolean {
    return ((this.#compiled.flags[rule] ?? 0) & FLAG_METADATA) !== 0;
  }

  /** True where the rule's `for` selects the identity, or it has none: only such rules are shown to a client. */
  visible(rule: number, identity: Identity): boolean {
    const selector = this.#compiled.selectors[this.#compiled.selectorRow[rule] ?? 0] ?? null;
    return selector === null || (!isUnproven(identity) && selectorMatches(selector, identity.attributes));
  }

  expired(rule: number, now: number): boolean {
    return now > (this.#compiled.expires[rule] ?? Number.POSITIVE_INFINITY);
  }

  /** The deepest node whose wildcard covers the host: the host needs at least one more label than the node. */
  #wildcardDepth(): number {
    return this.whole ? this.found - 1 : this.found;
  }

  #portsOf(rule: number): readonly number[] | null {
    return this.#compiled.ports[this.#compiled.portsRow[rule] ?? 0] ?? null;
  }

  /**
   * True for a rule of a layer that is plainly for another pipeline. A host may stand in the layers of a thousand pipelines, and their rules
   * in one list: this is what makes passing over them cheap.
   */
  #isForeign(rule: number, attributes: Attributes): boolean {
    const { flags, selectorRow } = this.#compiled;
    if (((flags[rule] ?? 0) & FLAG_LAYER) === 0) return false;
    const row = selectorRow[rule] ?? 0;
    const pipeline = this.#pipeline[row] ?? null;
    if (pipeline !== null && pipeline !== attributes.pipeline) return true;
    const id = this.#pipelineId[row] ?? null;
    return id !== null && id !== attributes.pipeline_id;
  }

  #firstDeny(head: number, request: PolicyRequest): number {
    const { next } = this.#compiled.trie;
    const attributes = provenOf(request.identity);
    for (let rule = head; rule >= 0; rule = next[rule] ?? -1) {
      if (this.#isForeign(rule, attributes)) continue;
      const ports = this.#portsOf(rule);
      if (ports !== null && !ports.includes(request.authority.port)) continue;
      if (this.expired(rule, request.now) || !this.visible(rule, request.identity)) continue;
      return rule;
    }
    return -1;
  }

  /** Looks at the rules of one list; true ends the search: a winner, or a path-bound rule that refuses the path. */
  #scan(head: number, request: PolicyRequest): boolean {
    const { next } = this.#compiled.trie;
    const attributes = provenOf(request.identity);
    const asks = mayBeAsked(request.identity, this.#compiled.credentials);
    for (let rule = head; rule >= 0; rule = next[rule] ?? -1) {
      // Only who may be asked learns of it, and once.
      if ((!asks || this.challenge >= 0) && this.#isForeign(rule, attributes)) continue;
      const misses = this.#misses(rule, request);
      if (misses !== 0) {
        this.#note(rule, misses, request);
        continue;
      }
      const paths = this.#compiled.paths[this.#compiled.pathsRow[rule] ?? 0] ?? null;
      if (paths === null) {
        // The first rule in file order won, and it restricts the path: a later one does not lift that.
        if (this.pathMiss < 0) this.winner = rule;
        break;
      }
      if (pathAllowed(paths, request.method, request.path ?? '', request.carries ?? carriesNone)) {
        this.winner = rule;
        break;
      }
      // Rules of one host that each open some paths (the catalog's metadata entries) count together.
      if (this.pathMiss < 0) this.pathMiss = rule;
    }
    return this.winner >= 0 || this.pathMiss >= 0;
  }

  #misses(rule: number, request: PolicyRequest): number {
    const { port } = request.authority;
    const ports = this.#portsOf(rule);
    let misses = (ports === null ? port === DEFAULT_ALLOW_PORT : ports.includes(port)) ? 0 : PORT;
    const protocol = this.protocolOf(rule, port);
    if (request.kind === 'forward') {
      if (protocol !== 'http' && protocol !== 'any') misses |= PROTOCOL;
    } else if (protocol === 'http' || (this.#compiled.pathsRow[rule] ?? 0) !== 0) {
      // An opaque tunnel would carry any path.
      misses |= PROTOCOL;
    }
    if (this.expired(rule, request.now)) misses |= EXPIRED;
    if (!this.visible(rule, request.identity)) misses |= IDENTITY;
    return misses;
  }

  /** Keeps the first near miss of each sort. An invisible or expired rule that fails in more than that is not there. */
  #note(rule: number, misses: number, request: PolicyRequest): void {
    if (misses === IDENTITY) {
      // What one pipeline was granted is no other one's business: its rule is not there, not even as a reason.
      if (!mayBeAsked(request.identity, this.#compiled.credentials))
        this.forOthers ||= ((this.#compiled.flags[rule] ?? 0) & FLAG_LAYER) === 0;
      else if (this.challenge < 0) this.challenge = rule;
    } else if (misses === EXPIRED) {
      if (this.expiredMiss < 0) this.expiredMiss = rule;
    } else if (misses === PROTOCOL) {
      if (this.protocolMiss < 0) this.protocolMiss = rule;
    } else if ((misses & (EXPIRED | IDENTITY)) === 0 && this.portMiss < 0) {
      this.portMiss = rule;
    }
  }
}
