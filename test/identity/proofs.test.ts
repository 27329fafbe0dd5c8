// Credentials → identity: claims, static users, what is cached and for how long, what is limited.

import { describe, expect, it } from 'vitest';
import type { OidcSettings } from '../../src/config/identity.ts';
import type { User } from '../../src/config/users-file.ts';
import type { Client, Identified } from '../../src/identity/identify.ts';
import { hashPassword } from '../../src/identity/password.ts';
import { Proofs } from '../../src/identity/proofs.ts';
import { createMeter, DEFAULT_LIMITS, type LimitName } from '../../src/limits.ts';
import { parseHttpsTarget } from '../../src/policy/authority.ts';
import { ANONYMOUS, type Attributes } from '../../src/policy/record.ts';
import fc from '../support/property.ts';
import { AUDIENCE, ISSUER, type TokenChanges, tokenIssuer } from '../support/tokens.ts';

const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;
const client = (address: string, identity: Client['identity'] = ANONYMOUS): Client => ({
  address,
  allowed: true,
  conveys: false,
  identity,
});
const stranger = client('127.0.0.1');
const known = client('10.0.0.1', { kind: 'address', attributes: { queue: 'q' }, claimed: {} });

const secret = await hashPassword('correct horse battery');
const user = (name: string, attributes: Attributes = {}): User => ({ name, hash: secret, attributes });

function make(
  users: readonly User[],
  limits: Partial<Record<LimitName, number>> = {},
  fetchKeys: () => Promise<string> = () => Promise.reject(new Error('not asked for here')),
) {
  const meter = createMeter();
  const clock = { ms: 1_000_000 };
  const proofs = new Proofs({
    limits: { ...DEFAULT_LIMITS, ...limits },
    meter,
    now: () => clock.ms,
    fetchKeys,
    onProblem: () => {},
  });
  proofs.use({ oidc: null, users });
  return { proofs, meter, clock };
}

const refused = (code: string): Identified => ({ ok: false, code }) as Identified;

describe('without users', () => {
  const { proofs } = make([]);

  it('is the address without credentials', () => {
    expect(proofs.identify(stranger, undefined)).toEqual({ ok: true, identity: ANONYMOUS });
    expect(proofs.identify(known, undefined)).toEqual({ ok: true, identity: known.identity });
  });

  it.each([
    ['pipeline', { pipeline: 'pipeline' }],
    ['pipeline/job', { pipeline: 'pipeline', job: 'job' }],
    ['pipeline%2Fjob', { pipeline: 'pipeline', job: 'job' }],
    ['pipeline/job/with/slashes', { pipeline: 'pipeline', job: 'job/with/slashes' }],
    ['a%20b/c%C3%BC', { pipeline: 'a b', job: 'cü' }],
    ['x'.repeat(256), { pipeline: 'x'.repeat(256) }],
  ])('takes %s without a password for a claim, which proves nothing', (username, claimed) => {
    const found = proofs.identify(stranger, basic(`${username}:`));
    expect(found).toEqual({ ok: true, identity: { kind: 'claimed', attributes: {}, claimed } });
  });

  it('keeps what the address proves beside what is claimed', () => {
    const found = proofs.identify(known, basic('p/j:'));
    const identity = { kind: 'address', attributes: { queue: 'q' }, claimed: { pipeline: 'p', job: 'j' } };
    expect(found).toEqual({ ok: true, identity });
    // The same header from elsewhere proves nothing, though it was seen before.
    expect(proofs.identify(stranger, basic('p/j:'))).toMatchObject({ identity: { kind: 'claimed', attributes: {} } });
    expect(proofs.identify(known, basic('p/j:'))).toMatchObject({ identity: { kind: 'address' } });
  });

  it.each([
    ['an empty name', ':'],
    ['an empty pipeline', '/job:'],
    ['an empty job', 'pipeline/:'],
    ['a broken escape', 'a%zz:'],
    ['half an escape', 'a%2:'],
    ['an escape that is no UTF-8', 'a%ff:'],
    ['an escaped line end', 'p%0d%0aSet-Cookie%3a x/j:'],
    ['an escaped NUL', 'p%00/j:'],
    ['an escaped terminal sequence', 'p%1b[31m:'],
    ['a name that is too long', `${'x'.repeat(257)}:`],
  ])('refuses %s', (_, text) => {
    expect(proofs.identify(stranger, basic(text))).toEqual(refused('credentials-malformed'));
  });

  it('refuses what cannot be read, and any password at once, since none can be verified', () => {
    expect(proofs.identify(stranger, 'Bearer x')).toEqual(refused('credentials-malformed'));
    expect(proofs.identify(stranger, basic('pipeline/job:secret'))).toEqual(refused('credentials-invalid'));
    expect(proofs.identify(known, basic('pipeline/job:secret'))).toEqual(refused('credentials-invalid'));
  });
});

describe('a user', () => {
  const right = basic('ann:correct horse battery');

  it('proves its name and attributes, beside what the address proves, which it overrules', async () => {
    const { proofs } = make([user('ann', { pipeline: 'web', queue: 'own' })]);
    expect(await proofs.identify(known, right)).toMatchObject({
      ok: true,
      identity: { kind: 'user', attributes: { queue: 'own', pipeline: 'web', user: 'ann' }, claimed: {} },
    });
  });

  it('is verified once; then the answer is at hand, and is the same object for the same address', async () => {
    const { proofs } = make([user('ann')]);
    const first = proofs.identify(stranger, right);
    expect(first).toBeInstanceOf(Promise);
    // Those that come meanwhile wait for the same verification.
    const both = await Promise.all([first, proofs.identify(stranger, right)]);
    const again = proofs.identify(stranger, right) as Extract<Identified, { ok: true }>;
    expect(both).toEqual([again, again]);
    expect((proofs.identify(stranger, right) as typeof again).identity).toBe(again.identity);
  });

  it('is verified again after credentials_ttl_ms, and when its password or attributes changed', async () => {
    const { proofs, clock } = make([user('ann')], { credentials_ttl_ms: 1_000 });
    await proofs.identify(stranger, right);
    clock.ms += 999;
    expect(proofs.identify(stranger, right)).not.toBeInstanceOf(Promise);
    clock.ms += 1;
    const again = proofs.identify(stranger, right);
    expect(again).toBeInstanceOf(Promise);
    await again;
    proofs.use({ oidc: null, users: [user('ann')] });
    expect(proofs.identify(stranger, right)).not.toBeInstanceOf(Promise);
    proofs.use({ oidc: null, users: [] });
    expect(proofs.identify(stranger, right)).toEqual(refused('credentials-invalid'));
  });

  it('that a reload takes out while its password is being verified is refused', async () => {
    const { proofs } = make([user('ann')]);
    const pending = proofs.identify(stranger, right);
    proofs.use({ oidc: null, users: [user('bob')] });
    expect(await pending).toEqual(refused('credentials-invalid'));
  });

  it('that does not exist gets the same answer as a wrong password, after the same work', async () => {
    const { proofs } = make([user('ann')]);
    for (const header of [basic('ann:wrong'), basic('nobody:correct horse battery')]) {
      const pending = proofs.identify(stranger, header);
      expect(pending).toBeInstanceOf(Promise);
      expect(await pending).toEqual(refused('credentials-invalid'));
      // A client that repeats itself is not worth the work.
      expect(proofs.identify(stranger, header)).toEqual(refused('credentials-invalid'));
    }
  });
});

describe('limits', () => {
  it('wrong passwords of an address are limited, right ones are not counted, other addresses not affected', async () => {
    const { proofs, meter, clock } = make([user('ann')], { password_attempts_per_min: 2 });
    const right = basic('ann:correct horse battery');
    expect(await proofs.identify(stranger, basic('ann:wrong 1'))).toEqual(refused('credentials-invalid'));
    expect(await proofs.identify(stranger, right)).toMatchObject({ ok: true });
    expect(await proofs.identify(stranger, basic('ann:wrong 2'))).toEqual(refused('credentials-invalid'));
    expect(proofs.identify(stranger, basic('ann:wrong 3'))).toEqual(refused('attempts-exceeded'));
    expect(meter.hits.get('password_attempts_per_min')).toBe(1);
    // What was verified before needs no attempt.
    expect(proofs.identify(stranger, right)).toMatchObject({ ok: true });
    expect(await proofs.identify(known, right)).toMatchObject({ ok: true });
    clock.ms += 30_000;
    expect(await proofs.identify(stranger, basic('ann:wrong 4'))).toEqual(refused('credentials-invalid'));
    expect(proofs.identify(stranger, basic('ann:wrong 5'))).toEqual(refused('attempts-exceeded'));
  });

  it('verifications_pending_max: one more is refused as busy', async () => {
    const { proofs, meter } = make([user('ann')], { verifications_pending_max: 1 });
    const first = proofs.identify(stranger, basic('ann:wrong'));
    expect(proofs.identify(known, basic('ann:other'))).toEqual(refused('credentials-busy'));
    expect(meter.hits.get('verifications_pending_max')).toBe(1);
    await first;
    expect(await proofs.identify(known, basic('ann:other'))).toEqual(refused('credentials-invalid'));
  });

  it('credentials_cached_max: the least used is verified again', async () => {
    const { proofs } = make(
      ['u0', 'u1', 'u2'].map((name) => user(name)),
      { credentials_cached_max: 2 },
    );
    for (const at of [0, 1, 2]) await proofs.identify(stranger, basic(`u${at}:correct horse battery`));
    expect(proofs.identify(stranger, basic('u1:correct horse battery'))).not.toBeInstanceOf(Promise);
    expect(proofs.identify(stranger, basic('u0:correct horse battery'))).toBeInstanceOf(Promise);
  });
});

describe('a token of a job', () => {
  const issuer = tokenIssuer();
  const oidc: OidcSettings = {
    issuer: ISSUER,
    audiences: [AUDIENCE],
    organizations: ['acme'],
    jwks: { from: 'file', text: issuer.jwks },
    leewayS: 30,
    algorithms: ['RS256'],
    bindSource: true,
  };
  const START_MS = 1_000_000;
  const token = (changes: TokenChanges = {}) => issuer.token({ at: START_MS / 1_000, ...changes });
  const start = (settings: Partial<OidcSettings> = {}, limits: Partial<Record<LimitName, number>> = {}) => {
    const made = make([], limits);
    made.proofs.use({ users: [], oidc: { ...oidc, ...settings } });
    return made;
  };

  it('is the password of user buildkite, verified once, and known until it expires', async () => {
    const { proofs, clock } = start();
    const header = basic(`buildkite:${await token()}`);
    const first = proofs.identify(known, header);
    expect(first).toBeInstanceOf(Promise);
    expect(await first).toMatchObject({
      ok: true,
      identity: {
        kind: 'job',
        attributes: { pipeline: 'web', job: expect.any(String), queue: 'default' },
        claimed: {},
      },
    });
    clock.ms += 3_600_000 + 29_999;
    expect(proofs.identify(known, header)).toMatchObject({ ok: true });
    clock.ms += 1;
    expect(proofs.identify(known, header)).toEqual(refused('token-expired'));
    expect(proofs.identify(known, header)).toEqual(refused('token-expired'));
  });

  it('belongs to the first address that uses it, also where two come at once', async () => {
    const { proofs } = start();
    const header = basic(`buildkite:${await token()}`);
    const [one, two] = await Promise.all([proofs.identify(known, header), proofs.identify(stranger, header)]);
    expect(one).toMatchObject({ ok: true });
    expect(two).toEqual(refused('token-source'));
    expect(proofs.identify(stranger, header)).toEqual(refused('token-source'));
    expect(proofs.identify(known, header)).toMatchObject({ ok: true });
    // The same token by the job API is the same token.
    expect(await proofs.job(stranger, await token())).toEqual(refused('token-source'));
    expect(await proofs.job(known, await token())).toMatchObject({ ok: true, proof: { kind: 'job' } });
  });

  it('belongs to it however the header or the signature is spelled, and after its entry was dropped for others', async () => {
    const { proofs } = start({}, { credentials_cached_max: 64 });
    const plain = await token();
    const header = basic(`buildkite:${plain}`);
    expect(await proofs.identify(known, header)).toMatchObject({ ok: true });
    // The last digit of a 2,048 bit signature has four bits that nobody reads.
    const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = DIGITS.indexOf(plain.at(-1) ?? '');
    const spelled = `${plain.slice(0, -1)}${DIGITS[last ^ 1]}`;
    const headers = [
      header.replace('Basic', 'basic'),
      header.replace(' ', '   '),
      `${header} `,
      header.replace(/=*$/, ''),
      basic(`buildkite:${spelled}`),
    ];
    for (const other of headers)
      expect(await proofs.identify(stranger, other), other.slice(0, 12)).toEqual(refused('token-source'));
    for (const other of headers) expect(await proofs.identify(known, other)).toMatchObject({ ok: true });
    // As many spellings as the cache has entries, all from who may use it, leave others' entries where they are.
    const mine = await token({ claims: { job_id: '0188a5c8-0000-4000-8000-00000000eeee' } });
    for (let blanks = 2; blanks < 70; blanks++)
      await proofs.identify(stranger, basic(`buildkite:${mine}`).replace(' ', ' '.repeat(blanks)));
    expect(proofs.identify(known, header)).toMatchObject({ ok: true });
  });

  it('may be used from anywhere with bind_source: false', async () => {
    const { proofs } = start({ bindSource: false });
    const header = basic(`buildkite:${await token()}`);
    expect(await proofs.identify(known, header)).toMatchObject({ ok: true, identity: { kind: 'job' } });
    expect(proofs.identify(stranger, header)).toMatchObject({ ok: true, identity: { kind: 'job' } });
  });

  it('is verified again after a reload that changed what counts, and stays known after another one', async () => {
    const { proofs } = start();
    const header = basic(`buildkite:${await token()}`);
    await proofs.identify(known, header);
    proofs.use({ users: [user('ann')], oidc: { ...oidc } });
    expect(proofs.identify(known, header)).toMatchObject({ ok: true });
    proofs.use({ users: [], oidc: { ...oidc, organizations: ['other'] } });
    expect(await proofs.identify(known, header)).toEqual(refused('token-organization'));
    proofs.use({ users: [], oidc: null });
    expect(await proofs.identify(known, header)).toEqual(refused('credentials-invalid'));
  });

  it('that is wrong is no attempt at a password: neighbours on the address are not kept out', async () => {
    const { proofs } = start({}, { password_attempts_per_min: 1 });
    for (let at = 0; at < 5; at++)
      expect(await proofs.identify(stranger, basic(`buildkite:wrong${at}`))).toEqual(refused('token-malformed'));
    expect(await proofs.identify(stranger, basic(`buildkite:${await token()}`))).toMatchObject({ ok: true });
  });

  it('waits for the keys of the issuer in no more than half of the places, so that others have theirs', async () => {
    const keys = Promise.withResolvers<string>();
    const { proofs, meter } = make([], { verifications_pending_max: 4 }, () => keys.promise);
    const place = parseHttpsTarget('https://issuer.test/jwks');
    if (!place.ok) throw new Error(place.problem);
    const { authority, path } = place;
    proofs.use({ users: [], oidc: { ...oidc, jwks: { from: 'url', authority, path, addresses: [] } } });
    const headerWith = async (kid: string) => basic(`buildkite:${await token({ header: { kid } })}`);
    const [a = '', b = '', c = '', d = ''] = await Promise.all(['a', 'b', 'c', 'd'].map(headerWith));
    const good = basic(`buildkite:${await token()}`);
    const waiting = [proofs.identify(stranger, a), proofs.identify(stranger, b)];
    expect(proofs.identify(stranger, c)).toEqual(refused('credentials-busy'));
    expect(meter.hits.get('verifications_pending_max')).toBe(1);
    const other = proofs.identify(known, good);
    keys.resolve(issuer.jwks);
    expect(await other).toMatchObject({ ok: true, identity: { kind: 'job' } });
    expect(await Promise.all(waiting)).toEqual([refused('token-key-unknown'), refused('token-key-unknown')]);
    // Their places are free again.
    expect(await proofs.identify(stranger, d)).toEqual(refused('token-key-unknown'));
  });

  it('while too many are being verified is refused as busy', async () => {
    const { proofs } = start({}, { verifications_pending_max: 1 });
    const first = proofs.identify(stranger, basic('buildkite:a'));
    expect(proofs.identify(stranger, basic('buildkite:b'))).toEqual(refused('credentials-busy'));
    await first;
  });
});

describe('whatever is sent', () => {
  it('is answered, and proves nothing that was not verified', async () => {
    const { proofs } = make([user('ann')], { password_attempts_per_min: 100_000 });
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('buildkite:', 'ann:', ':', '%00'),
    );
    const header = fc.oneof(
      text,
      text.map((one) => basic(one)),
      fc.tuple(fc.string(), fc.string()).map(([name, more]) => `Basic ${basic(`${name}:`).slice(6)}${more}`),
    );
    await fc.assert(
      fc.asyncProperty(header, async (value) => {
        const found = await proofs.identify(stranger, value);
        if (found.ok) expect(found.identity).toMatchObject({ kind: 'claimed', attributes: {} });
        else expect(['credentials-malformed', 'credentials-invalid']).toContain(found.code);
      }),
      { numRuns: 60 },
    );
  });
});
