// Section "Slow clients" of docs/threat-model.md: every wait for a client has a bound, and no waiting client starves another.
// The head deadline is one second here. What "longer than the deadline" means is told by a silent connection that is closed.
import { describe, expect, it } from 'vitest';
import { ALLOWED, connect, flushed, isDecided, useStage } from './stage.ts';

const CASE_MS = 20_000;
const DRIP_MS = 100;
const stage = useStage({
  origins: {
    'web.test': (socket) =>
      void socket.on('data', () => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')),
  },
  policy: (one) => ({
    allow: [one.rule(ALLOWED)],
    limits: { head_timeout_ms: 1_000, keep_alive_idle_ms: 1_000 },
  }),
});
const request = connect(`${ALLOWED}:{p}`);

/** Resolves when the proxy has closed a connection that stays silent: a whole head deadline is over. */
async function headDeadline(): Promise<void> {
  const client = await stage.client();
  expect((await client.readAll()).length).toBe(0);
  client.close();
}

/** Sends `drop` again and again until the proxy closes; gives what it answered. */
async function drip(start: string, drop: string): Promise<string> {
  const client = await stage.client();
  client.send(stage.bytes(start));
  const timer = setInterval(() => client.send(drop), DRIP_MS);
  const got = await client.readAll().finally(() => clearInterval(timer));
  client.close();
  return got.toString('latin1');
}

describe('L1 a head that does not come whole is closed within the head deadline', () => {
  it('a silent connection: no answer, no record', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    await headDeadline();
    await stage.good(mark, 0);
  });

  it.each([
    ['half a method', 'CONN'],
    ['half a request line', 'CONNECT allowed.test'],
    ['a request line', 'CONNECT allowed.test:{p} HTTP/1.1\r\n'],
    ['all but the last byte', request.slice(0, -1)],
  ])('%s, then silence: 408', { timeout: CASE_MS }, async (_, bytes) => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(bytes));
    await stage.holdsRefusal(client, mark, { kind: 'refused', status: 408, code: 'head-timeout', resolves: false });
    client.close();
    await stage.good(mark, 1);
  });

  it.each([
    ['a header line again and again', 'CONNECT allowed.test:{p} HTTP/1.1\r\n', 'X: y\r\n'],
    ['a byte of the target again and again', 'CONNECT ', 'a'],
    ['a byte of a header again and again', 'CONNECT allowed.test:{p} HTTP/1.1\r\nX: ', 'a'],
    ['an empty line again and again', '\r\n', '\r\n'],
  ])('%s', { timeout: CASE_MS }, async (_, start, drop) => {
    const mark = stage.mark();
    expect(await drip(start, drop)).toMatch(/^HTTP\/1\.1 408 head-timeout\r\n/);
    stage.untouched(mark);
    expect(stage.since(mark).filter(isDecided)).toMatchObject([{ outcome: 'head-timeout' }]);
    await stage.good(mark, 1);
  });

  it('1 MiB of empty lines, then silence', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send('\r\n'.repeat(1 << 19));
    await client.readAll();
    expect(client.state).not.toBe('open');
    stage.untouched(mark);
    await stage.good();
  });
});

describe('L2 three hundred connections that say nothing do not starve others', () => {
  it.each([
    ['silent', ''],
    ['half a request', 'CONNECT allowed.test:'],
  ])('%s', { timeout: CASE_MS }, async (_, bytes) => {
    const idle = await Promise.all(Array.from({ length: 300 }, () => stage.client()));
    for (const client of idle) client.send(stage.bytes(bytes));
    for (let round = 0; round < 5; round += 1) await stage.good();
    await Promise.all(idle.map((client) => client.readAll()));
    for (const client of idle) client.close();
    await stage.good();
  });
});

describe('L3 the head deadline does not touch an open tunnel', () => {
  it('it is idle over two deadlines, and then works', { timeout: CASE_MS }, async () => {
    const client = await stage.tunnel();
    await headDeadline();
    await headDeadline();
    client.send('still here');
    expect((await client.read(10)).toString()).toBe('still here');
    client.close();
    await stage.good();
  });
});

describe('L4 a second request on a connection has its own deadline', () => {
  const get = 'GET http://{web.test}/ HTTP/1.1\r\nHost: x\r\n\r\n';
  const first = async () => {
    const client = await stage.client();
    client.send(stage.bytes(get));
    expect(await client.readResponse()).toMatchObject({ status: 200, body: 'ok' });
    return client;
  };

  it('half a head, then silence: 408', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await first();
    client.send('GET http://web');
    expect(await client.readResponse()).toMatchObject({ status: 408, reason: 'head-timeout' });
    await client.readAll();
    client.close();
    await stage.good(mark, 3);
  });

  it('nothing: closed after keep_alive_idle_ms, without an answer or a record', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await first();
    expect((await client.readAll()).length).toBe(0);
    client.close();
    await stage.good(mark, 2);
  });
});

describe('L5 a client that reads nothing holds nothing up', () => {
  it('a hundred refusals that nobody reads', { timeout: CASE_MS }, async () => {
    const clients = await Promise.all(Array.from({ length: 100 }, () => stage.client()));
    for (const client of clients) {
      client.socket.pause();
      await flushed(client, stage.bytes(connect('denied.test:{p}')));
    }
    await stage.good();
    for (const client of clients) client.close();
    await stage.good();
  });
});
