// Fetching the issuer's keys: over our own resolver, guard and dial, from a TLS origin on loopback; what is refused, and bounds.
import type http from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { fetchKeys, type KeyRoad } from '../../src/identity/key-fetch.ts';
import { createMeter, DEFAULT_LIMITS, type LimitName } from '../../src/limits.ts';
import type { Resolution, Resolver } from '../../src/net/resolve.ts';
import { parseAuthority } from '../../src/policy/authority.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { certificateFor, testCa } from '../support/tls.ts';

const certificate = certificateFor(['issuer.test']);
const origins: Origin[] = [];
afterEach(async () => {
  for (const origin of origins.splice(0)) await origin.close();
});

async function issuerAt(
  answer: http.RequestListener,
  host = 'issuer.test',
  limits: Partial<Record<LimitName, number>> = {},
) {
  const origin = await startHttpOrigin(answer, { tls: certificate });
  origins.push(origin);
  const parsed = parseAuthority(`${host}:${origin.port}`);
  if (!parsed.ok) throw new Error(parsed.problem);
  const asked: string[] = [];
  const meter = createMeter();
  const state = { found: { ok: true, addresses: ['127.0.0.1'] } as Resolution, admitted: ['127.0.0.1'] };
  const road: KeyRoad = {
    resolver: {
      resolve: (name: string) => {
        asked.push(name);
        return state.found;
      },
    } as unknown as Resolver,
    admits: (_, address) => state.admitted.includes(address),
    limits: { ...DEFAULT_LIMITS, ...limits },
    meter,
    ca: testCa().ca,
  };
  const fetch = () => fetchKeys({ authority: parsed.authority, path: '/keys?x=1', addresses: [] }, road);
  return { fetch, origin, asked, state, meter };
}

const ok: http.RequestListener = (request, response) =>
  response.end(`${request.method} ${request.url} ${request.headers.host}`);

describe('fetchKeys', () => {
  it('asks the host by name over TLS, resolved by us and dialled at a checked address', async () => {
    const { fetch, origin, asked } = await issuerAt(ok);
    expect(await fetch()).toBe(`GET /keys?x=1 issuer.test:${origin.port}`);
    expect(asked).toEqual(['issuer.test']);
  });

  it('dials nothing where the guard admits no address, and nothing but what it admits', async () => {
    const { fetch, origin, state } = await issuerAt(ok);
    state.admitted = [];
    await expect(fetch()).rejects.toThrow('resolves only to addresses that may not be dialled: 127.0.0.1');
    expect(origin.connections()).toBe(0);
    state.found = { ok: true, addresses: ['127.0.0.2', '127.0.0.1'] };
    state.admitted = ['127.0.0.1'];
    expect(await fetch()).toContain('GET /keys');
  });

  it('believes no certificate that is not for the host', async () => {
    const { fetch } = await issuerAt(ok, 'other.test');
    await expect(fetch()).rejects.toThrow(/altnames|does not match/i);
  });

  it.each<[string, http.RequestListener, RegExp]>([
    [
      'a redirect is not followed',
      (_, response) => response.writeHead(302, { Location: 'http://127.0.0.1/' }).end(),
      /answers 302/,
    ],
    ['an error', (_, response) => response.writeHead(500).end(), /answers 500/],
    [
      'an answer that is cut short',
      (_, response) => {
        response.writeHead(200, { 'Content-Length': 9 });
        response.write('x', () => response.socket?.destroySoon());
      },
      /cut short|hang up|aborted/,
    ],
    ['no answer at all', (_, response) => response.socket?.destroy(), /hang up|reset/i],
    ['an answer without end', (_, response) => void response.write('x'.repeat(2_000)), /larger than 1024 bytes/],
  ])('%s', async (_, answer, message) => {
    const { fetch } = await issuerAt(answer, 'issuer.test', { jwks_bytes: 1_024 });
    await expect(fetch()).rejects.toThrow(message);
  });

  it('counts an answer that is too large or too late as a limit that was hit', async () => {
    const large = await issuerAt((_, response) => response.end('x'.repeat(1_025)), 'issuer.test', {
      jwks_bytes: 1_024,
    });
    await expect(large.fetch()).rejects.toThrow('1024');
    expect(large.meter.hits.get('jwks_bytes')).toBe(1);
    const exact = await issuerAt((_, response) => response.end('x'.repeat(1_024)), 'issuer.test', {
      jwks_bytes: 1_024,
    });
    expect(await exact.fetch()).toHaveLength(1_024);
    const silent = await issuerAt(() => {}, 'issuer.test', { jwks_timeout_ms: 100 });
    await expect(silent.fetch()).rejects.toThrow('did not answer within 100 ms');
    expect(silent.meter.hits.get('jwks_timeout_ms')).toBe(1);
  });

  it('says why a name cannot be resolved or an address not be reached', async () => {
    const { fetch, state, origin } = await issuerAt(ok);
    state.found = { ok: false, code: 'dns-failed', detail: 'NXDOMAIN' };
    await expect(fetch()).rejects.toThrow('issuer.test: dns-failed, NXDOMAIN');
    state.found = { ok: true, addresses: ['127.0.0.1'] };
    await origin.close();
    await expect(fetch()).rejects.toThrow('connect-refused');
  });
});
