// A policy repository in one file, signed: what nodes that follow a URL take. The signature is over the number of the bundle and a digest of
// its files; a node takes no bundle with a lower number than the one that it has, so that an old one cannot be played back.
// It must not let a file out of its folder: names are plain, relative, and never hidden.
import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { filesDigest } from '../catalog/bundle.ts';
import { isSignature, keyName, signatureOf } from '../catalog/signing-key.ts';
import { SallyportError } from '../errors.ts';
import { BASE_NAME } from './source-schema.ts';

/** Each part begins with a letter, a digit, - or _: neither .., nor hidden, nor absolute. */
const NAME = /^(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\/){0,8}[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.(?:ya?ml|lock)$/;
const FILES_MAX = 100_000;

const shape = z.strictObject({
  format: z.literal('sallyport-policy-1'),
  serial: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
  made: z.string().max(64),
  files: z.record(z.string().regex(NAME), z.string()),
  /** `key` names the public key, `ed25519` is in base64. */
  signature: z.strictObject({ key: z.string().max(128), ed25519: z.string().max(128) }),
});

export type PolicyBundle = z.infer<typeof shape>;
type Unsigned = Omit<PolicyBundle, 'signature'>;

/** The text of a signed bundle. */
export function makeBundle(
  files: Readonly<Record<string, string>>,
  serial: number,
  made: string,
  key: KeyObject,
): string {
  const unsigned: Unsigned = { format: 'sallyport-policy-1', serial, made, files };
  const bundle: PolicyBundle = { ...unsigned, signature: signatureOf(signedText(unsigned), key) };
  checked('the bundle', bundle);
  return `${JSON.stringify(bundle)}\n`;
}

/**
 * Reads a bundle that one of the keys has signed.
 * @param name for messages
 * @throws SallyportError `bundle-invalid`
 */
export function readBundle(name: string, text: string, keys: readonly KeyObject[]): PolicyBundle {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid(name, 'it is no JSON');
  }
  const bundle = checked(name, value);
  const { signature } = bundle;
  const key = keys.find((one) => keyName(one) === signature.key);
  if (key === undefined)
    throw invalid(name, `it is signed with the key ${signature.key}, which is none of policy.public_keys`);
  if (!isSignature(signature, signedText(bundle), key)) throw invalid(name, 'its signature is not that of its files');
  return bundle;
}

function checked(name: string, value: unknown): PolicyBundle {
  const read = shape.safeParse(value);
  if (!read.success) {
    const issue = read.error.issues[0];
    throw invalid(name, `${issue?.path.join('.') || 'the file'}: ${issue?.message ?? 'not understood'}`);
  }
  const names = Object.keys(read.data.files);
  if (!names.includes(BASE_NAME)) throw invalid(name, `it has no ${BASE_NAME}`);
  if (names.length > FILES_MAX) throw invalid(name, `it has ${names.length} files`);
  // A file cannot be a folder too.
  const folders = new Set(
    names.flatMap((one) =>
      one
        .split('/')
        .slice(0, -1)
        .map((_, at, parts) => parts.slice(0, at + 1).join('/')),
    ),
  );
  const both = names.find((one) => folders.has(one));
  if (both !== undefined) throw invalid(name, `${both} is a file and a folder`);
  return read.data;
}

/** What the signature is about. */
function signedText({ format, serial, made, files }: Unsigned): Buffer {
  return Buffer.from(`${format}\n${serial}\n${JSON.stringify(made)}\n${filesDigest(files)}\n`);
}

function invalid(name: string, why: string): SallyportError {
  return new SallyportError('bundle-invalid', `${name} is no policy bundle that can be taken: ${why}`);
}
