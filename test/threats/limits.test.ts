// The bounds of docs/threat-model.md: totals, one client's share, its rate, tunnels, pending names. Each is a small number
// here; each refusal says which kind of limit it was, the count is in the stop note, and others go on.
import { describe, expect, it } from 'vitest';
import { readAudit } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import type { PolicyFile } from '../support/temp.ts';
import { ALLOWED, connect, type Stage, type StageOptions, useStage, whole } from './stage.ts';

const CASE_MS = 20_000;
const limited = (limits: PolicyFile, more: Partial<StageOptions> = {}): StageOptions => ({
  policy: (one) => ({ allow: [one.rule(ALLOWED), one.rule('*.allowed.test')], limits }),
  ...more,
});

/** A connection from another address of loopback: another client. */
const from = (stage: Stage, localAddress: string): Promise<RawClient> =>
  RawClient.connect(stage.world.proxy.proxy, { localAddress });

/** One refusal that comes without a request, or in answer to one. */
async function refusal(client: RawClient): Promise<string> {
  const answer = whole(await client.readAll());
  client.close();
  return `${answer.status} ${answer.reason}`;
}

/** Status of a CONNECT to the allowed origin; the tunnel stays open. */
async function opened(stage: Stage, client: RawClient): Promise<number> {
  client.send(stage.bytes(connect(`${ALLOWED}:{p}`)));
  return (await client.readHead()).status;
}

/** Resolves when closed connections have freed their slots: a connection of that client is served. */
async function freed(stage: Stage, localAddress: string): Promise<void> {
  for (;;) {
    const client = await from(stage, localAddress);
    client.send(stage.bytes(connect(`${ALLOWED}:{p}`)));
    const { status } = await client.readHead();
    client.close();
    if (status === 200) return;
  }
}

describe('M1 one client at its limit does not starve the others', () => {
  const stage = useStage(limited({ client_connections_max: 5 }));

  it('the sixth connection is refused, another client works, and a freed slot serves again', {
    timeout: CASE_MS,
  }, async () => {
    const greedy = await Promise.all(Array.from({ length: 5 }, () => from(stage, '127.0.0.66')));
    for (const client of greedy) expect(await opened(stage, client)).toBe(200);
    expect(await refusal(await from(stage, '127.0.0.66'))).toBe('503 client-full');
    await stage.good();
    for (const client of greedy) client.close();
    await freed(stage, '127.0.0.66');
    await stage.world.proxy.stop();
    const stop = readAudit(stage.world.auditFile).at(-1);
    expect(stop).toMatchObject({ event: 'stop', detail: { client_connections_max: expect.any(Number) } });
  });
});

describe('M2 a connection beyond the total is refused, and the slots come back', () => {
  const stage = useStage(limited({ connections_max: 10, client_connections_max: 10, tunnels_max: 10 }));

  it('eleven at once', { timeout: CASE_MS }, async () => {
    const ten = await Promise.all(Array.from({ length: 10 }, (_, at) => from(stage, `127.0.0.${at + 20}`)));
    for (const client of ten) expect(await opened(stage, client)).toBe(200);
    expect(await refusal(await from(stage, '127.0.0.66'))).toBe('503 connections-full');
    for (const client of ten) client.close();
    await freed(stage, '127.0.0.66');
    await stage.good();
  });

  it('a request that is sent at once with a refused connection is not served', { timeout: CASE_MS }, async () => {
    const ten = await Promise.all(Array.from({ length: 10 }, (_, at) => from(stage, `127.0.0.${at + 20}`)));
    for (const client of ten) expect(await opened(stage, client)).toBe(200);
    const mark = stage.mark();
    for (let i = 0; i < 20; i += 1) {
      const client = await stage.client();
      client.send(stage.bytes(connect(`${ALLOWED}:{p}`)));
      const got = await client.readAll();
      if (got.length > 0) expect(got.toString('latin1')).toMatch(/^HTTP\/1\.1 503 connections-full\r\n/);
      client.close();
    }
    stage.untouched(mark);
    expect(stage.since(mark)).toEqual([]);
    for (const client of ten) client.close();
    await freed(stage, '127.0.0.1');
  });
});

describe('M3 tunnels beyond their number are refused with a record', () => {
  const stage = useStage(limited({ tunnels_max: 3 }));

  it('the fourth', { timeout: CASE_MS }, async () => {
    const open = await Promise.all(Array.from({ length: 3 }, () => stage.tunnel()));
    // An echo shows that the origin has taken each of them from its queue.
    for (const one of open) one.send('x');
    for (const one of open) await one.read(1);
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(connect(`${ALLOWED}:{p}`)));
    await stage.holdsRefusal(client, mark, { kind: 'refused', status: 503, code: 'tunnels-full', resolves: false });
    for (const one of open) one.close();
    await freed(stage, '127.0.0.1');
    await stage.good();
  });
});

describe('M4 a client that opens connections too fast is slowed, alone', () => {
  const stage = useStage(limited({ client_rate_per_s: 20 }));

  it('of two hundred at once some are refused; another client works', { timeout: CASE_MS }, async () => {
    const clients = await Promise.all(Array.from({ length: 200 }, () => from(stage, '127.0.0.66')));
    const answers = await Promise.all(
      clients.map(async (client) => {
        client.send('nonsense\r\n\r\n');
        const got = (await client.readAll()).toString('latin1');
        client.close();
        return got.split('\r\n', 1)[0];
      }),
    );
    expect(answers).toContain('HTTP/1.1 503 client-full');
    expect(answers.filter((line) => line?.startsWith('HTTP/1.1 4')).length).toBeGreaterThanOrEqual(20);
    await stage.good();
  });
});

describe('M5 names that are being resolved are bounded', () => {
  const stage = useStage(limited({ dns_pending_max: 3, dns_timeout_ms: 1_000 }));

  it('a fourth silent name is refused at once, and a cached one still works', { timeout: CASE_MS }, async () => {
    await stage.good();
    const hosts = ['a', 'b', 'c', 'd'].map((label) => `${label}.allowed.test`);
    for (const host of hosts) {
      stage.world.dns.script(host, 'A', 'silent');
      stage.world.dns.script(host, 'AAAA', 'silent');
    }
    const mark = stage.mark();
    const waiting: RawClient[] = [];
    for (const host of hosts.slice(0, 3)) {
      const client = await stage.client();
      client.send(stage.bytes(connect(`${host}:{p}`)));
      waiting.push(client);
    }
    await stage.world.dns.queries(mark.queries + 6);
    const fourth = await stage.client();
    fourth.send(stage.bytes(connect(`${hosts[3]}:{p}`)));
    const answer = whole(await fourth.readAll());
    expect(`${answer.status} ${answer.reason}`).toBe('502 dns-failed');
    expect(answer.body).toContain('dns_pending_max');
    await stage.good();
    for (const client of waiting) {
      expect((await client.readHead()).status).toBe(504);
      client.close();
    }
  });
});

describe('M6 the head limits are what the file says', () => {
  const stage = useStage(limited({ head_bytes: 2_048, head_fields: 10 }));
  const tooLarge = { kind: 'refused', status: 431, code: 'head-too-large', resolves: false } as const;

  it('bytes', { timeout: CASE_MS }, () =>
    stage.run(`CONNECT ${ALLOWED}:{p} HTTP/1.1\r\nX: ${'a'.repeat(3_000)}\r\n\r\n`, tooLarge),
  );

  it('lines', { timeout: CASE_MS }, () =>
    stage.run(`CONNECT ${ALLOWED}:{p} HTTP/1.1\r\n${'A: b\r\n'.repeat(11)}\r\n`, tooLarge),
  );
});

describe('M7 who may come at all', () => {
  const stage = useStage({
    policy: (one) => ({ allow: [one.rule(ALLOWED)], clients: { from: ['127.0.0.1/32'] } }),
  });

  it('another client is refused whatever it asks, and nothing is resolved', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    for (const bytes of [connect(`${ALLOWED}:{p}`), `GET http://${ALLOWED}:{p}/ HTTP/1.1\r\nHost: x\r\n\r\n`]) {
      const client = await from(stage, '127.0.0.66');
      client.send(stage.bytes(bytes));
      expect(await refusal(client)).toBe('403 client-not-allowed');
    }
    stage.untouched(mark);
    expect(stage.since(mark)).toMatchObject([
      { client: '127.0.0.66', reason: 'client-not-allowed' },
      { client: '127.0.0.66', reason: 'client-not-allowed' },
    ]);
    await stage.good();
  });
});
