// The order of the walk and what each step refuses, on both roads: what is denied is never resolved, what is resolved is checked
// before it is dialled, what is dialled has been recorded (docs/threat-model.md, promises 1, 6, 7, 10; "DNS"; "Loops and self").
import { describe, expect, it } from 'vitest';
import {
  allowing,
  connectHead,
  eventually,
  openFds,
  type RawOrigin,
  type Rig,
  rawOrigin,
  startRig,
  turns,
} from './support.ts';

const HOST = 'a.test';

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  readonly target: string;
}

async function world(
  options: { policy?: string; answer?: readonly string[]; limits?: Record<string, number> } = {},
): Promise<World> {
  const origin = await rawOrigin();
  const policy = (options.policy ?? allowing(HOST, 0)).replaceAll(/ports: \[0\]/g, `ports: [${origin.port}]`);
  const rig = await startRig({
    policy,
    names: { [HOST]: options.answer ?? ['127.0.0.1'] },
    limits: options.limits ?? {},
  });
  return { rig, origin, target: `${HOST}:${origin.port}` };
}

// A request for `target` on each road.
const ROADS: [string, (target: string, fields?: string) => string][] = [
  ['CONNECT', (target, fields = '') => `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${fields}\r\n`],
  ['plain HTTP', (target, fields = '') => `GET http://${target}/ HTTP/1.1\r\nHost: ${target}\r\n${fields}\r\n`],
];

describe.each(ROADS)('on the road of %s', (_, ask) => {
  it('a denied name is never resolved', async () => {
    const w = await world({ policy: `${allowing(HOST, 0)}\ndeny: [ "x.test" ]` });
    for (const [host, reason] of [
      ['other.test', 'host-not-allowed'],
      ['x.test', 'host-denied'],
      ['X.TEST.', 'host-denied'],
      ['localhost', 'host-not-allowed'],
      ['169.254.169.254', 'metadata-prohibited'],
      ['127.0.0.1', 'ip-literal-not-allowed'],
    ] as const) {
      const client = await w.rig.send(ask(`${host}:443`));
      expect(await client.readResponse()).toMatchObject({ status: 403, reason });
    }
    expect(w.rig.resolver.asked).toEqual([]);
    expect(w.rig.recorder.allDecided).toHaveLength(6);
    expect(w.rig.recorder.allDecided.every(({ outcome }) => outcome !== undefined)).toBe(true);
  });

  it.each([
    ['10.0.0.1', 'private', 'address-prohibited'],
    ['::1', 'loopback', 'address-prohibited'],
    ['::ffff:10.0.0.1', 'private', 'address-prohibited'],
    ['64:ff9b::a00:1', 'private', 'address-prohibited'],
    ['100.64.0.1', 'cgnat', 'address-prohibited'],
    ['224.0.0.1', 'multicast', 'address-prohibited'],
    ['0.0.0.0', 'unspecified', 'address-prohibited'],
    ['169.254.169.254', 'metadata', 'metadata-prohibited'],
    ['169.254.1.1', 'metadata', 'metadata-prohibited'],
  ])('an allowed name that resolves to %s (%s) is refused and never dialled', async (address, kind, reason) => {
    const w = await world({ answer: [address] });
    const client = await w.rig.send(ask(w.target));
    const response = await client.readResponse();
    expect(response).toMatchObject({ status: 403, reason });
    expect(response.headers['proxy-status']).toContain('destination_ip_prohibited');
    expect(response.body).toContain(kind);
    expect(w.rig.recorder.entries).toHaveLength(1);
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ verdict: 'deny', reason, dropped: [`${address} ${kind}`] });
    expect(w.origin.connections()).toBe(0);
  });

  it('of a mixed answer only the good address is dialled, and the record names both', async () => {
    const w = await world({ answer: ['10.0.0.1', '127.0.0.1', '169.254.169.254'] });
    await w.rig.send(ask(w.target));
    await w.origin.peer();
    expect(w.rig.recorder.allDecided[0]).toMatchObject({
      verdict: 'allow',
      addresses: ['127.0.0.1'],
      dropped: ['10.0.0.1 private', '169.254.169.254 metadata'],
    });
  });

  it('the proxy’s own ports are refused by address and by a name that resolves to them, even where they are listed', async () => {
    const origin = await rawOrigin();
    const rig = await startRig({
      policy: 'allow: []\nmode: observe',
      names: { [HOST]: ['127.0.0.1'], 'v6.test': ['::1'] },
      self: [{ address: '127.0.0.1', port: origin.port }],
    });
    const rules = [rig.at.port, origin.port].flatMap((port) =>
      ['127.0.0.1', 'localhost', HOST, 'v6.test'].map(
        (host) => `  - { host: ${host}, ports: [${port}], protocol: any, addresses: [127.0.0.0/8, "::1/128"] }`,
      ),
    );
    rig.swapPolicy(`allow:\n${rules.join('\n')}`);
    rig.resolver.scripts.set('localhost', ['127.0.0.1']);
    for (const port of [rig.at.port, origin.port]) {
      for (const host of ['127.0.0.1', 'localhost', HOST, 'v6.test']) {
        const client = await rig.send(ask(`${host}:${port}`));
        const response = await client.readResponse();
        expect(response).toMatchObject({ status: 403, reason: 'self-prohibited' });
        expect(response.headers['proxy-status']).toContain('proxy_loop_detected');
      }
    }
    expect(origin.connections()).toBe(0);
    expect(rig.recorder.allEnded).toHaveLength(0);
  });

  it('nothing is dialled where the decision cannot be recorded', async () => {
    const w = await world();
    w.rig.recorder.failing = 'decided';
    for (const target of [w.target, 'denied.test:443']) {
      const client = await w.rig.send(ask(target));
      expect(await client.readResponse()).toMatchObject({ status: 503, reason: 'audit-unavailable' });
    }
    const malformed = await w.rig.send('nonsense\r\n\r\n');
    expect((await malformed.readResponse()).status).toBe(503);
    await turns();
    expect(w.origin.connections()).toBe(0);
    expect(w.rig.recorder.entries).toHaveLength(0);
    w.rig.recorder.failing = null;
    await w.rig.send(ask(w.target));
    await w.origin.peer();
    expect(w.rig.recorder.entries).toHaveLength(1);
  });

  it('a record that fails at the end is said in the log, and the next request is served', async () => {
    const w = await world();
    const client = await w.rig.send(ask(w.target));
    await w.origin.peer();
    w.rig.recorder.failing = 'ended';
    client.socket.resetAndDestroy();
    await eventually(() => w.rig.logText().includes('could not be recorded'), 'the log says it');
    w.rig.recorder.failing = null;
    await w.rig.send(ask(w.target));
    await w.origin.peer(2);
  });

  it.each([
    ['ok', { ok: true, addresses: ['127.0.0.1'] }],
    ['failed', { ok: false, code: 'dns-failed', detail: 'NXDOMAIN' }],
  ] as const)('the policy in force when the name is resolved decides (%s)', async (__, answer) => {
    const w = await world();
    const before = w.rig.ctx.policy.digest;
    const release = w.rig.resolver.hold(HOST);
    const client = await w.rig.send(ask(w.target));
    await eventually(() => w.rig.resolver.asked.length === 1, 'the name is being resolved');
    w.rig.swapPolicy(`allow: []\ndeny: [ ${HOST} ]`);
    release(answer);
    expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'host-denied' });
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ verdict: 'deny', reason: 'host-denied' });
    expect(w.rig.recorder.allDecided[0]?.policy).toBe(w.rig.ctx.policy.digest);
    expect(w.rig.ctx.policy.digest).not.toBe(before);
    expect(w.origin.connections()).toBe(0);
  });

  it('a new policy that allows it too is the one recorded', async () => {
    const w = await world();
    const release = w.rig.resolver.hold(HOST);
    await w.rig.send(ask(w.target));
    await eventually(() => w.rig.resolver.asked.length === 1, 'the name is being resolved');
    w.rig.swapPolicy(`${allowing(HOST, w.origin.port)}\ndeny: [ elsewhere.test ]`);
    release({ ok: true, addresses: ['127.0.0.1'] });
    await w.origin.peer();
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ verdict: 'allow', policy: w.rig.ctx.policy.digest });
  });

  it.each([
    ['dns-failed', 502],
    ['dns-timeout', 504],
  ] as const)('a name that does not resolve is %s (%i), allowed and ended by one record', async (code, status) => {
    const w = await world();
    w.rig.resolver.scripts.set(HOST, { ok: false, code, detail: 'why' });
    const client = await w.rig.send(ask(w.target));
    expect(await client.readResponse()).toMatchObject({ status, reason: code });
    expect(w.rig.recorder.entries).toMatchObject([{ verdict: 'allow', reason: 'allowed', outcome: code }]);
  });

  it('nothing is taken while draining', async () => {
    const w = await world();
    w.rig.ctx.draining = true;
    const client = await w.rig.send(ask(w.target));
    const answer = await client.readResponse();
    expect(answer).toMatchObject({ status: 503, reason: 'draining' });
    expect(answer.body).toContain(`draining ${w.target}`);
    expect(w.rig.resolver.asked).toEqual([]);
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ verdict: 'deny', reason: 'draining' });
  });

  it('credentials that cannot be read or verified are a 407, and appear nowhere', async () => {
    const w = await world();
    const secret = Buffer.from('pipeline/job:hunter2-secret').toString('base64');
    for (const [value, reason] of [
      [`Basic ${secret}`, 'credentials-invalid'],
      [`Bearer ${secret}`, 'credentials-malformed'],
      ['Basic \xff\xfe', 'credentials-malformed'],
    ] as const) {
      const client = await w.rig.send(
        ask(w.target, `Proxy-Authorization: ${value}\r\nCookie: ${secret}\r\nAuthorization: Bearer ${secret}\r\n`),
      );
      const response = await client.readResponse();
      expect(response).toMatchObject({ status: 407, reason });
      expect(response.headers['proxy-authenticate']).toMatch(/^Basic realm=/);
    }
    const twice = await w.rig.send(
      ask(w.target, 'Proxy-Authorization: Basic YTo=\r\nProxy-Authorization: Basic Yjo=\r\n'),
    );
    expect((await twice.readResponse()).status).toBe(400);
    await w.rig.send(ask(w.target, 'Proxy-Authorization: Basic am9iOg==\r\n'));
    await w.origin.peer();
    expect(w.rig.recorder.allDecided.at(-1)).toMatchObject({
      identity: { kind: 'claimed', claimed: { pipeline: 'job' } },
    });
    const text = JSON.stringify(w.rig.recorder.entries) + w.rig.logText();
    for (const hidden of [secret, 'hunter2', 'am9iOg']) expect(text).not.toContain(hidden);
  });

  it('asks for credentials where a rule selects who asks', async () => {
    const w = await world({
      policy: `allow:\n  - { host: ${HOST}, ports: [0], protocol: any, addresses: [127.0.0.0/8], for: { pipeline: deploy } }`,
    });
    const client = await w.rig.send(ask(w.target));
    const response = await client.readResponse();
    expect(response).toMatchObject({ status: 407, reason: 'credentials-required' });
    expect(response.headers['proxy-authenticate']).toMatch(/^Basic realm=/);
    // A claim proves nothing: it is never matched.
    const claim = await w.rig.send(
      ask(w.target, `Proxy-Authorization: Basic ${Buffer.from('deploy:').toString('base64')}\r\n`),
    );
    expect([403, 407]).toContain((await claim.readResponse()).status);
    expect(w.origin.connections()).toBe(0);
  });

  it('a client whose address is not listed gets a 403', async () => {
    const w = await world({ policy: `clients: { from: [10.0.0.0/8] }\n${allowing(HOST, 0)}` });
    const client = await w.rig.send(ask(w.target));
    expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'client-not-allowed' });
    expect(w.rig.resolver.asked).toEqual([]);
  });
});

describe('a refusal', () => {
  const HELP =
    'help: { owner: "Team {pipeline}", contact: "ask {host} {job}", request_url: "https://ask.example/?h={host}&p={pipeline}" }';

  it.each(ROADS)('is text or JSON by Accept, with a length, and complete (%s)', async (_, ask) => {
    const w = await world({ policy: `${allowing(HOST, 0)}\n${HELP}` });
    const text = await (await w.rig.send(ask('b.a.test:443'))).readResponse();
    expect(text.headers['content-type']).toContain('text/plain');
    expect(text.headers['connection']).toBe('close');
    expect(text.body).toMatch(/^sallyport: host-not-allowed b\.a\.test:443\n/);
    expect(text.body).toContain(`request id: ${text.headers['sallyport-request-id']}\n`);
    const json = await (await w.rig.send(ask('b.a.test:443', 'Accept: application/json\r\n'))).readResponse();
    expect(JSON.parse(json.body)).toMatchObject({
      code: 'host-not-allowed',
      host: 'b.a.test',
      port: 443,
      contact: 'ask b.a.test ',
      request_url: 'https://ask.example/?h=b.a.test&p=',
      request_id: json.headers['sallyport-request-id'],
    });
  });

  it.each(ROADS)('says whom to ask where what was let through cannot be reached, too (%s)', async (_, ask) => {
    const gone = await rawOrigin();
    await gone.close();
    const w = await world({ policy: `${allowing(HOST, gone.port)}\n${HELP}` });
    const claim = `Proxy-Authorization: Basic ${Buffer.from('web/j-1:').toString('base64')}\r\n`;
    const client = await w.rig.send(ask(`${HOST}:${gone.port}`, `${claim}Accept: application/json\r\n`));
    expect(JSON.parse((await client.readResponse()).body)).toMatchObject({
      code: 'connect-refused',
      owner: 'Team web',
      contact: `ask ${HOST} j-1`,
      request_url: `https://ask.example/?h=${HOST}&p=web`,
    });
  });

  it.each(ROADS)('cannot be split, nor hold control characters, whatever is asked and claimed (%s)', async (_, ask) => {
    const w = await world({ policy: `${allowing(HOST, 0)}\n${HELP}` });
    const claims = ['a"b<c>;\u2028\u202e/\u00fc', '%0d%0aSet-Cookie%3a%20x', 'p%1b[31m/j', '{host}{job}'];
    for (const claim of claims) {
      const header = `Proxy-Authorization: Basic ${Buffer.from(`${claim}:`).toString('base64')}\r\n`;
      const client = await w.rig.send(ask('b.a.test:443', header));
      const all = (await client.readAll()).toString('latin1');
      const [head = '', body = ''] = all.split('\r\n\r\n');
      expect(head).toMatch(/^[\x20-\x7e\r\n]*$/);
      expect(head.split('\r\n').some((line) => /^set-cookie/i.test(line))).toBe(false);
      expect(Number(/content-length: (\d+)/i.exec(head)?.[1])).toBe(body.length);
      expect([...body].some((char) => char < ' ' && char !== '\n')).toBe(false);
    }
    for (const host of ['a.test\x1b[31m', 'a.test%0d%0aX:y', 'a.t\xe9st', "'><script>"]) {
      const client = await w.rig.send(ask(`${host}:443`));
      const all = (await client.readAll()).toString('latin1');
      expect(all).toMatch(/^HTTP\/1\.1 40[035] /);
      expect(all).toMatch(/^[\x20-\x7e\x80-\xff\r\n]*$/);
    }
  });

  it('tells a HEAD request everything but the body', async () => {
    const w = await world();
    const client = await w.rig.send('HEAD http://denied.test/ HTTP/1.1\r\nHost: x\r\n\r\n');
    const head = await client.readHead();
    expect(head).toMatchObject({ status: 403, reason: 'host-not-allowed' });
    expect(Number(head.headers['content-length'])).toBeGreaterThan(0);
    expect((await client.readAll()).length).toBe(0);
  });

  it('of a CONNECT arrives whole while the client goes on sending, and nothing it sends reaches anything', async () => {
    const w = await world();
    const client = await w.rig.send(`${connectHead('denied.test:443')}${'early '.repeat(1_000)}`);
    for (let i = 0; i < 5; i++) {
      client.send(Buffer.alloc(50_000));
      await turns(2);
    }
    expect((await client.readResponse()).status).toBe(403);
    client.end();
    await eventually(() => client.state === 'ended', 'it closes in order');
    expect(w.origin.connections()).toBe(0);
  });
});

it('leaves no descriptor behind after refusals of all kinds', async () => {
  const w = await world();
  await turns();
  const before = openFds();
  for (const bytes of [
    'nonsense\r\n\r\n',
    connectHead('x.test:1'),
    'GET http://x.test/ HTTP/1.1\r\nHost: x\r\n\r\n',
    connectHead('%'),
  ]) {
    const client = await w.rig.send(bytes);
    await client.readResponse();
    client.end();
    await client.readAll();
  }
  await eventually(() => w.rig.slots.open === 0 && openFds() <= before, 'all is given back');
});
