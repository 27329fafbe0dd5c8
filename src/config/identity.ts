// How clients can prove who they are, as settings: users, tokens, and what the files they name say. PURE.
import type { Cidr } from '../policy/address.ts';
import { type Authority, parseAuthority } from '../policy/authority.ts';
import { ATTRIBUTES, type Attributes } from '../policy/record.ts';
import { globMatches, type Selector, selectorMatches } from '../policy/selector.ts';
import type { Parsed } from './parse.ts';
import type { User } from './users-file.ts';

/** Plain data that structured clone copies. */
export interface IdentitySettings {
  /** Files that were read for it, to be looked at for changes. */
  readonly files: readonly string[];
  readonly users: readonly User[];
  readonly oidc: OidcSettings | null;
}

export interface OidcSettings {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly organizations: readonly string[];
  readonly jwks:
    | { readonly from: 'file'; readonly text: string }
    | {
        readonly from: 'url';
        readonly authority: Authority;
        readonly path: string;
        readonly addresses: readonly Cidr[];
      };
  readonly leewayS: number;
  readonly algorithms: readonly string[];
  readonly bindSource: boolean;
}

const ISSUER = 'https://agent.buildkite.com';
const KEYS_PATH = '/.well-known/jwks';

/** @param keys the text of jwks.file, where the file names one */
export function oidcSettings(raw: NonNullable<Parsed['raw']['oidc']>, keys: string | null): OidcSettings {
  return {
    issuer: raw.issuer?.text ?? ISSUER,
    audiences: raw.audience,
    organizations: raw.organizations,
    jwks: keys === null ? keysAt(raw) : { from: 'file', text: keys },
    leewayS: raw.leeway_s ?? 30,
    algorithms: raw.algorithms ?? ['RS256'],
    bindSource: raw.bind_source ?? true,
  };
}

function keysAt({ jwks, issuer }: NonNullable<Parsed['raw']['oidc']>): OidcSettings['jwks'] {
  const { url, addresses = [] } = jwks ?? {};
  if (url !== undefined) return { from: 'url', authority: url.authority, path: url.path || '/', addresses };
  if (issuer !== undefined) {
    const path = `${issuer.path.replace(/\/$/, '')}${KEYS_PATH}`;
    return { from: 'url', authority: issuer.authority, path, addresses };
  }
  const known = parseAuthority(`${ISSUER.slice('https://'.length)}:443`);
  if (!known.ok) throw new Error(known.problem);
  return { from: 'url', authority: known.authority, path: KEYS_PATH, addresses };
}

/** What a user proves. */
export function userAttributes(user: User): Attributes {
  return { ...user.attributes, user: user.name };
}

/** Whether somebody with credentials can be whom a selector asks for. */
export function provable({ users, oidc }: IdentitySettings, selector: Selector): boolean {
  if (users.some((user) => selectorMatches(selector, userAttributes(user)))) return true;
  return (
    oidc !== null && ATTRIBUTES.every((name) => selector[name] === undefined || jobMayBe(oidc, name, selector[name]))
  );
}

function jobMayBe(oidc: OidcSettings, name: keyof Selector, globs: readonly string[]): boolean {
  if (name === 'user') return false;
  if (name !== 'organization') return true;
  return oidc.organizations.some((organization) => globs.some((glob) => globMatches(glob, organization)));
}
