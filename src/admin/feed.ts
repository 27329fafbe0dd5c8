// The last records of this process, for who watches: a ring of bounded length that each record enters as it passes, and the
// watchers that are told of it in the same turn. An event's id is the process and its number, so that who comes back after a
// restart is told so instead of getting a wrong continuation.
import type { LimitName, Limits, Meter } from '../limits.ts';
import type { Decided, Ended, Note } from '../policy/record.ts';
import { globMatches } from '../policy/selector.ts';
import type { Tap } from './record-counts.ts';

export type FeedEvent = { readonly number: number; readonly atMs: number } & (
  | { readonly kind: 'decided'; readonly record: Decided }
  | { readonly kind: 'ended'; readonly record: Ended }
  | { readonly kind: 'note'; readonly record: Note }
);

/** What a watcher wants to hear of; null: everything. */
export interface FeedFilter {
  /** Only what was refused, or would have been. */
  readonly denied: boolean;
  /** Globs. */
  readonly host: string | null;
  readonly pipeline: string | null;
}

export class Feed implements Tap {
  /** Begins the id of each event of this process. */
  readonly boot: string;
  readonly #ring: FeedEvent[] = [];
  readonly #max: number;
  readonly #now: () => number;
  readonly #watchers = new Set<(event: FeedEvent) => void>();
  readonly #meter: Meter;
  #number = 0;

  constructor(options: { boot: string; limits: Limits; meter: Meter; now: () => number }) {
    this.boot = options.boot;
    this.#max = options.limits.admin_events_max;
    this.#now = options.now;
    this.#meter = options.meter;
  }

  decided = (record: Decided): void => this.#add({ kind: 'decided', record, ...this.#next() });
  ended = (record: Ended): void => this.#add({ kind: 'ended', record, ...this.#next() });
  note = (record: Note): void => this.#add({ kind: 'note', record, ...this.#next() });

  /** Number of the last event; 0 before the first. */
  get last(): number {
    return this.#number;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** Events after `number`, oldest first, and how many of them are no longer kept. */
  since(number: number): { readonly events: readonly FeedEvent[]; readonly missed: number } {
    const from = Math.max(number, this.#number - this.#ring.length);
    const events = Array.from({ length: Math.max(0, this.#number - from) }, (_, at) => this.#at(from + 1 + at));
    const missed = from - number;
    if (missed > 0) this.#meter.hit('admin_events_max' satisfies LimitName);
    return { events, missed: Math.max(0, missed) };
  }

  /** Tells of each event from now on, until the returned function is called. */
  watch(tell: (event: FeedEvent) => void): () => void {
    this.#watchers.add(tell);
    return () => void this.#watchers.delete(tell);
  }

  #next(): { number: number; atMs: number } {
    return { number: ++this.#number, atMs: this.#now() };
  }

  #at(number: number): FeedEvent {
    return this.#ring[(number - 1) % this.#max] as FeedEvent;
  }

  #add(event: FeedEvent): void {
    this.#ring[(event.number - 1) % this.#max] = event;
    for (const tell of this.#watchers) tell(event);
  }
}

/** Whether an event is one that the filter wants. Notes have no host and no pipeline: they pass where all is wanted. */
export function wanted({ kind, record }: FeedEvent, { denied, host, pipeline }: FeedFilter): boolean {
  if (kind === 'note') return !denied && host === null && pipeline === null;
  // An ended record repeats what was decided, but for a tunnel that a check cut after its 200.
  if (denied && (kind === 'ended' ? record.verdict !== 'deny' : record.verdict === 'allow')) return false;
  if (host !== null && !globMatches(host, record.host ?? '')) return false;
  if (pipeline === null) return true;
  const { identity } = record;
  return globMatches(pipeline, (identity.attributes.pipeline ?? identity.claimed.pipeline) || '');
}
