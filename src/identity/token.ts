// A job's OIDC token → what it proves. jose checks the signature and the registered claims; which of them failed is said by a
// code of its own, after the signature: who forges one learns nothing. Nothing of a token goes into an error or a record.
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import type { OidcSettings } from '../config/identity.ts';
import type { RequestErrorCode } from '../errors.ts';
import type { Attribute, Attributes } from '../policy/record.ts';
import { KeysUnavailable } from './keys.ts';
import { hasControl } from './proxy-authorization.ts';

export type TokenResult =
  | {
      readonly ok: true;
      readonly attributes: Attributes;
      /** Its `exp`, milliseconds since the epoch. */
      readonly expiresMs: number;
    }
  | { readonly ok: false; readonly code: RequestErrorCode };

/** Claims of a Buildkite token, by the attribute they become; of several names the first that is there counts. */
const CLAIMS: readonly (readonly [Attribute, ...string[]])[] = [
  ['organization', 'organization_slug'],
  ['pipeline', 'pipeline_slug'],
  ['pipeline_id', 'pipeline_id'],
  ['branch', 'build_branch'],
  ['step', 'step_key'],
  ['queue', 'queue_key', 'agent_tag:queue'],
  ['job', 'job_id'],
  ['build', 'build_number'],
  ['agent', 'agent_id'],
  ['cluster', 'cluster_id'],
];
const REQUIRED: readonly Attribute[] = ['organization', 'pipeline', 'job'];
const JOB = /^[A-Za-z0-9-]{1,64}$/;
const VALUE_CHARACTERS_MAX = 512;

/** Verifies a compact JWT. Never rejects. @param nowMs milliseconds since the epoch */
export async function verifyToken(
  token: string,
  settings: OidcSettings,
  key: JWTVerifyGetKey,
  nowMs: number,
): Promise<TokenResult> {
  let payload: JWTPayload;
  try {
    const verified = await jwtVerify(token, key, {
      issuer: settings.issuer,
      audience: [...settings.audiences],
      algorithms: [...settings.algorithms],
      clockTolerance: settings.leewayS,
      currentDate: new Date(nowMs),
      requiredClaims: ['exp', 'iat'],
    });
    ({ payload } = verified);
  } catch (error) {
    return { ok: false, code: codeOf(error) };
  }
  const attributes = attributesOf(payload);
  if (attributes === null) return { ok: false, code: 'token-claims' };
  if (!settings.organizations.includes(attributes.organization ?? '')) return { ok: false, code: 'token-organization' };
  return { ok: true, attributes, expiresMs: (payload.exp ?? 0) * 1_000 };
}

function codeOf(error: unknown): RequestErrorCode {
  if (error instanceof KeysUnavailable) return 'token-keys-unavailable';
  if (error instanceof errors.JWTExpired) return 'token-expired';
  if (error instanceof errors.JOSEAlgNotAllowed) return 'token-algorithm';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'token-signature';
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return 'token-key-unknown';
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'iss') return 'token-issuer';
    if (error.claim === 'aud') return 'token-audience';
    if (error.claim === 'nbf' && error.reason === 'check_failed') return 'token-not-yet-valid';
    return 'token-claims';
  }
  // What is no complaint of jose about the token comes from a key that cannot be used.
  return error instanceof errors.JOSEError ? 'token-malformed' : 'token-keys-unavailable';
}

/** Null where one that is required is missing, or one has a form that no honest issuer gives it. */
function attributesOf(payload: JWTPayload): Attributes | null {
  const attributes: Partial<Record<Attribute, string>> = {};
  for (const [attribute, ...names] of CLAIMS) {
    const value = names.map((name) => payload[name]).find((found) => found !== undefined && found !== null);
    if (value === undefined || value === '') continue;
    const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
    if (typeof text !== 'string' || text.length > VALUE_CHARACTERS_MAX || hasControl(text)) return null;
    attributes[attribute] = text;
  }
  if (REQUIRED.some((name) => attributes[name] === undefined) || !JOB.test(attributes.job ?? '')) return null;
  return Object.freeze(attributes);
}
