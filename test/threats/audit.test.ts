// Section "Audit log" of docs/threat-model.md: one record each, which nobody can forge, and in which no secret stands.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readAudit, sallyport } from '../support/proxy-process.ts';
import { ALLOWED, connect, DENIED, isDecided, isEnded, useStage } from './stage.ts';

const CASE_MS = 10_000;
const stage = useStage({ policy: (one) => ({ allow: [one.rule(ALLOWED)] }) });

const log = (): string => readFileSync(stage.world.auditFile, 'latin1');

/** Sends bytes and reads until the proxy closes or has opened a tunnel. */
async function send(bytes: string): Promise<void> {
  const client = await stage.client();
  client.socket.end(stage.bytes(bytes));
  await client.readAll();
  client.close();
}

describe('A1 one record for each request', () => {
  it('allowed: time, client, host, port, verdict, rule, and an end with its bytes', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    await stage.good();
    const [decided, ended] = stage.since(mark);
    const common = { host: ALLOWED, port: stage.port, client: '127.0.0.1', method: 'CONNECT', verdict: 'allow' };
    const rule = `${stage.world.placeOf(`host: ${ALLOWED}`)}`;
    expect(decided).toMatchObject({ event: 'decided', ...common, reason: 'allowed', rule });
    expect(ended).toMatchObject({ event: 'ended', ...common, outcome: 'closed', bytes_up: 6, bytes_down: 6 });
    expect(decided?.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  it('denied: the reason', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    await send(connect(`${DENIED}:{p}`));
    expect(stage.since(mark)).toMatchObject([
      { event: 'decided', host: DENIED, port: stage.port, verdict: 'deny', reason: 'host-not-allowed', rule: null },
    ]);
  });

  it('malformed: the target as it was sent', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    await send(connect('allowed.test@denied.test:443'));
    expect(stage.since(mark)).toMatchObject([
      { host: null, port: null, reason: 'authority-malformed', verdict: 'deny' },
    ]);
  });

  it('the canonical host is recorded, however it was spelt', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    await send(connect('DeNied.TEST.:{p}'));
    expect(stage.since(mark)).toMatchObject([{ host: DENIED }]);
  });
});

// Each would forge or break a line of a log that does not escape.
const FORGERIES: readonly (readonly [string, string])[] = [
  ['a quote and a brace', '"}\r\n{"event":"decided","verdict":"allow"}'],
  ['a quote alone', 'a"b'],
  ['a backslash', 'a\\'],
  ['a line feed', 'a\n{"event":"decided"}'],
  ['a carriage return', 'a\rb'],
  ['a line separator', '\xe2\x80\xa8{"event":"decided"}'],
  ['a right-to-left override', '\xe2\x80\xae'],
  ['a NUL', 'a\0b'],
  ['an escape sequence', '\x1b[2J\x1b]0;x\x07'],
  ['a C1 control', '\x9b31m'],
  ['a DEL', '\x7f'],
  ['bytes that are no UTF-8', '\xff\xfe\xc0\x80'],
  ['10,000 characters', 'a'.repeat(10_000)],
];

describe('A2 what a client sends cannot forge a line', () => {
  const places: readonly (readonly [string, (text: string) => string])[] = [
    ['in the target', (text) => connect(`${text}.test:443`)],
    ['in the method', (text) => `${text} x HTTP/1.1\r\n\r\n`],
    ['in User-Agent', (text) => `CONNECT ${DENIED}:{p} HTTP/1.1\r\nUser-Agent: ${text}\r\n\r\n`],
    ['in a URL', (text) => `GET http://denied.test/${text} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['in Host', (text) => `CONNECT ${DENIED}:{p} HTTP/1.1\r\nHost: ${text}\r\n\r\n`],
    [
      'in a claimed pipeline',
      (text) =>
        `CONNECT ${DENIED}:{p} HTTP/1.1\r\nProxy-Authorization: Basic ${Buffer.from(`${text}:`, 'latin1').toString('base64')}\r\n\r\n`,
    ],
  ];
  const cases = places.flatMap(([place, make]) =>
    FORGERIES.map(([what, text]) => [`${what} ${place}`, make(text)] as const),
  );

  it.each(cases)('%s', { timeout: CASE_MS }, async (_, bytes) => {
    const mark = stage.mark();
    await send(bytes);
    const lines = stage.since(mark);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({ event: 'decided', verdict: 'deny' });
    expect(JSON.stringify(lines[0]).length).toBeLessThan(8_192);
    // One line a record in ASCII alone: no reader splits it elsewhere, no terminal obeys it.
    expect(log()).toMatch(/^[\x20-\x7e\n]*$/);
  });

  it('the sequence has no gap, and the chain holds over all of it', { timeout: CASE_MS }, async () => {
    const lines = readAudit(stage.world.auditFile);
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, at) => at + 1));
    const done = await sallyport(['audit', 'verify', '--config', stage.world.configFile], { cwd: stage.world.dir });
    expect(done, done.stdout + done.stderr).toMatchObject({ code: 0 });
  });
});

describe('A3 no secret is recorded or logged', () => {
  const SECRET = 'Zq9XkSecret7';
  const BASE64 = Buffer.from(`user:${SECRET}`).toString('base64');
  const target = `${DENIED}:{p}`;

  it.each([
    ['Proxy-Authorization, Basic', `CONNECT ${target} HTTP/1.1\r\nProxy-Authorization: Basic ${BASE64}\r\n\r\n`],
    ['Proxy-Authorization, Bearer', `CONNECT ${target} HTTP/1.1\r\nProxy-Authorization: Bearer ${SECRET}\r\n\r\n`],
    [
      'Proxy-Authorization, two of them',
      `CONNECT ${target} HTTP/1.1\r\nProxy-Authorization: Basic ${BASE64}\r\nProxy-Authorization: Basic ${BASE64}\r\n\r\n`,
    ],
    [
      'Authorization and Cookie',
      `CONNECT ${target} HTTP/1.1\r\nAuthorization: Bearer ${SECRET}\r\nCookie: sid=${SECRET}\r\n\r\n`,
    ],
    ['userinfo in the target', connect(`user:${SECRET}@${DENIED}:443`)],
    ['userinfo in a URL', `GET http://user:${SECRET}@denied.test/ HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['userinfo in a CONNECT URL', connect(`https://user:${SECRET}@denied.test/`)],
    ['userinfo that is encoded', `GET http://user%3A${SECRET}%40denied.test/ HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['a signature in a query', `GET http://denied.test\\?sig=${SECRET} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['a query of a denied URL', `GET http://denied.test/a?token=${SECRET} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['a path of a denied URL', `GET http://denied.test/${SECRET} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ['a header in a malformed head', `CONNECT ${target} HTTP/1.1\r\nCookie: sid=${SECRET}\r\nbroken\r\n\r\n`],
    ['a header where the method should be', `Authorization: Bearer ${SECRET}\r\n\r\n`],
    ['a token in User-Agent', `CONNECT ${target} HTTP/1.1\r\nUser-Agent: x Authorization: Bearer ${SECRET}\r\n\r\n`],
  ])('%s', { timeout: CASE_MS }, async (_, bytes) => {
    const mark = stage.mark();
    await send(bytes);
    expect(stage.since(mark).filter(isDecided)).toHaveLength(1);
    const said = log() + stage.world.proxy.stdout() + stage.world.proxy.stderr();
    expect(said).not.toContain(SECRET);
    expect(said).not.toContain(BASE64);
    await stage.good(mark, 1);
  });
});

describe('A4 a flood of refusals is recorded whole', () => {
  it('500 denied requests at once are 500 records', { timeout: 30_000 }, async () => {
    const mark = stage.mark();
    await Promise.all(Array.from({ length: 500 }, (_, at) => send(connect(`n${at}.${DENIED}:443`))));
    const hosts = stage
      .since(mark)
      .filter(isDecided)
      .map(({ host }) => host);
    expect(new Set(hosts).size).toBe(500);
    expect(hosts).toHaveLength(500);
    expect(stage.since(mark).filter(isEnded)).toEqual([]);
    await stage.good(mark, 500);
  });
});
