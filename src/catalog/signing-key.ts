// Ed25519 keys in PEM: of those who sign catalogs, policy bundles and audit checkpoints, and of those who trust them.
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { SallyportError } from '../errors.ts';

/** Names a public key: the SHA-256 of its DER form. */
export function keyName(key: KeyObject): string {
  const der = key.export({ type: 'spki', format: 'der' });
  return `sha256:${createHash('sha256').update(der).digest('hex')}`;
}

/** As bundles hold one: `key` names the public key, `ed25519` is in base64. */
export interface Signature {
  readonly key: string;
  readonly ed25519: string;
}

/** @param key the private key */
export function signatureOf(text: Uint8Array, key: KeyObject): Signature {
  return { key: keyName(createPublicKey(key)), ed25519: sign(null, text, key).toString('base64') };
}

/** Whether the signature is one of the key over the text. */
export function isSignature({ ed25519 }: Signature, text: Uint8Array, key: KeyObject): boolean {
  return verify(null, text, key, Buffer.from(ed25519, 'base64'));
}

/**
 * @param file its name, for messages
 * @throws SallyportError `signing-key` where the text is no Ed25519 key of that kind in PEM
 */
export function readKey(file: string, pem: string, kind: 'public' | 'private'): KeyObject {
  try {
    const key = kind === 'public' ? createPublicKey(pem) : createPrivateKey(pem);
    // A private key would be taken for its public half; nobody means to hand it out as a trust anchor.
    if (key.asymmetricKeyType === 'ed25519' && (kind === 'private' || !pem.includes('PRIVATE KEY'))) return key;
  } catch {
    // Said below; what OpenSSL says of it may quote the key.
  }
  throw new SallyportError('signing-key', `${file} is no Ed25519 ${kind} key in PEM`);
}
