// The stream of all workers' events where somebody leaves, stalls or is late: over real sockets, with workers whose every byte the test says.
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { GatheredEvents } from '../../src/admin/gathered-events.ts';
import { WorkerPages } from '../../src/admin/worker-pages.ts';
import { tempDir } from '../support/temp.ts';

/** What a response keeps before it says that it is full; beyond what kernels buffer for a socket that nobody reads. */
const WAITING_MAX = 67_108_864;
const LARGE = 'x'.repeat(16_777_216);

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
});

async function serve(on: object, handle: http.RequestListener): Promise<http.Server> {
  const server = http.createServer({ highWaterMark: WAITING_MAX }, handle);
  closers.push(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server.listen(on), 'listening');
  return server;
}

/** Two workers, asked one after the other; each answers when the test says so. */
async function world() {
  const dir = tempDir('gathered');
  const places = [1, 2].map((worker) => ({ worker, path: join(dir, `w${worker}.sock`) }));
  const asked: Promise<ServerResponse>[] = [];
  for (const { path } of places) {
    const { promise, resolve } = Promise.withResolvers<ServerResponse>();
    asked.push(promise);
    await serve({ path }, (_, res) => resolve(res));
  }
  const streams: IncomingMessage[] = [];
  class Watched extends WorkerPages {
    override async open(...args: Parameters<WorkerPages['open']>): Promise<IncomingMessage> {
      const stream = await super.open(...args);
      streams.push(stream);
      return stream;
    }
  }
  const events = new GatheredEvents({ pages: new Watched('token'), places: () => places, hello: () => ({}) });
  const taken = Promise.withResolvers<ServerResponse>();
  const opened = Promise.withResolvers<void>();
  const front = await serve({ host: '127.0.0.1', port: 0 }, (_, res) => {
    taken.resolve(res);
    events.open(res, new URLSearchParams(), null).then(opened.resolve, opened.reject);
  });
  const reader = net.connect((front.address() as AddressInfo).port, '127.0.0.1');
  closers.push(() => reader.destroy());
  reader.on('error', () => {});
  reader.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
  return { asked, streams, events, reader, res: await taken.promise, opened: opened.promise };
}

/** Not `once`: it rejects where an error comes first. */
async function closed(stream: IncomingMessage | ServerResponse | undefined): Promise<void> {
  if (stream && !stream.closed) await new Promise<void>((resolve) => stream.once('close', resolve));
}

const hello = (at: string): string => `event: hello\ndata: {"restarted":false,"at":"${at}"}\n\n`;
const event = (id: string, data: string): string => `id: ${id}\nevent: ended\ndata: ${data}\n\n`;

async function answer(asked: Promise<ServerResponse> | undefined, text = ''): Promise<ServerResponse> {
  const res = (await asked) as ServerResponse;
  res.writeHead(200);
  res.flushHeaders();
  if (text !== '') res.write(text);
  return res;
}

it.each(['a worker dies', 'the workers change'])(
  'nothing is written after the end where %s while a reader has bytes waiting',
  async (how) => {
    const { asked, events, reader, res, opened, streams } = await world();
    reader.pause();
    const first = await answer(asked[0], hello('a-0'));
    const second = await answer(asked[1], hello('b-0') + event('b-1', LARGE));
    await opened;
    while (res.writableLength < 1_000_000) await once(streams[1] as IncomingMessage, 'data');
    expect(res.writableNeedDrain).toBe(false);
    const gone = closed(first);
    // It has come, and is read after the end.
    streams[0]?.once('data', () => {
      if (how === 'a worker dies') second.destroy();
      else events.close();
    });
    first.write(event('a-1', '{}'));
    if (how === 'a worker dies') await closed(streams[1]);
    first.write(event('a-2', '{}'));
    await gone;
    expect([res.writableEnded, res.closed, res.errored]).toEqual([true, false, null]);
  },
);

it('a reader that leaves while the workers are asked leaves no stream open', async () => {
  const { asked, reader, res, opened } = await world();
  const first = await answer(asked[0], hello('a-0'));
  await asked[1];
  reader.destroy();
  await closed(res);
  const second = await answer(asked[1], hello('b-0'));
  await opened;
  await Promise.all([first, second].map(closed));
});

it('a worker that is gone before all are asked ends the stream', async () => {
  const { asked, reader, streams } = await world();
  const ended = once(reader.resume(), 'end');
  const first = await answer(asked[0], hello('a-0'));
  await asked[1];
  first.destroy();
  const stream = streams[0] as IncomingMessage;
  await closed(stream);
  const second = await answer(asked[1], hello('b-0'));
  await closed(second);
  reader.end();
  await ended;
});

it('a worker that has greeted is not read while the greeting of another is waited for', async () => {
  const { asked, reader, streams, opened } = await world();
  let text = '';
  reader.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  await answer(asked[0], hello('a-0') + event('a-1', '"one"'));
  const second = await answer(asked[1]);
  await opened;
  const stream = streams[0] as IncomingMessage;
  if (!stream.isPaused()) await once(stream, 'pause');
  second.write(hello('b-0') + event('b-1', '"two"'));
  while (!text.includes('"two"')) await once(reader, 'data');
  expect(text.match(/^(?:event: hello|id: \S+)$/gm)).toEqual(['event: hello', 'id: a-1.-', 'id: a-1.b-1']);
  expect(stream.isPaused()).toBe(false);
});
