// What every record adds to the metrics: plain numbers in nested maps, since this is on the road of each request. The metrics
// page turns them into series when somebody asks. Its keys come from closed sets (verdicts, reasons, outcomes) and from the
// groups of the policy, never from a client.
import type { Decided, Ended, Note, Verdict } from '../policy/record.ts';

/**
 * Something that hears of each record once it has been taken by the audit log, with the line that the log made of it (LineRecorder).
 * Must not throw, and must be quick.
 */
export interface Tap {
  decided(record: Decided, line: string): void;
  ended(record: Ended, line: string): void;
  note(record: Note, line: string): void;
}

export interface GroupCounts {
  /** Decided requests: reason → verdict → count. */
  readonly decided: Map<string, Record<Verdict, number>>;
  /** Tunnels that the check of their first message cut after the 200, by reason. */
  readonly refused: Map<string, number>;
  bytesUp: number;
  bytesDown: number;
}

/** Groups come from the catalog; whoever lists more than this gets the rest as one. */
const GROUPS_MAX = 1_000;
const OTHER = 'other';

export class RecordCounts implements Tap {
  readonly groups = new Map<string, GroupCounts>();
  /** How requests ended, refusals included: outcome → count. */
  readonly outcomes = new Map<string, number>();
  /** Results of reading the policy again: `loaded`, `refused`. */
  readonly reloads = { loaded: 0, refused: 0 };
  /** When the policy in force was put in force, ms since the epoch. */
  policySinceMs: number;
  readonly #now: () => number;

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
    this.policySinceMs = now();
  }

  /** Of what is asked inside an inspected CONNECT, which is counted itself, refusals count alone. */
  decided(record: Decided): void {
    if (record.tunnel !== undefined && record.verdict === 'allow') return;
    const { decided } = this.of(record.group);
    const counts = decided.get(record.reason) ?? { allow: 0, deny: 0, observe: 0 };
    if (++counts[record.verdict] === 1) decided.set(record.reason, counts);
    if (record.outcome !== undefined) increment(this.outcomes, record.outcome);
  }

  ended(record: Ended): void {
    const group = this.of(record.group);
    if (record.tunnel !== undefined) return;
    group.bytesUp += record.bytes_up;
    group.bytesDown += record.bytes_down;
    increment(this.outcomes, record.outcome);
    if (record.verdict === 'deny') increment(group.refused, record.reason);
  }

  note({ event, detail }: Note): void {
    if (event !== 'policy') return;
    if (detail['result'] === 'refused') this.reloads.refused++;
    if (detail['result'] !== 'loaded') return;
    this.reloads.loaded++;
    this.policySinceMs = this.#now();
  }

  /** The counts of a group; `''` is that of requests without one. */
  of(group: string | null): GroupCounts {
    const name = group ?? '';
    const known = this.groups.get(name);
    if (known !== undefined) return known;
    if (this.groups.size >= GROUPS_MAX && name !== OTHER) return this.of(OTHER);
    const made: GroupCounts = { decided: new Map(), refused: new Map(), bytesUp: 0, bytesDown: 0 };
    this.groups.set(name, made);
    return made;
  }
}

function increment(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
