// The feed as server-sent events (WHATWG HTML §9.2). A reader that does not keep up costs a bounded number of bytes: what comes
// beyond is dropped for it alone, and it is told how much. Events of a moment go out in one write.
import type { ServerResponse } from 'node:http';
import type { Limits, Meter } from '../limits.ts';
import { AdminError } from './admin-error.ts';
import { type Feed, type FeedEvent, type FeedFilter, wanted } from './feed.ts';

export const EVENT_STREAM = 'text/event-stream';
const FLUSH_MS = 50;
/** Below the idle time of proxies and load balancers. */
const HEARTBEAT_MS = 15_000;
/** What the browser's own reader would wait; the dashboard keeps to it. */
const RETRY_MS = 2_000;

export interface StreamRequest {
  readonly filter: FeedFilter;
  /** Id of the last event that the reader has; null where it has none. */
  readonly after: string | null;
  /** Without `after`: so many of the last events that fit come first. */
  readonly last: number;
}

export class EventStreams {
  readonly #feed: Feed;
  readonly #limits: Limits;
  readonly #meter: Meter;
  readonly #hello: () => object;
  readonly #open = new Set<EventStream>();

  /** @param hello what each reader is told first */
  constructor(feed: Feed, options: { limits: Limits; meter: Meter; hello: () => object }) {
    this.#feed = feed;
    this.#limits = options.limits;
    this.#meter = options.meter;
    this.#hello = options.hello;
  }

  /** Takes the response over. @throws AdminError 503 beyond limits.admin_streams_max, 400 for an id that is none */
  open(res: ServerResponse, request: StreamRequest): void {
    if (this.#open.size >= this.#limits.admin_streams_max) {
      this.#meter.hit('admin_streams_max');
      throw new AdminError(503, 'admin-busy', 'too many streams are open');
    }
    const { events, missed, restarted } = this.#begin(request);
    const stream = new EventStream(res, this.#feed.boot, this.#limits.admin_stream_bytes, this.#meter);
    stream.say('hello', { ...this.#hello(), at: `${this.#feed.boot}-${this.#feed.last}`, restarted });
    if (missed > 0) stream.say('dropped', { events: missed });
    for (const event of events) stream.send(event);
    const stop = this.#feed.watch((event) => {
      if (wanted(event, request.filter)) stream.send(event);
    });
    this.#open.add(stream);
    res.once('close', () => {
      stop();
      stream.close();
      this.#open.delete(stream);
    });
  }

  /** Ends all: their readers come back, to the process that serves then. */
  close(): void {
    for (const stream of this.#open) stream.end();
  }

  #begin({ after, filter, last }: StreamRequest): { events: FeedEvent[]; missed: number; restarted: boolean } {
    if (after !== null) {
      const [, boot, number] = /^([0-9a-f]{1,16})-(\d{1,15})$/.exec(after) ?? [];
      if (number === undefined) throw new AdminError(400, 'admin-request', 'the id is not one of an event');
      const here = boot === this.#feed.boot && Number(number) <= this.#feed.last;
      const { events, missed } = this.#feed.since(here ? Number(number) : 0);
      return { events: events.filter((event) => wanted(event, filter)), missed, restarted: !here };
    }
    return { events: this.#feed.latest(last, filter), missed: 0, restarted: false };
  }
}

class EventStream {
  readonly #res: ServerResponse;
  readonly #boot: string;
  readonly #bytesMax: number;
  readonly #meter: Meter;
  readonly #heartbeat: NodeJS.Timeout;
  #timer: NodeJS.Timeout | null = null;
  #waiting = '';
  #dropped = 0;

  constructor(res: ServerResponse, boot: string, bytesMax: number, meter: Meter) {
    this.#res = res;
    this.#boot = boot;
    this.#bytesMax = bytesMax;
    this.#meter = meter;
    res.on('drain', () => this.#flush());
    res.writeHead(200, { 'Content-Type': EVENT_STREAM });
    res.write(`retry: ${RETRY_MS}\n\n`);
    this.#heartbeat = setInterval(() => this.#push(': still here\n\n'), HEARTBEAT_MS).unref();
  }

  send(event: FeedEvent): void {
    this.#push(`id: ${this.#boot}-${event.number}\nevent: ${event.kind}\ndata: ${event.text}\n\n`);
  }

  /** Something that is no record: it has no id, so that who comes back gets what stood after the last record. */
  say(event: string, data: object): void {
    this.#push(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  end(): void {
    this.#flush();
    this.#res.end();
  }

  close(): void {
    clearInterval(this.#heartbeat);
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #push(text: string): void {
    if (this.#waiting.length + this.#res.writableLength + text.length > this.#bytesMax) {
      if (this.#dropped++ === 0) this.#meter.hit('admin_stream_bytes');
      return;
    }
    if (this.#dropped > 0) {
      this.#waiting += `event: dropped\ndata: ${JSON.stringify({ events: this.#dropped })}\n\n`;
      this.#dropped = 0;
    }
    this.#waiting += text;
    this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#res.destroyed || this.#res.writableEnded) return;
    if (this.#dropped > 0 && this.#waiting === '' && this.#res.writableLength === 0)
      this.say('dropped', this.#takeDropped());
    if (this.#waiting !== '') this.#res.write(this.#waiting);
    this.#waiting = '';
  }

  #takeDropped(): { events: number } {
    const events = this.#dropped;
    this.#dropped = 0;
    return { events };
  }
}
