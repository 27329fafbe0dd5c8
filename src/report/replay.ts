// History against a proposed policy: which of the requests in the audit log it would answer otherwise. PURE: lines as
// audit/line-reader.ts gives them and a Policy in, sums out; it asks the same `decide` as the proxy, once for each distinct
// asker and target. `now` is the moment of the replay, not that of the record: a rule that has expired since lets nothing through.
// Not replayed, because it is not in the log or no matter of rules: paths of plain HTTP, addresses, server names, limits.
import type { DecidedRead, Facts } from '../audit/line-reader.ts';
import type { Limits } from '../limits.ts';
import { authorityText, recordedAuthority } from '../policy/authority.ts';
import type { Decision, Policy } from '../policy/decide.ts';
import { ATTRIBUTES, type Attribute, statedAttributes } from '../policy/record.ts';
import { isUnproven } from '../policy/selector.ts';
import { shownPath } from '../policy/shown-target.ts';
import { wouldPass } from './replay-inside.ts';

export interface ReplayOptions {
  /** ms since the epoch: the time at which rules are judged. */
  readonly now: number;
  /** Records of this window count, ms, both ends included. */
  readonly from: number;
  readonly to: number;
  /** Judges as if everything were enforced: what would only be observed fails. */
  readonly enforce: boolean;
  readonly limits: Pick<Limits, 'replay_rows_max' | 'replay_pipelines_max' | 'replay_hosts_max' | 'replay_jobs_max'>;
}

export interface ReplayRow {
  readonly host: string;
  readonly port: number;
  readonly kind: 'connect' | 'forward' | 'inside';
  /** Method and path of one inside an inspected CONNECT; '' for others. */
  readonly request: string;
  /** '' where it is not known. */
  readonly pipeline: string;
  readonly step: string;
  /** True where pipeline and step are only what the client said of itself. */
  readonly claimed: boolean;
  /** The answer of the proposed policy: its reason, and the rule that gave it. */
  readonly reason: string;
  readonly rule: string | null;
  readonly requests: number;
  /** Distinct jobs, counted up to replay_jobs_max. */
  readonly jobs: number;
  readonly first_seen: number;
  readonly last_seen: number;
}

export interface Readiness {
  readonly pipeline: string;
  readonly claimed: boolean;
  /** `not-seen`: a rule names it, or it is in the log, but not in this window. */
  readonly state: 'safe' | 'would-fail' | 'not-seen';
  readonly requests: number;
  readonly jobs: number;
  /** `host:port` of what would fail. */
  readonly hosts: readonly string[];
}

export interface Replay {
  readonly requests: number;
  readonly newly_fail: readonly ReplayRow[];
  readonly newly_pass: readonly ReplayRow[];
  readonly newly_fail_requests: number;
  readonly newly_pass_requests: number;
  /** Requests that rules alone do not answer. */
  readonly not_judged: number;
  /** Requests that no row had room for; those that would fail are in newly_fail_requests. */
  readonly overflow: number;
  readonly pipelines: readonly Readiness[];
  /** Requests of pipelines that are not among them, for lack of room. */
  readonly pipelines_overflow: number;
}

/** Answers that are remembered: hosts times what the rules know of askers. */
const DECISIONS_MAX = 65_536;

/** Refusals that rules give; another one (grammar, client, limits, addresses) stays what it is under any policy. */
const OF_RULES: ReadonlySet<string> = new Set([
  'host-denied',
  'host-not-allowed',
  'port-not-allowed',
  'protocol-not-allowed',
  'rule-expired',
  'identity-not-allowed',
  'ip-literal-not-allowed',
  'credentials-required',
  'metadata-prohibited',
  'request-not-allowed',
  'request-denied',
  'request-ambiguous',
]);
/** Characters of a method and path that are shown. */
const REQUEST_MAX = 200;

interface Sum {
  requests: number;
  readonly jobs: Set<string>;
  first: number;
  last: number;
}

interface Row extends Sum {
  readonly shown: Omit<ReplayRow, 'requests' | 'jobs' | 'first_seen' | 'last_seen'>;
}

interface Pipeline extends Sum {
  readonly name: string;
  readonly claimed: boolean;
  readonly failing: Set<string>;
}

/** What a request with certain facts comes to. */
interface Judged {
  readonly change: 'same' | 'fail' | 'pass' | 'none';
  readonly fails: boolean;
  readonly row: Row | null;
  readonly pipeline: Pipeline | null;
  readonly job: string;
  readonly target: string;
  /** The job is in the sums. */
  named: boolean;
}

export class Replayer {
  readonly #policy: Policy;
  readonly #options: ReplayOptions;
  /** The line reader gives the same object for the same facts. */
  readonly #judged = new WeakMap<Facts, Judged>();
  readonly #decisions = new Map<string, Decision | null>();
  readonly #rows = { fail: new Map<string, Row>(), pass: new Map<string, Row>() };
  readonly #pipelines = new Map<string, Pipeline>();
  #requests = 0;
  #fail = 0;
  #pass = 0;
  #notJudged = 0;
  #overflow = 0;
  #pipelinesOverflow = 0;
  /** The attributes that the policy's selectors look at: askers who agree in them are answered alike. */
  readonly #selected: readonly Attribute[];

  /** @param policy the proposed one; it need not explain */
  constructor(policy: Policy, options: ReplayOptions) {
    this.#policy = policy;
    this.#options = options;
    this.#selected = selectedAttributes(policy.compiled);
  }

  /** Takes one decided line, of which each request has exactly one. */
  add({ facts, ms }: Pick<DecidedRead, 'facts' | 'ms'>): void {
    let judged = this.#judged.get(facts);
    if (judged === undefined) {
      judged = this.#judge(facts);
      this.#judged.set(facts, judged);
    }
    const { from, to, limits } = this.#options;
    if (ms < from || ms > to) return;
    this.#requests++;
    if (judged.change === 'none') {
      this.#notJudged++;
      return;
    }
    // The same facts are of the same job: its name is added once.
    const job = judged.named ? '' : judged.job;
    judged.named = true;
    if (judged.pipeline === null) this.#pipelinesOverflow++;
    else {
      this.#count(judged.pipeline, ms, job);
      if (judged.fails && judged.pipeline.failing.size < limits.replay_hosts_max)
        judged.pipeline.failing.add(judged.target);
    }
    if (judged.change === 'same') return;
    if (judged.change === 'fail') this.#fail++;
    else this.#pass++;
    if (judged.row === null) this.#overflow++;
    else this.#count(judged.row, ms, job);
  }

  result(): Replay {
    const rows = (of: Map<string, Row>): ReplayRow[] =>
      [...of.values()]
        .filter(({ requests }) => requests > 0)
        .sort((a, b) => b.requests - a.requests)
        .map(({ shown, requests, jobs, first, last }) => ({
          ...shown,
          requests,
          jobs: jobs.size,
          first_seen: first,
          last_seen: last,
        }));
    return {
      requests: this.#requests,
      newly_fail: rows(this.#rows.fail),
      newly_pass: rows(this.#rows.pass),
      newly_fail_requests: this.#fail,
      newly_pass_requests: this.#pass,
      not_judged: this.#notJudged,
      overflow: this.#overflow,
      pipelines: this.#readiness(),
      pipelines_overflow: this.#pipelinesOverflow,
    };
  }

  #judge(facts: Facts): Judged {
    const { identity, host, port } = facts;
    const inside = facts.tunnel !== undefined;
    const kind = inside || facts.method === 'CONNECT' ? 'connect' : 'forward';
    const claimed = isUnproven(identity);
    const who = statedAttributes(identity);
    const pipeline = this.#pipelineOf(who.pipeline ?? '', claimed);
    const target = authorityText(host ?? '', port ?? 0);
    const base = { pipeline, job: who.job ?? '', target, named: false };
    const passed = facts.verdict !== 'deny';
    const decision = passed || OF_RULES.has(facts.reason) ? this.#decide(facts, kind) : null;
    // The path is not in the record.
    if (decision === null || (decision.rule !== null && decision.rule.paths !== null))
      return { ...base, change: 'none', fails: false, row: null };
    const passes = this.#passes(decision, facts);
    if (passes === null) return { ...base, change: 'none', fails: false, row: null };
    if (passes === passed) return { ...base, change: 'same', fails: false, row: null };
    const change = passes ? 'pass' : 'fail';
    const shown = {
      host: host ?? '',
      port: port ?? 0,
      kind: inside ? ('inside' as const) : kind,
      request: inside ? `${facts.method} ${shownPath(facts.path ?? '')}`.slice(0, REQUEST_MAX) : '',
      pipeline: who.pipeline ?? '',
      step: who.step ?? '',
      claimed,
      reason: inside && decision.verdict === 'allow' && !passes ? 'request-not-allowed' : decision.reason,
      rule: decision.rule === null ? null : decision.rule.id,
    } as const;
    return { ...base, change, fails: change === 'fail', row: this.#rowOf(change, shown) };
  }

  /** Null where the record does not tell. */
  #passes(decision: Decision, { tunnel, method, path, host }: Facts): boolean | null {
    const { enforce } = this.#options;
    if (decision.verdict !== 'allow' && (decision.verdict !== 'observe' || enforce)) return false;
    if (tunnel === undefined || decision.inspect === null) return true;
    const below = wouldPass(decision.inspect, method, path ?? '', host ?? '');
    // What is denied or ambiguous is refused in observe mode too, and the record may not tell which it is.
    return below === false && decision.mode === 'observe' && !enforce ? null : below;
  }

  #decide(facts: Facts, kind: 'connect' | 'forward'): Decision | null {
    const { identity, host, port } = facts;
    const method = kind === 'connect' ? 'CONNECT' : facts.method;
    if (host === null || port === null) return null;
    let key = `${kind} ${method} ${host} ${port} ${identity.kind}`;
    // A claim proves nothing, so all claims are answered alike.
    if (!isUnproven(identity))
      for (const name of this.#selected) key += ` ${JSON.stringify(identity.attributes[name] ?? null)}`;
    const known = this.#decisions.get(key);
    if (known !== undefined) return known;
    const authority = recordedAuthority(host, port);
    const decision =
      authority === null
        ? null
        : this.#policy.decide({
            authority,
            kind,
            method,
            path: kind === 'connect' ? null : '/',
            identity,
            now: this.#options.now,
          });
    if (this.#decisions.size >= DECISIONS_MAX) this.#decisions.clear();
    this.#decisions.set(key, decision);
    return decision;
  }

  #count(sum: Sum, ms: number, job: string): void {
    sum.requests++;
    if (ms < sum.first) sum.first = ms;
    if (ms > sum.last) sum.last = ms;
    if (job !== '' && sum.jobs.size < this.#options.limits.replay_jobs_max) sum.jobs.add(job);
  }

  #rowOf(change: 'fail' | 'pass', shown: Row['shown']): Row | null {
    const rows = this.#rows[change];
    const key = JSON.stringify(Object.values(shown));
    const known = rows.get(key);
    if (known !== undefined || rows.size >= this.#options.limits.replay_rows_max) return known ?? null;
    const row: Row = { shown, ...noSum() };
    rows.set(key, row);
    return row;
  }

  #pipelineOf(name: string, claimed: boolean): Pipeline | null {
    const key = `${claimed} ${name}`;
    const known = this.#pipelines.get(key);
    if (known !== undefined || this.#pipelines.size >= this.#options.limits.replay_pipelines_max) return known ?? null;
    const pipeline: Pipeline = { name, claimed, failing: new Set(), ...noSum() };
    this.#pipelines.set(key, pipeline);
    return pipeline;
  }

  /** Would-fail first, then what was not seen: what needs an eye before a policy is enforced. */
  #readiness(): Readiness[] {
    const found: Readiness[] = [...this.#pipelines.values()].map(({ name, claimed, failing, requests, jobs }) => ({
      pipeline: name,
      claimed,
      state: requests === 0 ? 'not-seen' : failing.size > 0 ? 'would-fail' : 'safe',
      requests,
      jobs: jobs.size,
      hosts: [...failing].sort(),
    }));
    const known = new Set(found.filter(({ claimed }) => !claimed).map(({ pipeline }) => pipeline));
    for (const rule of this.#policy.rules()) {
      for (const pipeline of rule.for?.pipeline ?? []) {
        if (pipeline.includes('*') || known.has(pipeline)) continue;
        known.add(pipeline);
        found.push({ pipeline, claimed: false, state: 'not-seen', requests: 0, jobs: 0, hosts: [] });
      }
    }
    const order = { 'would-fail': 0, 'not-seen': 1, safe: 2 };
    return found.sort((a, b) => order[a.state] - order[b.state] || (a.pipeline < b.pipeline ? -1 : 1));
  }
}

function noSum(): Sum {
  return { requests: 0, jobs: new Set(), first: Number.POSITIVE_INFINITY, last: 0 };
}

function selectedAttributes({ selectors, modes }: Policy['compiled']): Attribute[] {
  const selected = new Set([...selectors, ...modes.map((scope) => scope.for)].flatMap((of) => Object.keys(of ?? {})));
  return ATTRIBUTES.filter((name) => selected.has(name));
}
