// How clients can prove who they are, as settings: users, tokens, and what the files they name say. PURE.
import type { Cidr } from '../policy/address.ts';
import { type Authority, parseAuthority } from '../policy/authority.ts';
import { ATTRIBUTES, type Attributes } from '../policy/record.ts';
import { globMatches, type Selector, selectorMatches } from '../policy/selector.ts';
import { error, type PathProblem } from './issues.ts';
import type { Endpoint } from './leaf.ts';
import type { Parsed } from './parse.ts';
import type { User } from './users-file.ts';

/** Plain data that structured clone copies. */
export interface IdentitySettings {
  /** Files that were read for it, to be looked at for changes. */
  readonly files: readonly string[];
  readonly users: readonly User[];
  readonly oidc: OidcSettings | null;
  readonly tls: TlsSettings | null;
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

export interface TlsSettings {
  readonly listen: readonly Endpoint[];
  /** Files. */
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string | null;
  /** Whether a client must have a certificate. */
  readonly required: boolean;
  readonly certificates: readonly CertificateSettings[];
}

/** One of `san` and `cn` at least; both must fit where both are there. Globs; a DNS name in lower case. */
export interface CertificateSettings {
  readonly san: string | null;
  readonly cn: string | null;
  readonly attributes: Attributes;
}

export function tlsSettings(raw: NonNullable<Parsed['raw']['tls']>): TlsSettings {
  return {
    listen: raw.listen,
    cert: raw.cert,
    key: raw.key,
    clientCa: raw.client_ca ?? null,
    required: raw.client_ca !== undefined && raw.client_certificates !== 'optional',
    certificates: (raw.certificates ?? []).map(({ san, cn, attributes }) => ({
      san: san === undefined ? null : san.includes('://') ? san : san.toLowerCase(),
      cn: cn ?? null,
      attributes: attributes as Attributes,
    })),
  };
}

/** What contradicts itself in `tls`. */
export function tlsProblems(raw: Parsed['raw']['tls']): PathProblem[] {
  if (raw === undefined) return [];
  const problems: PathProblem[] = [];
  for (const key of ['client_certificates', 'certificates'] as const) {
    if (raw[key] === undefined || raw.client_ca !== undefined) continue;
    const message = `tls.${key} says something about certificates of clients, and without tls.client_ca none are asked for`;
    problems.push(error('config-conflict', ['tls', key], message, 'Name the CA that issues them in client_ca.'));
  }
  for (const [index, { san, cn }] of (raw.certificates ?? []).entries()) {
    if (san !== undefined || cn !== undefined) continue;
    const message = `tls.certificates[${index}] names neither san nor cn`;
    problems.push(
      error('config-missing-key', ['tls', 'certificates', index], message, 'Write san: "*.agents.corp.example".'),
    );
  }
  return problems;
}

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
export function provable({ users, oidc, tls }: IdentitySettings, selector: Selector): boolean {
  if (tls?.certificates.some((one) => selectorMatches(selector, one.attributes)) === true) return true;
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
