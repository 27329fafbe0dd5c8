// What verifies tokens is loaded when they are switched on. Where that fails, as it does without a free descriptor, a token is neither right
// nor wrong, and the next one tries again.
import { afterEach, expect, it, vi } from 'vitest';
import type { OidcSettings } from '../../src/config/identity.ts';
import { Tokens } from '../../src/identity/tokens.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import { AUDIENCE, ISSUER, tokenIssuer } from '../support/tokens.ts';

const issuer = tokenIssuer();
const settings: OidcSettings = {
  issuer: ISSUER,
  audiences: [AUDIENCE],
  organizations: ['acme'],
  jwks: { from: 'file', text: issuer.jwks },
  leewayS: 0,
  algorithms: ['RS256'],
  bindSource: true,
};

afterEach(() => vi.doUnmock('../../src/identity/keys.ts'));

it('a token that cannot be verified for want of the code is a fault of ours, said, and not for ever', async () => {
  const problems: string[] = [];
  const tokens = new Tokens({
    limits: DEFAULT_LIMITS,
    meter: createMeter(),
    fetchKeys: () => Promise.reject(new Error('not asked for here')),
    onProblem: (why) => void problems.push(why),
  });
  vi.doMock('../../src/identity/keys.ts', () => {
    throw new Error('EMFILE');
  });
  tokens.use(settings);
  const token = await issuer.token();
  expect(await tokens.verify(token, Date.now())).toEqual({ ok: false, code: 'internal-error' });
  expect(problems[0]).toMatch(/^what verifies tokens cannot be loaded: /);
  vi.doUnmock('../../src/identity/keys.ts');
  expect(await tokens.verify(token, Date.now())).toMatchObject({ ok: true, proof: { kind: 'job' } });
});
