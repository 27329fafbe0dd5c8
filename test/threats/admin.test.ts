// Section "The admin listener" of docs/threat-model.md: jobs run on the same host, and the operator's browser shows other sites too.
// Neither gets anything from the listener that tells what everybody does and cuts what is open.
import { statSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AdminClient } from '../support/admin.ts';
import { PROCESSES_MS } from '../support/proxy-process.ts';
import { startWorld, type World } from '../support/world.ts';

let world: World;
let admin: AdminClient;

beforeAll(async () => {
  world = await startWorld({ allow: ['a.test'] });
  admin = new AdminClient(world.proxy.admin, world.auditFile);
}, PROCESSES_MS);
afterAll(() => world.close());

const code = (body: string): string => JSON.parse(body).error.code;

describe('G1 without the token there is nothing but health', () => {
  it('health needs no token, whatever the Host', async () => {
    for (const path of ['/healthz', '/readyz'])
      expect(await admin.ask(path, { Host: 'balancer.example' })).toMatchObject({ status: 200 });
  });

  it.each(['/metrics', '/v1/status', '/v1/events', '/v1/policy', '/v1/tunnels', '/v1/openapi.json', '/v1/nothing'])(
    '%s needs it',
    async (path) => {
      for (const headers of [
        {},
        { Authorization: `Bearer ${admin.token}x` },
        { Authorization: admin.token },
        { Authorization: `Basic ${admin.token}` },
        { Cookie: `token=${admin.token}` },
      ]) {
        const reply = await admin.ask(path, headers);
        expect(reply).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer realm="sallyport admin"' } });
        expect(code(reply.body)).toBe('admin-unauthorized');
      }
      expect(await admin.ask(`${path}?token=${admin.token}`)).toMatchObject({ status: 401 });
    },
  );
});

describe('G2 the token is for the user of the proxy alone', () => {
  it('the token is made at the first start, for the user of the proxy alone, and outlives a restart', async () => {
    expect(statSync(`${world.auditFile}.admin-token`).mode & 0o777).toBe(0o600);
    expect(admin.token).toMatch(/^[\w-]{43}$/);
    await world.proxy.stop();
    await world.restart();
    const before = admin.token;
    admin = new AdminClient(world.proxy.admin, world.auditFile);
    expect(admin.token).toBe(before);
  });
});

describe('G3 a page of another site gets nothing, even with the token', () => {
  it.each([
    ['a name that points here', { Host: 'rebound.evil.example' }],
    ['a name that points here, with our port', { Host: 'rebound.evil.example:3129' }],
    ['another site that sends', { Origin: 'https://evil.example' }],
    ['a page without an origin', { Origin: 'null' }],
    ['the same host and another scheme', { Host: '127.0.0.1:3129', Origin: 'https://127.0.0.1:3129' }],
    ['the same host and another port', { Host: '127.0.0.1:3129', Origin: 'http://127.0.0.1:80' }],
    ['a fetch of another site', { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors' }],
    ['a fetch of another port', { 'Sec-Fetch-Site': 'same-site', 'Sec-Fetch-Mode': 'cors' }],
    [
      'a frame in another site',
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'iframe' },
    ],
  ])('%s is refused even with the token', async (_, headers) => {
    const reply = await admin.get('/v1/status', headers);
    expect(reply.status).toBe(403);
    expect(code(reply.body)).toBe('admin-origin');
  });

  it.each([
    ['an address', { Host: '127.0.0.1:3129', Origin: 'http://127.0.0.1:3129' }],
    ['localhost', { Host: 'localhost:3129', Origin: 'http://localhost:3129', 'Sec-Fetch-Site': 'same-origin' }],
    ['an IPv6 address', { Host: '[::1]:3129' }],
    [
      'a link that somebody followed',
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' },
    ],
  ])('%s is ours', async (_, headers) => {
    expect(await admin.get('/v1/status', headers)).toMatchObject({ status: 200 });
  });
});

describe('G4 no answer may be framed, cached, sniffed or run', () => {
  it('whatever the status, and none sets a cookie', async () => {
    for (const reply of [await admin.get('/v1/status'), await admin.ask('/v1/status'), await admin.ask('/healthz')]) {
      expect(reply.headers).toMatchObject({
        'content-security-policy':
          "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        'cross-origin-resource-policy': 'same-origin',
        'referrer-policy': 'no-referrer',
      });
      expect(reply.headers['set-cookie']).toBeUndefined();
      expect(reply.headers['access-control-allow-origin']).toBeUndefined();
    }
  });
});

describe('G5 what the listener does not know is refused by a code', () => {
  it.each([
    ['a method that nothing takes', 'POST', '/v1/policy', '', 405, 'admin-request'],
    ['a method that this page does not take', 'DELETE', '/v1/policy', '', 405, 'admin-request'],
    ['a body', 'GET', '/v1/policy', '{}', 413, 'admin-request'],
    ['an unknown parameter', 'GET', '/v1/policy?rules=1', '', 400, 'admin-request'],
    ['a parameter twice', 'GET', '/v1/policy?limit=1&limit=2', '', 400, 'admin-request'],
    ['too much at once', 'GET', '/v1/policy?limit=2001', '', 400, 'admin-request'],
    ['no moment', 'GET', '/v1/report?from=yesterday', '', 400, 'admin-request'],
    ['a window that is turned around', 'GET', '/v1/report?from=1h&to=2h', '', 400, 'admin-request'],
    ['a target that is none', 'GET', '/v1/explain?target=a%20b', '', 400, 'admin-request'],
    ['an attribute that is none', 'GET', '/v1/explain?target=a.test&as=boss=me', '', 400, 'admin-request'],
    ['an event id that is none', 'GET', '/v1/events?after=7', '', 400, 'admin-request'],
    ['a path out of the site', 'GET', '/..%2f..%2fetc/passwd', '', 404, 'admin-not-found'],
    ['another host in the target', 'GET', '//evil.example/v1/policy', '', 404, 'admin-not-found'],
  ])('%s is refused', async (_, method, path, body, status, wanted) => {
    const reply = await admin.ask(
      path,
      { Authorization: `Bearer ${admin.token}`, ...(body === '' ? {} : { 'Content-Length': body.length }) },
      method,
      body,
    );
    expect([reply.status, code(reply.body)]).toEqual([status, wanted]);
  });
});
