// A token issuer for tests: its keys, its key set, and tokens as buildkite-agent prints them, whole or with one thing wrong.
// Nothing here is used by the product.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { type JWK, SignJWT } from 'jose';

export const ISSUER = 'https://agent.buildkite.com';
export const AUDIENCE = 'sallyport-test';

export interface TokenChanges {
  /** Laid over the claims; undefined takes one away. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly key?: KeyObject | Uint8Array;
  /** Seconds since the epoch: when it is issued. */
  readonly at?: number;
  readonly lifetimeS?: number;
}

export interface TokenIssuer {
  readonly keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  /** The key set as JSON text. */
  readonly jwks: string;
  token(changes?: TokenChanges): Promise<string>;
}

let made = 0;

/** An issuer with a key of its own. */
export function tokenIssuer(kid = `key-${++made}`): TokenIssuer {
  const keys = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const jwk: JWK = { ...keys.publicKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' };
  return {
    keys,
    jwks: JSON.stringify({ keys: [jwk] }),
    token: ({ claims = {}, header = {}, key = keys.privateKey, at = Date.now() / 1_000, lifetimeS = 3_600 } = {}) => {
      const issuedAt = Math.floor(at);
      const payload = { ...jobClaims(issuedAt, lifetimeS), ...claims };
      return new SignJWT(JSON.parse(JSON.stringify(payload)))
        .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid, ...header })
        .sign(key);
    },
  };
}

/** What a token of buildkite-agent says, with the optional claims that its documentation names. */
function jobClaims(issuedAt: number, lifetimeS: number) {
  return {
    iss: ISSUER,
    sub: 'organization:acme:pipeline:web:ref:refs/heads/main:commit:9f31:step:deploy',
    aud: AUDIENCE,
    iat: issuedAt,
    nbf: issuedAt,
    exp: issuedAt + lifetimeS,
    organization_slug: 'acme',
    pipeline_slug: 'web',
    pipeline_id: '0188a5c8-0000-4000-8000-00000000aaaa',
    build_number: 7,
    build_branch: 'main',
    build_tag: null,
    build_commit: '9f3182061f1e2cca4702c368cbc039b7dc9d4485',
    step_key: 'deploy',
    job_id: '0188a5c8-0000-4000-8000-00000000bbbb',
    agent_id: '0188a5c8-0000-4000-8000-00000000cccc',
    cluster_id: '0188a5c8-0000-4000-8000-00000000dddd',
    'agent_tag:queue': 'default',
    build_source: 'ui',
    runner_environment: 'self-hosted',
  };
}

/** A token without a signature, with `alg` as given. */
export function unsigned(token: string, alg = 'none'): string {
  const [, payload = ''] = token.split('.');
  return `${Buffer.from(JSON.stringify({ alg, typ: 'JWT' })).toString('base64url')}.${payload}.`;
}
