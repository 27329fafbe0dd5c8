// The answer to a request: allow, deny, observe or challenge, with a stable reason. PURE: no clock (`now` is an input),
// no I/O, no promise; denied names are therefore never resolved. The order of the checks is normative:
//   1 deny rules (host-denied): a deny wins over everything, observe included
//   2 instance metadata (metadata-prohibited), unless the winning rule is opted in
//   3 the winner among allow rules: filter by port, protocol, `for`, expiry; then the most specific; then file order
//   4 else the winner among the grants; else the reason that helps most: port, protocol, expiry, identity, IP literal, host
// A deny rule with `for` binds only who proves these attributes; who sends no credentials is not bound by it.

import type { RequestErrorCode } from '../errors.ts';
import {
  type AddressClass,
  type Cidr,
  canonicalAddress,
  cidrContains,
  classifyAddress,
  reachableAddresses,
  touchesAny,
} from './address.ts';
import type { Authority } from './authority.ts';
import type { CompiledPolicy, Mode, Protocol } from './compile.ts';
import type { Inspection } from './inspect.ts';
import { Matcher, type PolicyRequest } from './match.ts';
import { NearestFinder } from './nearest.ts';
import type { Identity, Nearest } from './record.ts';
import { isUnproven, selectorMatches } from './selector.ts';
import { type RuleView, RuleViews } from './view.ts';

export type { PolicyRequest };

export type Decision =
  | {
      readonly verdict: 'allow';
      readonly reason: 'allowed';
      readonly rule: RuleView;
      readonly protocol: Protocol;
      /** The mode of what follows: in observe, SNI and protocol mismatches and observe.addresses pass as recorded. */
      readonly mode: Mode;
      /** What may pass below the host; null: it is not decrypted. */
      readonly inspect: Inspection | null;
    }
  | {
      /** Would be denied, passes, is recorded. */
      readonly verdict: 'observe';
      readonly reason: RequestErrorCode;
      /** The winner, where it is a rule with `mode: observe`; its `addresses` count. Else null. */
      readonly rule: RuleView | null;
      readonly nearest: Nearest | null;
      readonly protocol: Protocol;
      readonly mode: 'observe';
      readonly inspect: Inspection | null;
    }
  | {
      readonly verdict: 'deny';
      readonly reason: RequestErrorCode;
      readonly rule: RuleView | null;
      readonly nearest: Nearest | null;
    }
  | { readonly verdict: 'challenge'; readonly reason: 'credentials-required'; readonly rule: RuleView };

export type AddressVerdict =
  | { readonly ok: true; readonly observed: boolean }
  | {
      readonly ok: false;
      readonly reason: 'address-prohibited' | 'metadata-prohibited' | 'self-prohibited';
      readonly class: AddressClass;
    };

/** Names that clouds give their metadata services; they resolve to the metadata addresses, or to what a network likes. */
export const METADATA_NAMES: ReadonlySet<string> = new Set([
  'instance-data',
  'instance-data.ec2.internal',
  'metadata',
  'metadata.azure.internal',
  'metadata.goog',
  'metadata.google.internal',
  'metadata.tencentyun.com',
]);

const PASS: AddressVerdict = Object.freeze({ ok: true, observed: false });
const PASS_OBSERVED: AddressVerdict = Object.freeze({ ok: true, observed: true });

function isLocalhost(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost');
}

function containsAny(cidrs: readonly Cidr[], address: string): boolean {
  return cidrs.some((cidr) => cidrContains(cidr, address));
}

/** A rule names the host, and does not fit in one respect. */
function hasMiss({ portMiss, protocolMiss, expiredMiss }: Matcher): boolean {
  return portMiss >= 0 || protocolMiss >= 0 || expiredMiss >= 0;
}

/** Why no rule lets the request through that the matcher scanned last: what helps most comes first. */
function reasonOf(matcher: Matcher, authority: Authority): RequestErrorCode {
  if (matcher.portMiss >= 0) return 'port-not-allowed';
  if (matcher.protocolMiss >= 0) return 'protocol-not-allowed';
  if (matcher.expiredMiss >= 0) return 'rule-expired';
  if (matcher.forOthers) return 'identity-not-allowed';
  return authority.kind === 'name' ? 'host-not-allowed' : 'ip-literal-not-allowed';
}

/** True for an address that embeds or maps another: such spellings dodge a deny of the address inside. */
function isDisguised(host: string): boolean {
  const [first, ...others] = reachableAddresses(host);
  return first !== host || others.length > 0;
}

/** Compiled rules with what is needed to ask them. */
class Rules {
  readonly matcher: Matcher;
  readonly views: RuleViews;
  readonly nearest: NearestFinder | null;

  constructor(compiled: CompiledPolicy, explains: boolean) {
    this.matcher = new Matcher(compiled);
    this.views = new RuleViews(compiled);
    this.nearest = explains ? new NearestFinder(compiled, this.matcher, this.views) : null;
  }
}

export interface PolicyOptions {
  /** Whether decisions name the nearest miss; finding it costs more than all the rest of a refusal. Default true. */
  readonly explains?: boolean;
  /** Allow rules besides those of the files; nothing else of it counts. */
  readonly grants?: CompiledPolicy | null;
}

export class Policy {
  readonly compiled: CompiledPolicy;
  readonly digest: string;
  readonly #files: Rules;
  readonly #matcher: Matcher;
  readonly #grants: Rules | null;

  constructor(compiled: CompiledPolicy, { explains = true, grants = null }: PolicyOptions = {}) {
    this.compiled = compiled;
    this.digest = compiled.digest;
    this.#files = new Rules(compiled, explains);
    this.#matcher = this.#files.matcher;
    this.#grants = grants === null || grants.ruleCount === 0 ? null : new Rules(grants, explains);
  }

  /** Decides one request. `nearest` is worked out only where the request is not on the allowlist. */
  decide(request: PolicyRequest): Decision {
    const matcher = this.#matcher;
    matcher.locate(request.authority);
    const denied = matcher.denied(request);
    if (denied >= 0) return this.#deny('host-denied', denied, request);
    matcher.allowed(request);
    const { winner } = matcher;
    if (this.#isMetadataTarget(request.authority)) {
      const best = winner >= 0 ? winner : matcher.pathMiss >= 0 ? matcher.pathMiss : matcher.challenge;
      if (best < 0 || !matcher.metadataOf(best)) return this.#deny('metadata-prohibited', winner, request);
    }
    if (winner >= 0) return this.#pass(this.#files, winner, request);
    if (matcher.pathMiss >= 0) return this.#deny('path-not-allowed', matcher.pathMiss, request);
    const grants = this.#grants;
    if (grants !== null) {
      grants.matcher.locate(request.authority);
      grants.matcher.allowed(request);
      if (grants.matcher.winner >= 0) return this.#pass(grants, grants.matcher.winner, request);
    }
    return this.#notListed(request);
  }

  /**
   * Judges one address that a let-through request may be dialled to; every candidate must be asked about.
   * `observed: true` says that it passes only because of observe.addresses, and is to be recorded.
   */
  checkAddress(decision: Decision, authority: Authority, address: string): AddressVerdict {
    const addressClass = classifyAddress(address);
    if (this.#isSelf(addressClass, address, authority.port)) {
      return { ok: false, reason: 'self-prohibited', class: addressClass };
    }
    const prohibited = { ok: false, reason: 'address-prohibited', class: addressClass } as const;
    if (decision.verdict !== 'allow' && decision.verdict !== 'observe') return prohibited;
    const { rule } = decision;
    if (addressClass === 'metadata' || touchesAny(this.compiled.metadataAddresses, address)) {
      return rule?.metadata === true ? PASS : { ok: false, reason: 'metadata-prohibited', class: 'metadata' };
    }
    if (addressClass === 'public') return PASS;
    if (rule !== null) {
      // A listed literal is its own opt-in; only for the very address that is listed.
      if (rule.kind === 'address' && canonicalAddress(address) === authority.host) return PASS;
      if (containsAny(rule.addresses, address)) return PASS;
    }
    if (this.isPrivateUpstream(authority, address)) return PASS;
    if (decision.mode === 'observe' && containsAny(this.compiled.observeAddresses, address)) return PASS_OBSERVED;
    return prohibited;
  }

  /** Whether the proxy itself may dial an address for a name of its own settings; `ranges` count as a rule's `addresses` do. */
  admits(authority: Authority, address: string, ranges: readonly Cidr[]): boolean {
    const addressClass = classifyAddress(address);
    if (this.#isSelf(addressClass, address, authority.port)) return false;
    if (addressClass === 'metadata' || touchesAny(this.compiled.metadataAddresses, address)) return false;
    return addressClass === 'public' || containsAny(ranges, address) || this.isPrivateUpstream(authority, address);
  }

  /** `private_upstreams`: names under a suffix that resolve to internal addresses here, such as VPC endpoints. */
  isPrivateUpstream(authority: Authority, address: string): boolean {
    if (authority.kind !== 'name') return false;
    const { host } = authority;
    return this.compiled.privateUpstreams.some(
      ({ suffix, addresses }) => (host === suffix || host.endsWith(`.${suffix}`)) && containsAny(addresses, address),
    );
  }

  /** The mode in force: the rule's own, else the first scope that selects the identity, else the global one. */
  modeFor(identity: Identity, rule: Pick<RuleView, 'mode'> | null): Mode {
    if (rule !== null && rule.mode !== null) return rule.mode;
    if (!isUnproven(identity)) {
      for (const scope of this.compiled.modes) if (selectorMatches(scope.for, identity.attributes)) return scope.mode;
    }
    return this.compiled.mode;
  }

  /** How many rules there are, grants included. */
  get ruleCount(): number {
    return this.#files.views.count + (this.#grants?.views.count ?? 0);
  }

  /** The rule at a place of the policy, from 0 to ruleCount; grants come last. */
  rule(index: number): RuleView {
    const files = this.#files.views;
    return index < files.count || this.#grants === null ? files.at(index) : this.#grants.views.at(index - files.count);
  }

  /** All rules in file order, then the grants. */
  *rules(): IterableIterator<RuleView> {
    yield* this.#files.views.all();
    if (this.#grants !== null) yield* this.#grants.views.all();
  }

  /**
   * What the winner lets through. A rule with `mode: observe` is on trial: what it matches passes with the verdict
   * `observe` and the reason it would be refused with if the rule were not there, host-not-allowed.
   */
  #pass(rules: Rules, winner: number, request: PolicyRequest): Decision {
    const rule = rules.views.at(winner);
    const protocol = rules.matcher.protocolOf(winner, request.authority.port);
    const { inspect } = rule;
    if (rule.mode === 'observe') {
      return {
        verdict: 'observe',
        reason: 'host-not-allowed',
        rule,
        nearest: null,
        protocol,
        mode: 'observe',
        inspect,
      };
    }
    return { verdict: 'allow', reason: 'allowed', rule, protocol, mode: this.modeFor(request.identity, rule), inspect };
  }

  #deny(reason: RequestErrorCode, rule: number, request: PolicyRequest, rules: Rules = this.#files): Decision {
    const nearest = rules.nearest?.find(reason, request, rule) ?? null;
    return { verdict: 'deny', reason, rule: rule < 0 ? null : rules.views.at(rule), nearest };
  }

  /** No rule lets it through: refuse, ask for credentials, or let pass as observed. */
  #notListed(request: PolicyRequest): Decision {
    const asking = [this.#files, this.#grants].find((rules) => rules !== null && rules.matcher.challenge >= 0) ?? null;
    const lifted = this.modeFor(request.identity, null) === 'observe' && this.#isLiftable(request.authority);
    if (asking !== null && !lifted) {
      const rule = asking.views.at(asking.matcher.challenge);
      return { verdict: 'challenge', reason: 'credentials-required', rule };
    }
    const near = this.#near();
    const reason = asking !== null ? 'credentials-required' : reasonOf(near.matcher, request.authority);
    if (!lifted) return this.#deny(reason, -1, request, near);
    const nearest = near.nearest?.find(reason, request, -1) ?? null;
    // No rule stands behind it, so nothing but public addresses and observe.addresses is reached, and nothing is checked.
    return { verdict: 'observe', reason, rule: null, nearest, protocol: 'any', mode: 'observe', inspect: null };
  }

  /** Whose near miss is told: that of the files, unless the grants alone have one. */
  #near(): Rules {
    const grants = this.#grants;
    return grants !== null && !hasMiss(this.#matcher) && hasMiss(grants.matcher) ? grants : this.#files;
  }

  /** Observe lets unlisted names pass, and public IP literals in their plain spelling; never this machine. */
  #isLiftable(authority: Authority): boolean {
    if (authority.kind === 'name') return !isLocalhost(authority.host);
    return classifyAddress(authority.host) === 'public' && !isDisguised(authority.host);
  }

  #isMetadataTarget(authority: Authority): boolean {
    if (authority.kind === 'name') return METADATA_NAMES.has(authority.host);
    return (
      classifyAddress(authority.host) === 'metadata' || touchesAny(this.compiled.metadataAddresses, authority.host)
    );
  }

  /** This proxy's own endpoints; on its ports also every loopback and unspecified address, which end here as well. */
  #isSelf(addressClass: AddressClass, address: string, port: number): boolean {
    const { self } = this.compiled;
    if (!self.some((endpoint) => endpoint.port === port)) return false;
    if (addressClass === 'loopback' || addressClass === 'unspecified') return true;
    const reached = reachableAddresses(address);
    return self.some((endpoint) => endpoint.port === port && reached.includes(endpoint.address));
  }
}
