// Server-sent events to a reader that does not read: bounded memory, and the loss is said when it reads again.
import http from 'node:http';
import type net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { EventStreams } from '../../src/admin/event-stream.ts';
import { Feed } from '../../src/admin/feed.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Note } from '../../src/policy/record.ts';

const servers: http.Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function start(limits: object) {
  const meter = createMeter();
  const all = { ...DEFAULT_LIMITS, ...limits };
  const feed = new Feed({ boot: 'b00', limits: all, meter });
  const streams = new EventStreams(feed, { limits: all, meter, hello: () => ({ node: 'n' }) });
  const opened: http.ServerResponse[] = [];
  const server = http.createServer((_, res) => {
    opened.push(res);
    streams.open(res, { filter: { denied: false, host: null, pipeline: null }, after: null, last: 0 });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http.get({ port, host: '127.0.0.1' }, resolve).on('error', reject);
  });
  return { feed, meter, response, opened };
}
function note(feed: Feed, size: number): void {
  const record: Note = { event: 'mode', policy: '', detail: { text: 'x'.repeat(size) } };
  feed.note(record, JSON.stringify({ time: '2026-01-01T00:00:00.000Z', seq: 1, ...record }));
}

describe('a reader that does not keep up', () => {
  it('costs no more than its bytes, loses the rest, and is told how many', { timeout: 60_000 }, async () => {
    const { feed, meter, response, opened } = await start({ admin_stream_bytes: 65_536 });
    response.pause();
    const turns = 400;
    for (let n = 0; n < turns; n++) {
      for (let m = 0; m < 10; m++) note(feed, 8_192);
      await new Promise(setImmediate);
      expect(opened[0]?.writableLength ?? 0).toBeLessThan(2 * 65_536);
    }
    expect(meter.hits.get('admin_stream_bytes')).toBeGreaterThan(0);
    let text = '';
    const told = new Promise<void>((resolve) => {
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        // What comes now finds room, and the count of what did not goes before it.
        if (!text.includes('event: dropped')) return;
        if (/event: dropped\ndata: .*\n\n/.test(text)) resolve();
      });
    });
    response.resume();
    const more = setInterval(() => note(feed, 1), 20);
    await told;
    clearInterval(more);
    const dropped = Number(/event: dropped\ndata: \{"events":(\d+)\}/.exec(text)?.[1]);
    const before = text.slice(0, text.indexOf('event: dropped'));
    const ids = [...before.matchAll(/^id: b00-(\d+)$/gm)].map(([, id]) => Number(id));
    expect(ids).toEqual(ids.map((_, at) => at + 1));
    const next = Number(/^id: b00-(\d+)$/m.exec(text.slice(text.indexOf('event: dropped')))?.[1] ?? 0);
    if (next > 0) expect(next).toBe((ids.at(-1) ?? 0) + dropped + 1);
    expect(dropped).toBeGreaterThan(0);
  });
});
