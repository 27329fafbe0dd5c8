// Section "Early data, pipelining, segmentation" of docs/threat-model.md: one request, one tunnel; TCP has no messages.
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ALLOWED, connect, DENIED, flushed, isDecided, isEnded, notListed, useStage } from './stage.ts';

const stage = useStage();
const CASE_MS = 10_000;
const TARGET = `${ALLOWED}:{p}`;

describe('E1 bytes behind the head in the same packet arrive first and in order', () => {
  it.each([1, 20, 65_536, 1 << 20])('%i bytes', { timeout: CASE_MS }, async (count) => {
    const early = randomBytes(count);
    const mark = stage.mark();
    const client = await stage.tunnel(ALLOWED, early);
    const late = randomBytes(1_000);
    client.send(late);
    expect((await client.read(count + 1_000)).equals(Buffer.concat([early, late]))).toBe(true);
    client.end();
    expect((await client.readAll()).length).toBe(0);
    const lines = await stage.lines(mark, 2);
    expect(lines.filter(isEnded)).toMatchObject([{ bytes_up: count + 1_000, bytes_down: count + 1_000 }]);
    await stage.good(mark, 2);
  });

  it('early bytes and the end of the client in one packet', { timeout: CASE_MS }, async () => {
    const client = await stage.client();
    client.socket.end(stage.bytes(`${connect(TARGET)}last words`));
    expect((await client.readHead()).status).toBe(200);
    expect((await client.readAll()).toString()).toBe('last words');
    await stage.good();
  });
});

describe('E2 a second request in the same packet is payload of the first tunnel', () => {
  it.each([
    ['an allowed CONNECT', connect(TARGET)],
    ['a denied CONNECT', connect(`${DENIED}:{p}`)],
    ['a CONNECT to the metadata service', connect('169.254.169.254:80')],
    ['a plain request', `GET http://${DENIED}:{p}/ HTTP/1.1\r\nHost: ${DENIED}\r\n\r\n`],
  ])('%s', { timeout: CASE_MS }, async (_, second) => {
    const mark = stage.mark();
    const client = await stage.tunnel(ALLOWED, second);
    const bytes = stage.bytes(second);
    expect((await client.read(bytes.length)).equals(bytes)).toBe(true);
    client.end();
    expect((await client.readAll()).length).toBe(0);
    const lines = await stage.lines(mark, 2);
    expect(lines.filter(isDecided)).toMatchObject([{ host: ALLOWED }]);
    expect(stage.dialled(mark)).toEqual([1, 0, 0, 0]);
    await stage.good(mark, 2);
  });
});

describe('E3 a denied request with early data is refused, and the data reaches nothing', () => {
  it.each([
    ['20 bytes', 'x'.repeat(20)],
    ['64 KiB', 'x'.repeat(65_536)],
    ['512 KiB', 'x'.repeat(524_288)],
    ['an allowed CONNECT behind it', connect(TARGET)],
    ['an allowed plain request behind it', `GET http://${TARGET}/ HTTP/1.1\r\nHost: ${TARGET}\r\n\r\n`],
  ])('%s', { timeout: CASE_MS }, async (_, early) => {
    await stage.run(connect(`${DENIED}:{p}`) + early, notListed);
  });

  it('4 MiB, more than the proxy reads before it closes', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(connect(`${DENIED}:{p}`)));
    client.send(Buffer.alloc(4 << 20, 'x'));
    await client.readAll();
    expect(client.state).not.toBe('open');
    stage.untouched(mark);
    await stage.good(mark, 1);
  });
});

describe('E4 a request cut at any byte is the same request', () => {
  const request = connect(TARGET);

  it('at every byte, each cut in a connection of its own', { timeout: 30_000 }, async () => {
    const bytes = stage.bytes(request);
    const mark = stage.mark();
    for (let cut = 1; cut < bytes.length; cut += 1) {
      const client = await stage.client();
      await flushed(client, bytes.subarray(0, cut));
      client.send(Buffer.concat([bytes.subarray(cut), Buffer.from('ping')]));
      expect((await client.readHead()).status).toBe(200);
      expect((await client.read(4)).toString()).toBe('ping');
      client.close();
    }
    const lines = await stage.lines(mark, 2 * (bytes.length - 1));
    expect(lines.filter(isDecided)).toHaveLength(bytes.length - 1);
  });

  it('a byte a packet', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    for (const byte of stage.bytes(request)) await flushed(client, Buffer.from([byte]));
    await stage.holdsTunnel(client, mark);
    await stage.good(mark, 2);
  });

  it('a denied one, a byte a packet', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    for (const byte of stage.bytes(connect(`${DENIED}:{p}`))) await flushed(client, Buffer.from([byte]));
    await stage.holdsRefusal(client, mark, { kind: 'refused', status: 403, code: 'host-not-allowed', resolves: false });
    await stage.good(mark, 1);
  });
});

describe('E5 a client that disappears before the answer leaves nothing behind', () => {
  it('while its name is being resolved: nothing is dialled', { timeout: CASE_MS }, async () => {
    const { promise, resolve } = Promise.withResolvers<'nxdomain'>();
    const host = 'late.allowed.test';
    stage.world.dns.script(host, 'A', promise);
    stage.world.dns.script(host, 'AAAA', promise);
    stage.world.write({ allow: [stage.rule(ALLOWED), stage.rule(host)] });
    stage.world.proxy.signal('SIGHUP');
    await stage.lines(stage.mark(), 1);
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(connect(`${host}:{p}`)));
    await stage.world.dns.queries(mark.queries + 1);
    client.socket.resetAndDestroy();
    resolve('nxdomain');
    await stage.lines(mark, 1);
    expect(stage.dialled(mark)).toEqual([0, 0, 0, 0]);
    await stage.good(mark, 1);
  });

  it('a half-closed client still gets its answer', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.socket.end(stage.bytes(connect(`${DENIED}:{p}`)));
    await stage.holdsRefusal(client, mark, { kind: 'refused', status: 403, code: 'host-not-allowed', resolves: false });
    await stage.good(mark, 1);
  });
});
