// The listener over TLS, with real handshakes: bytes, ends and resets of tunnels, what certificates prove, bounds, renewal.
import net from 'node:net';
import tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import type { CertificateSettings } from '../../src/config/identity.ts';
import type { LimitName } from '../../src/limits.ts';
import { TlsEntrance, type TlsMaterial } from '../../src/proxy/tls-entrance.ts';
import { proxyHeader } from '../net/proxy-builder.ts';
import { RawClient } from '../support/raw-client.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { allowing, atEnd, connectHead, eventually, type Rig, rawOrigin, startRig } from './support.ts';

const server = certificateFor(['proxy.test', '127.0.0.1'], { commonName: 'first' });
const agent = certificateFor(['a1.agents.test', 'spiffe://corp/agent/a1'], {
  usage: 'clientAuth',
  commonName: 'agent one',
});
const { ca } = testCa();

interface Stage {
  readonly rig: Rig;
  readonly entrance: TlsEntrance;
  readonly at: { readonly host: string; readonly port: number };
  connect(options?: tls.ConnectionOptions): Promise<RawClient>;
}

async function stage(
  policy: string,
  material: Partial<TlsMaterial> = {},
  rules: { required?: boolean; certificates?: CertificateSettings[] } = {},
  limits: Partial<Record<LimitName, number>> = {},
): Promise<Stage> {
  const rig = await startRig({ policy, names: { 'o.test': ['127.0.0.1'] }, limits });
  const all = { ...server, clientCa: null, ...material };
  const entrance = new TlsEntrance(rig.ctx, all, { required: false, certificates: [], ...rules });
  const { address } = await rig.server.listenTls({ host: '127.0.0.1', port: 0 }, entrance);
  const at = { host: '127.0.0.1', port: address.port };
  const connect = async (options: tls.ConnectionOptions = {}): Promise<RawClient> => {
    const socket = tls.connect({ ...at, ca, servername: 'proxy.test', ...options });
    socket.allowHalfOpen = true;
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
    });
    const client = RawClient.of(socket);
    atEnd(() => client.close());
    return client;
  };
  return { rig, entrance, at, connect };
}

const opened = async ({ connect }: Stage, target: string, options?: tls.ConnectionOptions) => {
  const client = await connect(options);
  client.send(connectHead(target));
  expect(await client.readHead()).toMatchObject({ status: 200 });
  return client;
};

describe('a tunnel over TLS', () => {
  it('carries megabytes both ways untouched, early bytes first', async () => {
    const origin = await rawOrigin();
    const at = await stage(allowing('o.test', origin.port));
    const client = await at.connect();
    client.send(`${connectHead(`o.test:${origin.port}`)}early`);
    expect(await client.readHead()).toMatchObject({ status: 200 });
    const peer = await origin.peer();
    expect((await peer.read(5)).toString()).toBe('early');
    const bulk = Buffer.alloc(4_000_000, 'abcdefg');
    peer.send(bulk);
    expect((await client.read(bulk.length)).equals(bulk)).toBe(true);
    client.send(bulk);
    expect((await peer.read(bulk.length)).equals(bulk)).toBe(true);
  });

  it('honours the end of one side: what the other still sends arrives', async () => {
    const origin = await rawOrigin();
    const at = await stage(allowing('o.test', origin.port));
    const client = await opened(at, `o.test:${origin.port}`);
    const peer = await origin.peer();
    client.socket.end('last words');
    expect((await peer.read(10)).toString()).toBe('last words');
    await eventually(() => peer.state === 'ended', 'the origin sees the end');
    peer.send('answer');
    peer.socket.end();
    expect((await client.read(6)).toString()).toBe('answer');
    expect(await at.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', bytes_up: 10, bytes_down: 6 });
  });

  it('that breaks on one side is broken on the other, and cut from outside it is reset', async () => {
    const origin = await rawOrigin();
    const at = await stage(allowing('o.test', origin.port));
    const first = await opened(at, `o.test:${origin.port}`);
    (await origin.peer(1)).socket.resetAndDestroy();
    await eventually(() => first.state === 'reset', 'the client is reset');
    expect(await at.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'upstream-reset' });
    const second = await opened(at, `o.test:${origin.port}`);
    const [open] = at.rig.ctx.open.values();
    open?.cut('killed', null);
    await eventually(() => second.state === 'reset', 'the client of a cut tunnel is reset');
    expect(await at.rig.recorder.endedAt(2)).toMatchObject({ outcome: 'killed' });
    await eventually(() => at.rig.slots.open === 0, 'both have given their slots back');
  });
});

describe('what is spoken', () => {
  it('plain HTTP and refusals as on the other listeners', async () => {
    const at = await stage(allowing('o.test', 1));
    const client = await at.connect();
    client.send('GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n');
    expect(await client.readHead()).toMatchObject({ status: 403, reason: 'host-not-allowed' });
    const malformed = await at.connect();
    malformed.send('CONNECT o.test HTTP/1.1\r\nHost: o.test\r\n\r\n');
    expect(await malformed.readHead()).toMatchObject({ status: 400, reason: 'authority-malformed' });
    const odd = await at.connect();
    odd.send('GET http://o.test/ HTTP/1.1\r\nno colon\r\n\r\n');
    expect(await odd.readHead()).toMatchObject({ status: 400, reason: 'request-malformed' });
    expect(at.rig.recorder.allDecided.map(({ reason, target }) => [reason, target])).toEqual([
      ['host-not-allowed', undefined],
      ['authority-malformed', 'o.test'],
      ['request-malformed', 'http://o.test/'],
    ]);
  });

  it('http/1.1 and no other protocol, TLS 1.2 and no older version', async () => {
    const at = await stage(allowing('o.test', 1));
    const agreed = await at.connect({ ALPNProtocols: ['h2', 'http/1.1'] });
    expect((agreed.socket as tls.TLSSocket).alpnProtocol).toBe('http/1.1');
    await at.connect({ maxVersion: 'TLSv1.2' });
    await expect(at.connect({ ALPNProtocols: ['h2'] })).rejects.toThrow(/no.application.protocol/i);
    const old = { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    await expect(at.connect(old)).rejects.toThrow(/version|protocol/i);
    // Clear text on this port is no TLS: closed without an answer.
    const plain = await RawClient.connect(at.at);
    plain.send(connectHead('o.test:1'));
    await eventually(() => plain.state !== 'open', 'the connection is closed');
    expect(at.rig.recorder.entries).toEqual([]);
    expect(at.rig.logText()).toContain('a TLS handshake failed');
  });
});

describe('certificates of clients', () => {
  const entries: CertificateSettings[] = [
    { san: '*.other.test', cn: null, attributes: { queue: 'other' } },
    { san: 'spiffe://corp/agent/*', cn: 'agent *', attributes: { queue: 'release', cluster: 'c' } },
    { san: '*.agents.test', cn: null, attributes: { queue: 'late' } },
  ];
  const policy = (port: number) =>
    `allow: [{ host: o.test, ports: [${port}], protocol: any, addresses: [127.0.0.0/8], for: { queue: release } }]`;

  it('prove what the first entry that fits says', async () => {
    const origin = await rawOrigin();
    const at = await stage(policy(origin.port), { clientCa: ca }, { required: true, certificates: entries });
    await opened(at, `o.test:${origin.port}`, agent);
    const [record] = at.rig.recorder.allDecided;
    expect(record?.identity).toEqual({
      kind: 'certificate',
      attributes: { queue: 'release', cluster: 'c' },
      claimed: {},
    });
    at.entrance.use({ required: true, certificates: [] });
    const nobody = await at.connect(agent);
    nobody.send(connectHead(`o.test:${origin.port}`));
    expect((await nobody.readHead()).status).not.toBe(200);
    expect(at.rig.recorder.allDecided[1]?.identity).toEqual({ kind: 'certificate', attributes: {}, claimed: {} });
  });

  it('are required where it says so, and must be of the CA that it names', async () => {
    const at = await stage(policy(1), { clientCa: ca }, { required: true });
    const bare = await at.connect().catch(() => null);
    // TLS 1.3 tells a client without a certificate only after its own handshake is done.
    if (bare) await eventually(() => bare.state !== 'open', 'the connection is closed');
    expect(at.rig.logText()).toContain('a client without a certificate was refused');
    const serverOnly = await at.connect(server).catch(() => null);
    if (serverOnly)
      await eventually(() => serverOnly.state !== 'open', 'a certificate for servers is none for clients');
    await eventually(() => at.rig.slots.open === 0, 'no slot is held');
    expect(at.rig.recorder.entries).toEqual([]);
  });

  it('optional: none is nobody, one that nobody trusted issued is refused all the same', async () => {
    const at = await stage(policy(1), { clientCa: ca }, { required: false, certificates: entries });
    const bare = await at.connect();
    bare.send(connectHead('o.test:1'));
    expect(await bare.readHead()).toMatchObject({ status: 407, reason: 'credentials-required' });
    const wrong = await at.connect(server).catch(() => null);
    if (wrong) await eventually(() => wrong.state !== 'open', 'the connection is closed');
    expect(at.rig.logText()).toContain('a client certificate was refused');
  });
});

describe('bounds', () => {
  it('tls_handshake_timeout_ms: who does not shake hands is closed, and has held a slot until then', async () => {
    const at = await stage(allowing('o.test', 1), {}, {}, { tls_handshake_timeout_ms: 100 });
    const silent = await RawClient.connect(at.at);
    await eventually(() => at.rig.slots.open === 1, 'it has a slot');
    await eventually(() => silent.state !== 'open', 'it is closed');
    expect(at.rig.meter.hits.get('tls_handshake_timeout_ms')).toBe(1);
    await eventually(() => at.rig.slots.open === 0, 'the slot is free again');
  });

  it('client_connections_max counts a connection that only shakes hands', async () => {
    const at = await stage(allowing('o.test', 1), {}, {}, { client_connections_max: 1 });
    await at.connect();
    const second = net.connect(at.at);
    await new Promise((resolve) => second.on('error', resolve).once('close', resolve));
    expect(at.rig.meter.hits.get('client_connections_max')).toBe(1);
  });

  it('head_timeout_ms counts from the end of the handshake', async () => {
    const at = await stage(allowing('o.test', 1), {}, {}, { head_timeout_ms: 100 });
    const client = await at.connect();
    await eventually(() => client.state !== 'open', 'it is closed');
    expect(at.rig.meter.hits.get('head_timeout_ms')).toBe(1);
  });

  it('head_timeout_ms bounds a head that has begun and does not end', async () => {
    const at = await stage(allowing('o.test', 1), {}, {}, { head_timeout_ms: 100 });
    const client = await at.connect();
    client.send('GET http://o.test:1/ HTTP/1.1\r\nHost: o.test');
    expect(await client.readResponse()).toMatchObject({ status: 408, reason: 'head-timeout' });
    expect(at.rig.meter.hits.get('head_timeout_ms')).toBe(1);
  });
});

describe('behind a load balancer', () => {
  it('the PROXY header comes before the handshake, in the same packet or not', async () => {
    const origin = await rawOrigin();
    const at = await stage(
      `${allowing('o.test', origin.port)}\nproxy_protocol: { from: [127.0.0.1/32] }\nclients: { from: [127.0.0.0/8, 203.0.113.0/24] }`,
    );
    for (const from of ['203.0.113.7', '203.0.113.8']) {
      const carrier = net.connect(at.at);
      atEnd(() => void carrier.destroy());
      carrier.write(proxyHeader({ from, to: '203.0.113.1' }));
      const client = RawClient.of(tls.connect({ socket: carrier, ca, servername: 'proxy.test' }));
      client.send(connectHead(`o.test:${origin.port}`));
      expect(await client.readHead()).toMatchObject({ status: 200 });
    }
    expect(at.rig.recorder.allDecided.map(({ client }) => client)).toEqual(['203.0.113.7', '203.0.113.8']);
  });
});

describe('another certificate', () => {
  const name = (client: RawClient) => (client.socket as tls.TLSSocket).getPeerCertificate().subject.CN;

  it('counts for the next handshake, and open tunnels go on; a bad one changes nothing', async () => {
    const origin = await rawOrigin();
    const at = await stage(allowing('o.test', origin.port));
    const tunnel = await opened(at, `o.test:${origin.port}`);
    expect(name(tunnel)).toBe('first');
    at.entrance.renew({ ...certificateFor(['proxy.test'], { commonName: 'second' }), clientCa: null });
    expect(name(await at.connect())).toBe('second');
    expect(() => at.entrance.renew({ cert: server.cert, key: agent.key, clientCa: null })).toThrow();
    expect(() => at.entrance.renew({ cert: 'rubbish', key: server.key, clientCa: null })).toThrow();
    expect(name(await at.connect())).toBe('second');
    const peer = await origin.peer();
    tunnel.send('still');
    expect((await peer.read(5)).toString()).toBe('still');
  });
});
