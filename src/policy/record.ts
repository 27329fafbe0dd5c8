// The one fact of a request. Everything after the proxy (audit, usage, reports, metrics) reads these types and nothing else.
// PURE: no clock, no I/O. The keys of the two line types are the audit log's keys; they are normative (docs/audit-log.md).
import type { OutcomeCode, RequestErrorCode } from '../errors.ts';

/** What an identity can be selected by (`for:` in rules and modes). */
export const ATTRIBUTES = [
  'organization',
  'pipeline',
  'pipeline_id',
  'branch',
  'step',
  'queue',
  'job',
  'build',
  'agent',
  'cluster',
  'user',
] as const;
export type Attribute = (typeof ATTRIBUTES)[number];
export type Attributes = Readonly<Partial<Record<Attribute, string>>>;

export const IDENTITY_KINDS = ['anonymous', 'claimed', 'address', 'user', 'certificate', 'job'] as const;

/**
 * Who asked. `anonymous` and `claimed` prove nothing: their attributes are recorded and reported, and never matched by `for:`.
 * `address` comes from clients.groups (source CIDR); the others from credentials.
 */
export interface Identity {
  readonly kind: (typeof IDENTITY_KINDS)[number];
  /** Attributes that are proven (address, user, certificate, job). */
  readonly attributes: Attributes;
  /** Attributes that the client only says of itself (`http://PIPELINE%2FJOB:@proxy`). */
  readonly claimed: Attributes;
  /** The job was not proven by this connection but by a lease of its address. */
  readonly via?: 'lease';
  /** Jobs of which each has a lease of this address: one of them it was, nobody knows which. */
  readonly candidates?: readonly string[];
}

/** Whose request it is, as it is proven or, where it is not, as the client says; '' where nobody has said. */
export function saidOf({ attributes, claimed }: Identity, name: 'pipeline' | 'job'): string {
  return (attributes[name] ?? claimed[name]) || '';
}

export const VERDICTS = ['allow', 'deny', 'observe'] as const;
export type Verdict = (typeof VERDICTS)[number];
export type Method = string;

/** The nearest rule that did not match, and why, in words a build engineer understands. */
export interface Nearest {
  /** The rule or catalog entry: its pattern as written, for example `*.s3.amazonaws.com`. */
  readonly pattern: string;
  /** Rule id (catalog entry id or file:line), or null where the pattern is of a catalog group that is not switched on. */
  readonly rule: string | null;
  /** One sentence: why it does not match. */
  readonly why: string;
  /** What to add to the policy, as YAML of one allow entry on one line, for example `{ group: amazon-s3, with: { region: us-west-2 } }`. */
  readonly fix: string;
}

interface LineBase {
  /** RFC 3339 UTC with milliseconds. */
  readonly time: string;
  /** Counts from 1 over the life of the log; a gap is a loss. */
  readonly seq: number;
  /** The request's id: stands in the refusal, in both lines and in the operational log. */
  readonly id: string;
  readonly node: string;
}

/** What a request inside an inspected CONNECT says besides; reports count it below its host, and never among the tunnels. */
export interface Below {
  /** The id of the CONNECT. */
  readonly tunnel?: string;
  /** Path, and the names of the query's keys: shownTarget, never the target itself. */
  readonly path?: string;
  /** `file:line` of the line below the rule that let it through or refused it; absent where none did. */
  readonly line?: string;
}

/** Written once for each request, before anything is dialled. */
export interface DecidedLine extends LineBase, Below {
  readonly event: 'decided';
  readonly identity: Identity;
  /** Source address of the client, without the port. */
  readonly client: string;
  /** Canonical host asked for; null where the authority could not be parsed (then `target` has the raw text, capped). */
  readonly host: string | null;
  readonly port: number | null;
  readonly target?: string;
  readonly method: Method;
  readonly verdict: Verdict;
  /** Why it was refused (deny), or would have been (observe); `allowed` otherwise. */
  readonly reason: RequestErrorCode | 'allowed';
  readonly group: string | null;
  /** Catalog entry id or `file:line` of the winning rule; null where none matched. */
  readonly rule: string | null;
  /** Digest of the policy that decided. */
  readonly policy: string;
  readonly nearest?: Nearest;
  /** The checked addresses that may be dialled. */
  readonly addresses?: readonly string[];
  /** Answers of the resolver that were dropped as forbidden, as `address class`. */
  readonly dropped?: readonly string[];
  /** Present where the request ended with this line: a 4xx or 5xx that was known before anything was dialled. */
  readonly outcome?: RequestErrorCode | OutcomeCode;
  readonly user_agent?: string;
}

/** Written once for each request that was let through (`allow` or `observe`, no outcome in its decided line). */
export interface EndedLine extends LineBase, Below {
  readonly event: 'ended';
  readonly host: string | null;
  readonly port: number | null;
  readonly method: Method;
  /** `deny` where the tunnel was cut by a check after its 200 (SNI, protocol): reports count that as denied. */
  readonly verdict: Verdict;
  readonly reason: RequestErrorCode | 'allowed';
  readonly group: string | null;
  readonly rule: string | null;
  readonly policy: string;
  /** `closed` when all went well; an error code where the dial, the check or the origin failed. */
  readonly outcome: RequestErrorCode | OutcomeCode;
  /** Payload bytes client to origin, and origin to client; a tunnel's counts start after its 200. */
  readonly bytes_up: number;
  readonly bytes_down: number;
  /** From the request's arrival to its end. */
  readonly duration_ms: number;
  /** The address that was dialled, with its port. */
  readonly address?: string;
  /** Status of the origin's response (plain HTTP and inspected requests). */
  readonly status?: number;
  /** The identity stands here too, so that a reader needs no join. */
  readonly identity: Identity;
  readonly client: string;
}

export const NOTE_EVENTS = [
  'start',
  'stop',
  'policy',
  'mode',
  'grant',
  'upgrade',
  'cut',
  'reopen',
  'gap',
  'job',
  'heartbeat',
  'worker',
] as const;

/**
 * Written when the proxy starts or stops, reloads its policy, changes its mode, takes or drops a grant, reopens the log or cuts a request
 * (the operator's own acts), where a job used the job API, where a worker ended or was started anew, and where there was nothing else to
 * write for a while.
 */
export interface NoteLine {
  readonly time: string;
  readonly seq: number;
  readonly node: string;
  readonly event: (typeof NOTE_EVENTS)[number];
  readonly policy: string;
  readonly detail: Readonly<Record<string, string | number | boolean | null>>;
}

export type Line = DecidedLine | EndedLine | NoteLine;

/** The recorder fills these in. */
type Stamped = 'time' | 'seq' | 'node' | 'event';
export type Decided = Omit<DecidedLine, Stamped>;
export type Ended = Omit<EndedLine, Stamped>;
export type Note = Omit<NoteLine, Exclude<Stamped, 'event'>>;

/**
 * Where the proxy puts its records. Synchronous: when `decided` or `note` returns, the line is in the kernel; they throw when
 * it could not be written, and the caller must then let nothing through (503 audit-unavailable). An ended line follows in
 * the same turn of the event loop at the latest; where the disk is full it waits in memory.
 */
export interface Recorder {
  decided(record: Decided): void;
  /**
   * As `decided`, but written together with the others of this turn of the event loop, by its end: a write costs more than the rest of
   * a line. Until `done` has been called, once and with null, it is not in the kernel; else with what `decided` would have thrown.
   */
  gather(record: Decided, done: (failure: unknown) => void): void;
  ended(record: Ended): void;
  note(record: Note): void;
}

/**
 * A recorder that says what it has written: the line of the audit log, secrets taken out, without the newline. Where the disk took
 * nothing and the request goes on all the same, the line has no place in the chain (no `prev`), and its `seq` is not its own.
 */
export interface LineRecorder extends Recorder {
  decided(record: Decided): string;
  /** @param done gets an empty line with a failure; it must not throw */
  gather(record: Decided, done: (failure: unknown, line: string) => void): void;
  ended(record: Ended): string;
  note(record: Note): string;
}

/** Who asked, as it is recorded and reported: what is proven, or of a claim what it says. Nothing is decided by it. */
export function statedAttributes({ kind, attributes, claimed }: Identity): Attributes {
  return kind === 'claimed' ? claimed : attributes;
}

export const ANONYMOUS: Identity = Object.freeze({
  kind: 'anonymous',
  attributes: Object.freeze({}),
  claimed: Object.freeze({}),
});
