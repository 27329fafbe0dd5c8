// The proxy's own GET: its limits are those that the asker names, counted where they are hit; a redirect and a foreign certificate are no answer.
import type http from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { createMeter, DEFAULT_LIMITS, type LimitName } from '../../src/limits.ts';
import { type GuardedRoad, guardedGet } from '../../src/net/guarded-get.ts';
import type { Resolver } from '../../src/net/resolve.ts';
import { parseAuthority } from '../../src/policy/authority.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { certificateFor, testCa } from '../support/tls.ts';

const origins: Origin[] = [];
afterEach(async () => {
  for (const origin of origins.splice(0)) await origin.close();
});

async function get(
  answer: http.RequestListener,
  limits: Partial<Record<LimitName, number>> = {},
  names = ['policy.test'],
) {
  const origin = await startHttpOrigin(answer, { tls: certificateFor(names) });
  origins.push(origin);
  const parsed = parseAuthority(`policy.test:${origin.port}`);
  if (!parsed.ok) throw new Error(parsed.problem);
  const meter = createMeter();
  const road: GuardedRoad = {
    resolver: { resolve: () => ({ ok: true, addresses: ['127.0.0.1'] }) } as unknown as Resolver,
    admits: () => true,
    limits: { ...DEFAULT_LIMITS, ...limits },
    meter,
    ca: testCa().ca,
  };
  const ask = {
    headers: { 'If-None-Match': '"1"' },
    timeout: 'policy_fetch_timeout_ms',
    bytes: 'policy_bundle_bytes',
  } as const;
  const place = { authority: parsed.authority, path: '/b', addresses: [] };
  const answered = guardedGet(place, road, { ...ask, statuses: [200, 304] });
  return { answered, meter };
}

describe('guardedGet', () => {
  it('takes the answers that are asked for, with their headers', async () => {
    const { answered } = await get((request, response) =>
      response.writeHead(request.headers['if-none-match'] === '"1"' ? 304 : 200, { ETag: '"1"' }).end(),
    );
    expect(await answered).toMatchObject({ status: 304, headers: { etag: '"1"' }, body: '' });
  });

  it('policy_bundle_bytes: as many, and not one more', async () => {
    const limits = { policy_bundle_bytes: 2_000 };
    const whole = await get((_, response) => response.end('x'.repeat(2_000)), limits);
    expect((await whole.answered).body).toHaveLength(2_000);
    const { answered, meter } = await get((_, response) => response.end('x'.repeat(2_001)), limits);
    await expect(answered).rejects.toThrow('larger than 2000 bytes');
    expect(meter.hits.get('policy_bundle_bytes')).toBe(1);
  });

  it('policy_fetch_timeout_ms: a host that is silent', async () => {
    const { answered, meter } = await get(() => undefined, { policy_fetch_timeout_ms: 150 });
    await expect(answered).rejects.toThrow('did not answer within 150 ms');
    expect(meter.hits.get('policy_fetch_timeout_ms')).toBe(1);
  });

  it.each([301, 302, 307, 404, 500])('follows nothing and takes nothing else: %i', async (status) => {
    const { answered } = await get((_, response) =>
      response.writeHead(status, { Location: 'https://policy.test/b' }).end(),
    );
    await expect(answered).rejects.toThrow(`policy.test answers ${status}`);
  });

  it('a certificate of another name is refused', async () => {
    const { answered } = await get((_, response) => response.end('x'), {}, ['other.test']);
    await expect(answered).rejects.toThrow(/Hostname|altnames/);
  });
});
