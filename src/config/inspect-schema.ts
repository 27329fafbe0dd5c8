// The keys of a rule that say what may pass below its host, and the key `inspection` of the file.
// PURE. Shapes only; what they mean together is judged by inspect.ts.
import { z } from 'zod';
import { METHOD } from '../policy/inspect-conditions.ts';
import { parsePathPattern } from '../policy/path-pattern.ts';
import * as leaf from './leaf.ts';

/** A pattern of paths or repositories: as it is written, and its segments. */
export interface WrittenPath {
  readonly text: string;
  readonly segments: readonly string[];
}

function pathPattern(about: string) {
  return leaf.leaf<WrittenPath>('config-value', about, (text) => {
    const parsed = parsePathPattern(text);
    return 'segments' in parsed ? { value: { text, segments: parsed.segments } } : parsed;
  });
}

function repository(about: string) {
  return leaf.leaf<WrittenPath>('config-value', about, (text) => {
    const plain = text.replace(/^\/+|\/+$/g, '').replace(/\.git$/, '');
    if (text.includes('://') || plain !== text || plain === '') {
      const near = plain.replace(/^[a-z+]+:\/\/[^/]*\//i, '');
      return {
        problem: `${JSON.stringify(text)} is not a repository`,
        hint: `Write owner and name: ${near === '' ? 'acme/widget' : near}.`,
      };
    }
    const parsed = parsePathPattern(`/${text}`);
    return 'segments' in parsed ? { value: { text, segments: parsed.segments } } : parsed;
  });
}

const FIELD_NAME = /^[A-Za-z0-9][A-Za-z0-9-]{0,99}$/;
const BUCKET = /^[a-z0-9*][a-z0-9.*-]{0,62}$/;
const MB_MAX = 1_048_576;

const methods = z
  .union([z.literal('any'), z.array(z.string().regex(METHOD, 'a method is written in capitals')).min(1)])
  .describe(
    'Methods in capitals: [GET, POST]; GET covers HEAD. any: all of them. Default of an allow: [GET]; of a deny: any.',
  );

const path = pathPattern('A path: * is any characters of one segment, ** any number of segments: /acme/**.');

const glob = leaf.line('A value; * stands for any characters.', 512);
const globs = z
  .union([glob.transform((one) => [one]), z.array(glob).min(1)])
  .describe('One value, or a list of which one must match; * stands for any characters.');

const query = z
  .union([
    z.literal('none').describe('There must be no query.'),
    z.record(z.string().min(1).max(256), globs).describe('Keys of the query and what their values must be.'),
  ])
  .describe('What the query must say: { service: git-upload-pack }, or none. Keys that are not named are free.');

const headers = z
  .record(z.string().regex(FIELD_NAME, 'a header field has letters, digits and -'), globs)
  .describe('Header fields and what their values must be: { content-type: application/json }.');

/** A line below a rule; of a deny, what is left out is every one. */
const line = { methods: methods.optional(), query: query.optional(), headers: headers.optional() };

const repositories = z.array(repository('A repository: acme/widget, acme/*, acme/**.')).min(1);

const git = z
  .strictObject({
    fetch: z
      .union([
        z
          .literal('**')
          .describe('Every repository.')
          .transform(() => null),
        repositories,
      ])
      .describe('Repositories that may be cloned and fetched: [acme/*], or "**" for all.')
      .optional(),
    push: repositories.describe('Repositories that may be pushed to: [acme/*].').optional(),
    lfs: repositories
      .describe(
        'Repositories whose large files may be asked for, in both directions: the direction stands in the body, which is not read.',
      )
      .optional(),
  })
  .describe('Git over HTTPS, by repository.');

const s3 = z
  .strictObject({
    buckets: z
      .array(z.string().regex(BUCKET, 'a bucket is written in lower case: acme-artifacts, acme-*'))
      .min(1)
      .describe('The buckets that may be used, as a name below the endpoint or first in the path: [acme-*].'),
    write: z
      .boolean()
      .describe('Whether objects may be put and deleted; access lists never. Default false: read only.')
      .optional(),
  })
  .describe('S3, by bucket.');

/** The keys of a rule. */
export const inspectKeys = {
  inspect: z
    .boolean()
    .describe('Whether TLS ends here and each request is decided by method and path. Default false: never decrypted.')
    .optional(),
  allow: z
    .array(z.strictObject({ path, ...line }).describe('Requests that may pass: a path, and what they are limited to.'))
    .min(1)
    .describe('With inspect: the requests that may pass.')
    .optional(),
  deny: z
    .array(
      z.strictObject({ path: path.optional(), ...line }).describe('Requests that are refused whatever allow says.'),
    )
    .min(1)
    .describe('With inspect: requests that are refused whatever allow says.')
    .optional(),
  read_only: z.boolean().describe('With inspect: GET and HEAD of every path, and nothing else.').optional(),
  git: git.optional(),
  s3: s3.optional(),
  max_upload_mb: z
    .number()
    .positive()
    .max(MB_MAX)
    .describe('With inspect: megabytes (of 1,000,000 bytes) that one job may send to this rule in all; then it is cut.')
    .optional(),
  max_response_mb: z
    .number()
    .positive()
    .max(MB_MAX)
    .describe('With inspect: megabytes (of 1,000,000 bytes) of one response; then it is cut.')
    .optional(),
  websocket: z
    .boolean()
    .describe('With inspect: whether a request may become a WebSocket, which is not looked into. Default false.')
    .optional(),
  upstream_ca: leaf
    .filePath(
      'With inspect: certificates in PEM that the origin must be certified by, instead of those of the system. Base file only.',
    )
    .optional(),
};

/** The keys that need `inspect: true`. */
export const INSPECT_KEYS = Object.keys(inspectKeys).filter((key) => key !== 'inspect') as Exclude<
  keyof typeof inspectKeys,
  'inspect'
>[];

export const inspectionKey = z
  .strictObject({
    ca: z
      .strictObject({
        cert: leaf.filePath('The certificate of the CA, PEM. Relative to the working directory.'),
        key: leaf.filePath('Its private key, PEM (PKCS#8).'),
        passphrase_file: leaf.filePath('A file whose first line is the passphrase of the key.').optional(),
      })
      .describe('The CA that signs for inspected hosts: `sallyport ca init` makes it.'),
  })
  .describe('What rules with `inspect: true` need.');
