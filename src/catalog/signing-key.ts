// Ed25519 keys in PEM: of those who sign catalogs, policy bundles and audit checkpoints, and of those who trust them.
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { SallyportError } from '../errors.ts';

/** Names a public key: the SHA-256 of its DER form. */
export function keyName(key: KeyObject): string {
  const der = key.export({ type: 'spki', format: 'der' });
  return `sha256:${createHash('sha256').update(der).digest('hex')}`;
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
