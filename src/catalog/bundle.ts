// A whole catalog in one file: what `sallyport.lock` pins and what an update without a new program comes as. It holds the catalog's
// files word for word, so that a change of it reads like a change of theirs, and a digest over them that the signature is about.
// It must not let a file pass whose text is not what the digest says: such a lock was edited by hand, or an update on its way.
import { createHash, type KeyObject } from 'node:crypto';
import { Document, isMap, isScalar, parseDocument } from 'yaml';
import { z } from 'zod';
import { SallyportError } from '../errors.ts';
import { isSignature, keyName, signatureOf } from './signing-key.ts';

/** Name → text of each catalog file. */
export type CatalogFiles = Readonly<Record<string, string>>;

const DIGEST = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const LINE = z.string().min(1).max(256);

const bundleShape = z.strictObject({
  format: z.literal(1),
  version: z.string().min(1).max(64),
  digest: DIGEST,
  /** Only in a lock: who took the catalog over, when, and from where. */
  accepted: z.strictObject({ at: LINE, by: LINE, from: LINE }).optional(),
  /** Only in an update. `key` names the public key, `ed25519` signs signedText in base64. */
  signature: z.strictObject({ key: DIGEST, ed25519: z.string().max(128) }).optional(),
  files: z.record(z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}\.yaml$/), z.string().max(4_194_304)),
});

export type Bundle = z.infer<typeof bundleShape>;

/** "sha256:" and 64 hex digits over the names and texts, whatever their order. */
export function filesDigest(files: CatalogFiles): string {
  const sorted = Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1));
  return `sha256:${createHash('sha256').update(JSON.stringify(sorted)).digest('hex')}`;
}

/**
 * Reads a bundle.
 * @param file its name, for messages
 * @throws SallyportError `catalog-invalid` where it is not one, or its texts are not those of its digest
 */
export function parseBundle(file: string, text: string): Bundle {
  const document = parseDocument(text, { prettyErrors: false, uniqueKeys: true, version: '1.2', merge: false });
  const first = document.errors[0] ?? document.warnings[0];
  if (first !== undefined) throw damaged(file, 'it is not valid YAML');
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 });
  } catch {
    throw damaged(file, 'it holds an alias');
  }
  const read = bundleShape.safeParse(value);
  if (!read.success) {
    const issue = read.error.issues[0];
    throw damaged(file, `${issue?.path.join('.') || 'the file'}: ${issue?.message ?? 'not understood'}`);
  }
  if (Object.keys(read.data.files).length === 0) throw damaged(file, 'it holds no catalog file');
  const found = filesDigest(read.data.files);
  if (found !== read.data.digest)
    throw damaged(file, `its files have the digest ${found}, it says ${read.data.digest}`);
  return read.data;
}

const HEAD = ` The catalog that this policy was accepted with, word for word: the hosts behind its groups change when this file does.
 Written by \`sallyport catalog accept\`, compared by \`sallyport catalog diff\`. Do not edit it: the digest says so.`;

/** The bundle as YAML, each file as a block: a review sees the lines that changed. */
export function bundleText(bundle: Bundle): string {
  const head = bundle.accepted ? `#${HEAD.replaceAll('\n', '\n#')}\n` : '';
  const document = new Document(bundle);
  const files = isMap(document.contents) ? document.contents.get('files', true) : null;
  for (const { value } of isMap(files) ? files.items : []) {
    // A block says how deep it is indented by its first line, and what it ends with by its last.
    if (isScalar(value)) value.type = /^\S.*\S\n$/s.test(String(value.value)) ? 'BLOCK_LITERAL' : 'QUOTE_DOUBLE';
  }
  return head + document.toString({ lineWidth: 0 });
}

/** What a signature is made over. */
function signedText({ version, digest }: Pick<Bundle, 'version' | 'digest'>): Buffer {
  return Buffer.from(`sallyport catalog 1\n${JSON.stringify(version)}\n${digest}\n`);
}

/** The same bundle, signed. */
export function signBundle(bundle: Bundle, key: KeyObject): Bundle {
  return { ...bundle, signature: signatureOf(signedText(bundle), key) };
}

/** Whether one of the keys has signed it. */
export function isSignedBy(bundle: Bundle, keys: readonly KeyObject[]): boolean {
  const { signature } = bundle;
  if (signature === undefined) return false;
  const key = keys.find((one) => keyName(one) === signature.key);
  return key !== undefined && isSignature(signature, signedText(bundle), key);
}

function damaged(file: string, why: string): SallyportError {
  return new SallyportError('catalog-invalid', `${file} is no catalog in one file: ${why}`, {
    hint: 'Take it back from version control, or write it anew: `sallyport catalog accept`.',
  });
}
