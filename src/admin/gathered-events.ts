// The events of all workers as one stream for each reader: their blocks are passed on as they come, and an event's id says up to where
// its reader has heard each of them, so that he can come back. A worker that goes ends the stream: its readers open a new one.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { AdminError } from './admin-error.ts';
import { EVENT_STREAM } from './event-stream.ts';
import { refusalOf, type WorkerPages, type WorkerPlace } from './worker-pages.ts';

const OPEN_MS = 10_000;
/** What the readers of one worker are told to wait before they come back. */
const RETRY = 'retry: 2000\n\n';
const BLOCK = '\n\n';
/** Stands for a worker of which nothing is known yet. */
const UNHEARD = '-';

interface Source {
  readonly worker: number;
  readonly stream: IncomingMessage;
}

interface Parts {
  readonly pages: WorkerPages;
  /** Those that serve now. */
  readonly places: () => readonly WorkerPlace[];
  readonly hello: () => object;
}

export class GatheredEvents {
  readonly #parts: Parts;
  readonly #open = new Set<Merged>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Takes the response over.
   * @param query the request's own
   * @param after id of the last event that the reader has
   * @throws AdminError what a worker refuses; 503 where none serves
   */
  async open(res: ServerResponse, query: URLSearchParams, after: string | null): Promise<void> {
    const { pages, places, hello } = this.#parts;
    const known = after === null ? [] : after.split('.');
    const sources: Source[] = [];
    try {
      for (const place of places()) {
        const asked = new URLSearchParams(query);
        asked.delete('after');
        const cursor = known[place.worker - 1];
        if (cursor !== undefined && cursor !== UNHEARD) asked.set('after', cursor);
        const stream = await pages.open(place, { path: `/v1/events?${asked}`, timeoutMs: OPEN_MS });
        sources.push({ worker: place.worker, stream });
        if (stream.statusCode !== 200) throw refusalOf({ status: stream.statusCode ?? 0, body: await textOf(stream) });
        stream.socket.setTimeout(0);
      }
      if (sources.length === 0) throw new AdminError(503, 'admin-busy', 'no worker serves');
    } catch (error) {
      for (const { stream } of sources) stream.destroy();
      if (error instanceof AdminError) throw error;
      throw new AdminError(503, 'admin-busy', 'a worker does not answer');
    }
    // Who has left while the workers were asked gets no end any more that could be waited for.
    if (res.closed || res.destroyed) {
      for (const { stream } of sources) stream.destroy();
      return;
    }
    // Of a reader that breaks off, the end is what is acted on.
    res.on('error', () => {});
    res.writeHead(200, { 'Content-Type': EVENT_STREAM });
    res.write(RETRY);
    const merged = new Merged(res, sources, hello());
    this.#open.add(merged);
    res.once('close', () => {
      merged.end();
      this.#open.delete(merged);
    });
  }

  /** Ends all streams: their readers come back, to the workers that serve then. */
  close(): void {
    for (const merged of this.#open) merged.end();
  }
}

class Merged {
  readonly #res: ServerResponse;
  readonly #sources: readonly Source[];
  readonly #hello: object;
  readonly #cursors: string[];
  /** Workers whose greeting is awaited: the reader gets one for all. */
  readonly #greeting: Set<number>;
  #restarted = false;
  /** Blocks that came before all had greeted. */
  #held = '';

  constructor(res: ServerResponse, sources: readonly Source[], hello: object) {
    this.#res = res;
    this.#hello = hello;
    this.#sources = sources;
    this.#greeting = new Set(sources.map(({ worker }) => worker));
    this.#cursors = Array.from({ length: Math.max(...this.#greeting) }, () => UNHEARD);
    res.on('drain', () => this.#flow());
    for (const source of sources) this.#follow(source);
  }

  /** What the reader has not taken yet goes out; nothing comes after it. */
  end(): void {
    this.#res.end();
    for (const { stream } of this.#sources) stream.destroy();
  }

  /** The workers' own bound for what waits holds here: a stream is not read where its reader, or another's greeting, is waited for. */
  #flow(): void {
    const { writableNeedDrain } = this.#res;
    for (const { worker, stream } of this.#sources)
      if (writableNeedDrain || (this.#greeting.size > 0 && !this.#greeting.has(worker))) stream.pause();
      else stream.resume();
  }

  #follow({ worker, stream }: Source): void {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      const blocks = (rest + text).split(BLOCK);
      rest = blocks.pop() ?? '';
      const isGreeting = this.#greeting.size > 0;
      let out = '';
      for (const block of blocks) out += this.#pass(worker, block);
      if (out !== '' && !this.#res.writableEnded && !this.#res.destroyed) this.#res.write(out);
      if (isGreeting || this.#res.writableNeedDrain) this.#flow();
    });
    stream.once('close', () => this.end());
    stream.on('error', () => this.end());
    if (stream.destroyed) this.end();
  }

  /** One block of a worker → what the reader gets for it now. */
  #pass(worker: number, block: string): string {
    if (block.startsWith('retry:')) return '';
    if (block.startsWith('event: hello')) return this.#greeted(worker, block);
    // Each worker says now and then that it is there; one of them is enough.
    if (block.startsWith(':')) return worker === 1 ? block + BLOCK : '';
    const id = /^id: (\S+)\n/.exec(block);
    let passed = block + BLOCK;
    if (id) {
      this.#cursors[worker - 1] = id[1] ?? UNHEARD;
      passed = `id: ${this.#cursors.join('.')}\n${block.slice(id[0].length)}${BLOCK}`;
    }
    if (this.#greeting.size === 0) return passed;
    this.#held += passed;
    return '';
  }

  #greeted(worker: number, block: string): string {
    const { restarted, at } = JSON.parse(block.slice(block.indexOf('data: ') + 6)) as {
      restarted: boolean;
      at: string;
    };
    if (this.#cursors[worker - 1] === UNHEARD) this.#cursors[worker - 1] = at;
    if (restarted) this.#restarted = true;
    this.#greeting.delete(worker);
    if (this.#greeting.size > 0) return '';
    const held = this.#held;
    this.#held = '';
    const data = { ...this.#hello, at: this.#cursors.join('.'), restarted: this.#restarted };
    return `event: hello\ndata: ${JSON.stringify(data)}${BLOCK}${held}`;
  }
}

async function textOf(stream: IncomingMessage): Promise<string> {
  stream.setEncoding('utf8');
  let text = '';
  for await (const part of stream) text += part;
  return text;
}
