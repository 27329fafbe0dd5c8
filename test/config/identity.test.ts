// The keys that say how clients prove who they are: defaults, mistakes with their places, and what the lint makes of them.
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { tokenIssuer } from '../support/tokens.ts';
import { inFolderOfItsOwn, loadText } from './support.ts';

inFolderOfItsOwn();

const OIDC = 'oidc: { audience: sallyport, organizations: [acme] }';
const oidcOf = (more: string) => loadText(`version: 1\nallow: [a.example]\n${more}\n`);

describe('oidc', () => {
  it('has the defaults of Buildkite', () => {
    expect(oidcOf(OIDC).loaded?.settings.identity.oidc).toEqual({
      issuer: 'https://agent.buildkite.com',
      audiences: ['sallyport'],
      organizations: ['acme'],
      jwks: {
        from: 'url',
        authority: expect.objectContaining({ host: 'agent.buildkite.com', port: 443 }),
        path: '/.well-known/jwks',
        addresses: [],
      },
      leewayS: 30,
      algorithms: ['RS256'],
      bindSource: true,
    });
  });

  it('finds the keys at the issuer, or where it is told', () => {
    const at = (more: string) =>
      oidcOf(`oidc: { audience: s, organizations: [a], ${more} }`).loaded?.settings.identity.oidc?.jwks;
    expect(at('issuer: "https://id.corp.example:8443/x/"')).toMatchObject({
      authority: { host: 'id.corp.example', port: 8443 },
      path: '/x/.well-known/jwks',
    });
    expect(at('jwks: { url: "https://keys.corp.example/k", addresses: [10.0.0.0/8] }')).toMatchObject({
      authority: { host: 'keys.corp.example', port: 443 },
      path: '/k',
      addresses: [{ text: '10.0.0.0/8' }],
    });
    expect(at('jwks: { addresses: [10.0.0.0/8] }')).toMatchObject({ path: '/.well-known/jwks', from: 'url' });
    writeFileSync('jwks.json', tokenIssuer().jwks);
    expect(at('jwks: { file: jwks.json }')).toMatchObject({ from: 'file' });
  });

  it.each([
    ['oidc: { organizations: [acme] }', 'oidc.audience is missing'],
    ['oidc: { audience: s }', 'oidc.organizations is missing'],
    ['oidc: { audience: s, organizations: [] }', 'oidc.organizations is an empty list'],
    ['oidc: { audience: s, organizations: [a], algorithms: [HS256] }', 'oidc.algorithms[0] is "HS256"'],
    ['oidc: { audience: s, organizations: [a], algorithms: [none] }', 'oidc.algorithms[0] is "none"'],
    ['oidc: { audience: s, organizations: [a], leeway_s: 301 }', 'oidc.leeway_s is 301'],
    ['oidc: { audience: s, organizations: [a], issuer: "http://id.example" }', 'is not an https:// URL'],
    ['oidc: { audience: s, organizations: [a], jwks: { url: "http://id.example/k" } }', 'is not an https:// URL'],
    ['oidc: { audience: s, organizations: [a], jwks: { url: "https://u:p@id.example/k" } }', 'is not an https:// URL'],
    ['oidc: { audience: s, organizations: [a], jwks: { url: "https://id.example/k?x" } }', 'is not an https:// URL'],
    ['oidc: { audience: s, organizations: [a], jwks: { url: "https://0x7f.1/k" } }', '0x7f.1'],
    ['oidc: { audience: s, organizations: [a], jwks: { file: missing.json } }', 'missing.json does not exist'],
    [
      'oidc: { audience: s, organizations: [a], jwks: { file: jwks.json, url: "https://id.example/k" } }',
      'has a file and a URL',
    ],
    ['limits: { jwks_refresh_ms: 2000, jwks_stale_max_ms: 1000 }', 'jwks_refresh_ms cannot exceed jwks_stale_max_ms'],
  ])('%s', (text, message) => {
    const { problems, loaded } = oidcOf(text);
    expect(loaded).toBeNull();
    expect(problems.map((problem) => problem.message).join('\n')).toContain(message);
  });

  it('a file that is not there says how it is made', () => {
    const { problems } = oidcOf('oidc: { audience: s, organizations: [a], jwks: { file: missing.json } }');
    expect(problems[0]?.hint).toContain('/.well-known/jwks');
    const { error } = loadText('version: 1\nusers: { file: nobody }\nallow: [a.example]\n');
    expect(error?.message).toContain('nobody does not exist');
    expect(error?.problems[0]?.hint).toContain('sallyport user add');
  });

  it('a key set that is none is an error with its file', () => {
    writeFileSync('jwks.json', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}');
    const { problems } = oidcOf('oidc: { audience: s, organizations: [a], jwks: { file: jwks.json } }');
    expect(problems).toMatchObject([{ code: 'config-value', at: { file: 'jwks.json', line: 1 } }]);
    expect(problems[0]?.message).toContain('private or shared key');
  });
});

describe('a selector is dead only where nobody can prove it', () => {
  const findings = (selector: string, more: string) =>
    loadText(`version: 1\n${more}\nallow:\n  - { host: a.example, for: ${selector} }\n`).problems.map(
      ({ code }) => code,
    );

  it.each([
    ['{ pipeline: web }', OIDC, []],
    ['{ pipeline_id: "0188", step: s, queue: q, job: j, build: "7", agent: a, cluster: c }', OIDC, []],
    ['{ organization: acme }', OIDC, []],
    ['{ organization: "*-inc" }', OIDC, ['lint-dead']],
    ['{ user: ann }', OIDC, ['lint-dead']],
    ['{ pipeline: web, user: ann }', OIDC, ['lint-dead']],
    ['{ pipeline: web }', '', ['lint-dead']],
  ])('%s with %s', (selector, more, codes) => {
    expect(findings(selector, more)).toEqual(codes);
  });
});
