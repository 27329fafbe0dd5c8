// The admin listener of a proxy under test, as an operator's client sees it: the token from its file, raw requests with any header.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { z } from 'zod';
import type { Endpoint } from './proxy-process.ts';

export interface AdminReply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface ServerEvent {
  readonly id: string | null;
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into what they get
  readonly data: any;
}

export interface EventReader {
  /** All that came so far. */
  readonly events: readonly ServerEvent[];
  /** The first event that fits, as soon as it is there. */
  until(wanted: (event: ServerEvent) => boolean): Promise<ServerEvent>;
  /** Settles when the stream has ended. */
  readonly ended: Promise<void>;
  close(): void;
}

export class AdminClient {
  readonly at: Endpoint;
  readonly token: string;

  constructor(at: Endpoint | null, auditFile: string) {
    if (at === null) throw new Error('no admin listener');
    this.at = at;
    this.token = readFileSync(`${auditFile}.admin-token`, 'utf8').trim();
  }

  /** Exactly these headers, and Host where it is not given. */
  ask(path: string, headers: http.OutgoingHttpHeaders = {}, method = 'GET', body = ''): Promise<AdminReply> {
    return new Promise((resolve, reject) => {
      const request = http.request({ ...this.at, path, method, headers, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
        response.on('error', reject);
      });
      request.on('error', reject);
      request.end(body);
    });
  }

  /** With the token. */
  get(path: string, headers: http.OutgoingHttpHeaders = {}, method = 'GET'): Promise<AdminReply> {
    return this.ask(path, { Authorization: `Bearer ${this.token}`, ...headers }, method);
  }

  /** The JSON of a 200, of that shape. */
  async json<S extends z.ZodType>(shape: S, path: string, method = 'GET'): Promise<z.output<S>> {
    const { status, body } = await this.get(path, {}, method);
    if (status !== 200) throw new Error(`${method} ${path}: ${status} ${body}`);
    return shape.parse(JSON.parse(body));
  }

  /** Follows the events; resolves once the stream has said hello. */
  async follow(path: string, headers: http.OutgoingHttpHeaders = {}): Promise<EventReader> {
    const request = http.request({
      ...this.at,
      path,
      headers: { Authorization: `Bearer ${this.token}`, ...headers },
      agent: false,
    });
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      request.once('response', resolve).on('error', reject).end();
    });
    if (response.statusCode !== 200) throw new Error(`${path}: ${response.statusCode}`);
    const reader = readEvents(response, () => request.destroy());
    await reader.until(({ event }) => event === 'hello');
    return reader;
  }
}

function readEvents(response: http.IncomingMessage, close: () => void): EventReader {
  const events: ServerEvent[] = [];
  let rest = '';
  let look = (): void => {};
  response.setEncoding('utf8').on('data', (chunk: string) => {
    rest += chunk;
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      const block = rest.slice(0, end);
      rest = rest.slice(end + 2);
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1] ?? null;
      const event = field('event');
      if (event !== null) events.push({ id: field('id'), event, data: JSON.parse(field('data') ?? '') });
    }
    look();
  });
  response.on('error', () => {});
  const ended = new Promise<void>((resolve) => response.once('close', resolve));
  return {
    events,
    ended,
    close,
    until: (wanted) =>
      new Promise((resolve, reject) => {
        look = () => {
          const found = events.find(wanted);
          if (found !== undefined) resolve(found);
        };
        look();
        void ended.then(() => reject(new Error(`the stream ended\n${JSON.stringify(events)}`)));
      }),
  };
}
