// The last records of this process, for who watches, as the audit log has them: a ring of their lines that each enters as it is
// written, and the watchers that are told of it in the same turn. An event's id is the process and its number, so that who comes
// back after a restart is told so instead of getting a wrong continuation.
// The ring is bytes and no objects: four thousand records that live for a second each are what a garbage collector is worst at.
import { Buffer } from 'node:buffer';
import type { Limits, Meter } from '../limits.ts';
import { type Decided, type Ended, type Note, saidOf } from '../policy/record.ts';
import { globMatches } from '../policy/selector.ts';
import type { Tap } from './record-counts.ts';

/** Room in the ring for each event that it may keep; of longer ones it keeps fewer. */
const EVENT_BYTES = 1_024;
const EVENT = ',"event":"';

export class FeedEvent {
  readonly number: number;
  /** A line of the audit log. */
  readonly #line: string;
  #record: Decided | Ended | Note | null;

  constructor(number: number, line: string, record: Decided | Ended | Note | null = null) {
    this.number = number;
    this.#line = line;
    this.#record = record;
  }

  get kind(): 'decided' | 'ended' | 'note' {
    const at = this.#line.indexOf(EVENT) + EVENT.length;
    for (const kind of ['decided', 'ended'] as const) if (this.#line.startsWith(`${kind}"`, at)) return kind;
    return 'note';
  }

  get record(): Decided | Ended | Note {
    this.#record ??= JSON.parse(this.#line) as Decided | Ended | Note;
    return this.#record;
  }

  /** The line as JSON, without its number and its place in the chain. */
  get text(): string {
    const line = this.#line;
    // What others wrote stands in the line with its quotes escaped, so the first and the last of these are ours.
    const from = line.indexOf(EVENT);
    const to = line.lastIndexOf(',"prev":"');
    return `${line.slice(0, line.indexOf(',"seq":'))}${line.slice(from, to < 0 ? -1 : to)}}`;
  }
}

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
  readonly #bytes: Buffer;
  // By an event's number, modulo their length. Offsets count on and on; an event is there while none of its bytes is written over.
  readonly #starts: Float64Array;
  readonly #lengths: Uint32Array;
  readonly #watchers = new Set<(event: FeedEvent) => void>();
  readonly #meter: Meter;
  #number = 0;
  /** Number of the oldest event that is kept. */
  #oldest = 1;
  #end = 0;

  constructor(options: { boot: string; limits: Limits; meter: Meter }) {
    const { admin_events_max } = options.limits;
    this.boot = options.boot;
    // Pages that were never written cost nothing.
    this.#bytes = Buffer.allocUnsafeSlow(admin_events_max * EVENT_BYTES);
    this.#starts = new Float64Array(admin_events_max);
    this.#lengths = new Uint32Array(admin_events_max);
    this.#meter = options.meter;
  }

  decided = (record: Decided, line: string): void => this.#add(line, record);
  ended = (record: Ended, line: string): void => this.#add(line, record);
  note = (record: Note, line: string): void => this.#add(line, record);

  /** Number of the last event; 0 before the first. */
  get last(): number {
    return this.#number;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** Events after `number`, oldest first, and how many of them are no longer kept. */
  since(number: number): { readonly events: readonly FeedEvent[]; readonly missed: number } {
    const from = Math.max(number + 1, this.#oldest);
    const events: FeedEvent[] = [];
    for (let at = from; at <= this.#number; at++) events.push(this.#at(at));
    const missed = Math.max(0, from - 1 - number);
    if (missed > 0) this.#meter.hit('admin_events_max');
    return { events, missed };
  }

  /** The last events that are wanted, at most `count`, oldest first. */
  latest(count: number, filter: FeedFilter): FeedEvent[] {
    const events: FeedEvent[] = [];
    for (let at = this.#number; at >= this.#oldest && events.length < count; at--) {
      const event = this.#at(at);
      if (wanted(event, filter)) events.push(event);
    }
    return events.reverse();
  }

  /** Tells of each event from now on, until the returned function is called. */
  watch(tell: (event: FeedEvent) => void): () => void {
    this.#watchers.add(tell);
    return () => void this.#watchers.delete(tell);
  }

  #add(line: string, record: Decided | Ended | Note): void {
    this.#keep(++this.#number, line);
    if (this.#watchers.size === 0) return;
    const event = new FeedEvent(this.#number, line, record);
    for (const tell of this.#watchers) tell(event);
  }

  #keep(number: number, line: string): void {
    const { length: room } = this.#bytes;
    const { length: places } = this.#starts;
    const { length } = line;
    const before = this.#end % room;
    // Each lies in one piece. One that is longer than the whole ring is not kept, and nothing before it can be followed on.
    const start = before + length > room ? this.#end - before + room : this.#end;
    this.#end = start + length;
    if (length <= room) this.#bytes.write(line, start % room, 'latin1');
    const place = number % places;
    this.#starts[place] = start;
    this.#lengths[place] = length;
    this.#oldest = Math.max(this.#oldest, number - places + 1);
    while (this.#oldest <= number && (this.#starts[this.#oldest % places] as number) < this.#end - room) this.#oldest++;
  }

  #at(number: number): FeedEvent {
    const place = number % this.#starts.length;
    const from = (this.#starts[place] as number) % this.#bytes.length;
    return new FeedEvent(number, this.#bytes.toString('latin1', from, from + (this.#lengths[place] as number)));
  }
}

/** Whether an event is one that the filter wants. Notes have no host and no pipeline: they pass where all is wanted. */
export function wanted(event: FeedEvent, { denied, host, pipeline }: FeedFilter): boolean {
  if (!denied && host === null && pipeline === null) return true;
  if (event.kind === 'note') return false;
  const record = event.record as Decided | Ended;
  // An ended record repeats what was decided, but for a tunnel that a check cut after its 200.
  if (denied && (event.kind === 'ended' ? record.verdict !== 'deny' : record.verdict === 'allow')) return false;
  if (host !== null && !globMatches(host, record.host ?? '')) return false;
  return pipeline === null || globMatches(pipeline, saidOf(record.identity, 'pipeline'));
}
