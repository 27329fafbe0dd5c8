// A set of public keys (JWKS, RFC 7517) as JSON text: whether it is one, and its usable part. PURE.

const KEYS_MAX = 64;

export interface KeySet {
  readonly keys: readonly { readonly kty: string }[];
}

/** @throws Error whose message is a part of a sentence and repeats nothing of the text */
export function readKeySet(text: string): KeySet {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('it is not JSON');
  }
  const keys = (value as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys) || keys.length === 0) throw new Error('there is no list of keys in it');
  if (keys.length > KEYS_MAX) throw new Error(`there are ${keys.length} keys in it; allowed are ${KEYS_MAX}`);
  if (keys.some((key) => isMapping(key) && ('d' in key || 'k' in key)))
    throw new Error('there is a private or shared key in it, which nobody but the issuer may have');
  const usable = keys.filter((key) => isMapping(key) && ['RSA', 'EC', 'OKP'].includes(String(key['kty'])));
  if (usable.length === 0) throw new Error('there is no public key in it');
  return { keys: usable };
}

/** What is wrong with the text, or null. */
export function keySetProblem(text: string): string | null {
  try {
    readKeySet(text);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
