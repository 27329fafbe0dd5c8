// Tokens of jobs: what a right one proves, and which code each wrong one gets.
import { createSecretKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { OidcSettings } from '../../src/config/identity.ts';
import { fixedKeys, KeysUnavailable } from '../../src/identity/keys.ts';
import { verifyToken } from '../../src/identity/token.ts';
import { AUDIENCE, ISSUER, type TokenChanges, tokenIssuer, unsigned } from '../support/tokens.ts';

const NOW_S = 1_800_000_000;
const issuer = tokenIssuer('k1');
const other = tokenIssuer('k1');
const keys = fixedKeys(issuer.jwks);
const settings: OidcSettings = {
  issuer: ISSUER,
  audiences: ['first', AUDIENCE],
  organizations: ['acme'],
  jwks: { from: 'file', text: issuer.jwks },
  leewayS: 30,
  algorithms: ['RS256'],
  bindSource: true,
};

const verify = (token: string, nowS = NOW_S) => verifyToken(token, settings, keys, nowS * 1_000);
const made = (changes: TokenChanges = {}) => issuer.token({ at: NOW_S, ...changes });
const codeOf = async (token: string, nowS = NOW_S) => {
  const found = await verify(token, nowS);
  return found.ok ? 'accepted' : found.code;
};

describe('a right token', () => {
  it('proves which job it is of, until it expires', async () => {
    expect(await verify(await made())).toEqual({
      ok: true,
      expiresMs: (NOW_S + 3_600) * 1_000,
      attributes: {
        organization: 'acme',
        pipeline: 'web',
        pipeline_id: '0188a5c8-0000-4000-8000-00000000aaaa',
        branch: 'main',
        step: 'deploy',
        queue: 'default',
        job: '0188a5c8-0000-4000-8000-00000000bbbb',
        build: '7',
        agent: '0188a5c8-0000-4000-8000-00000000cccc',
        cluster: '0188a5c8-0000-4000-8000-00000000dddd',
      },
    });
  });

  it('leaves out what it does not say; the queue of the cluster counts before the tag of the agent', async () => {
    const claims = { step_key: null, pipeline_id: undefined, cluster_id: '', queue_key: 'release' };
    const found = await verify(await made({ claims }));
    expect(found).toMatchObject({ ok: true, attributes: { queue: 'release' } });
    expect(Object.keys((found as { attributes: object }).attributes)).not.toContain('step');
    expect(Object.keys((found as { attributes: object }).attributes)).not.toContain('cluster');
  });

  it('may have several audiences, and clocks may differ by the leeway', async () => {
    expect(await codeOf(await made({ claims: { aud: ['x', AUDIENCE] } }))).toBe('accepted');
    expect(await codeOf(await made(), NOW_S - 30)).toBe('accepted');
    expect(await codeOf(await made(), NOW_S + 3_600 + 29)).toBe('accepted');
  });
});

describe('a wrong token says what is wrong with it', () => {
  it.each<[string, string, TokenChanges]>([
    ['another signer with the same key id', 'token-signature', { key: other.keys.privateKey }],
    ['a key id that nobody publishes', 'token-key-unknown', { header: { kid: 'k2' } }],
    ['another way of signing', 'token-algorithm', { header: { alg: 'RS512' } }],
    ['another audience', 'token-audience', { claims: { aud: 'sts.amazonaws.com' } }],
    ['no audience', 'token-audience', { claims: { aud: undefined } }],
    ['a part of the audience', 'token-audience', { claims: { aud: AUDIENCE.slice(0, -1) } }],
    ['another issuer', 'token-issuer', { claims: { iss: 'https://evil.example' } }],
    ['an issuer with a slash more', 'token-issuer', { claims: { iss: `${ISSUER}/` } }],
    ['no issuer', 'token-issuer', { claims: { iss: undefined } }],
    ['another organization', 'token-organization', { claims: { organization_slug: 'evil' } }],
    ['an organization in capitals', 'token-organization', { claims: { organization_slug: 'ACME' } }],
    ['no organization', 'token-claims', { claims: { organization_slug: undefined } }],
    ['no pipeline', 'token-claims', { claims: { pipeline_slug: null } }],
    ['no job', 'token-claims', { claims: { job_id: undefined } }],
    ['a job that is no id', 'token-claims', { claims: { job_id: '../lease' } }],
    ['no expiry', 'token-claims', { claims: { exp: undefined } }],
    ['an expiry that is a text', 'token-claims', { claims: { exp: 'never' } }],
    ['no time of issue', 'token-claims', { claims: { iat: undefined } }],
    ['a branch with a line end', 'token-claims', { claims: { build_branch: 'a\nb' } }],
    ['a branch that is a list', 'token-claims', { claims: { build_branch: ['main'] } }],
    ['a branch without end', 'token-claims', { claims: { build_branch: 'x'.repeat(513) } }],
    ['a critical header that nobody knows', 'token-malformed', { header: { crit: ['x'], x: 1 } }],
  ])('%s: %s', async (_, code, changes) => {
    expect(await codeOf(await made(changes).catch(() => made().then((token) => forged(token, changes))))).toBe(code);
  });

  it('in time: expired, and not yet valid', async () => {
    const token = await made();
    expect(await codeOf(token, NOW_S + 3_600 + 31)).toBe('token-expired');
    expect(await codeOf(token, NOW_S - 31)).toBe('token-not-yet-valid');
  });

  it('unsigned, or signed with the public key as a shared secret', async () => {
    const token = await made();
    for (const alg of ['none', 'None', 'NONE', 'HS256', 'RS256'])
      expect(await codeOf(unsigned(token, alg))).toMatch(/^token-(?:algorithm|key-unknown|signature|malformed)$/);
    expect(await codeOf(unsigned(token))).toBe('token-algorithm');
    const pem = issuer.keys.publicKey.export({ type: 'spki', format: 'pem' });
    const key = createSecretKey(Buffer.from(pem));
    expect(await codeOf(await issuer.token({ at: NOW_S, header: { alg: 'HS256' }, key }))).toBe('token-algorithm');
  });

  it.each([
    ['nothing', ''],
    ['a word', 'hunter2'],
    ['two parts', 'a.b'],
    ['four parts', 'a.b.c.d'],
    ['parts that are no base64', '!.!.!'],
    ['a header that is no JSON', 'YQ.YQ.YQ'],
  ])('%s: token-malformed', async (_, text) => {
    expect(await codeOf(text)).toBe('token-malformed');
  });

  it('with one changed character anywhere', async () => {
    const token = await made();
    for (let at = 0; at < token.length; at += 97) {
      const changed = token.charAt(at) === 'A' ? 'B' : 'A';
      expect(await codeOf(`${token.slice(0, at)}${changed}${token.slice(at + 1)}`)).not.toBe('accepted');
    }
  });
});

describe('keys that cannot be used', () => {
  it('are no fault of the token: 503', async () => {
    const token = await made();
    const unavailable = async () => {
      throw new KeysUnavailable();
    };
    expect(await verifyToken(token, settings, unavailable, NOW_S * 1_000)).toEqual({
      ok: false,
      code: 'token-keys-unavailable',
    });
    const [jwk] = (JSON.parse(issuer.jwks) as { keys: [Record<string, unknown>] }).keys;
    const damaged = fixedKeys(JSON.stringify({ keys: [{ ...jwk, n: '!!' }] }));
    expect(await verifyToken(token, settings, damaged, NOW_S * 1_000)).toMatchObject({
      code: 'token-keys-unavailable',
    });
  });

  it('with a shared or private part are refused', () => {
    const set = (key: object) => JSON.stringify({ keys: [key] });
    expect(() => fixedKeys(set({ kty: 'oct', k: 'AAAA' }))).toThrow('private or shared');
    expect(() => fixedKeys(set({ kty: 'RSA', n: 'AQ', e: 'AQAB', d: 'AQ' }))).toThrow('private or shared');
    expect(() => fixedKeys('{"keys": []}')).toThrow('no list of keys');
    expect(() => fixedKeys('<html>')).toThrow('not JSON');
    expect(() => fixedKeys(set({ kty: 'odd' }))).toThrow('no public key');
    expect(() => fixedKeys(JSON.stringify({ keys: Array(65).fill({ kty: 'RSA' }) }))).toThrow('65 keys');
  });
});

/** A token whose header jose would not write: the signature is then another one's. */
function forged(token: string, { header = {} }: TokenChanges): string {
  const [head = '', ...rest] = token.split('.');
  const before = JSON.parse(Buffer.from(head, 'base64url').toString()) as object;
  return [Buffer.from(JSON.stringify({ ...before, ...header })).toString('base64url'), ...rest].join('.');
}
