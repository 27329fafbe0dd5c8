// Where audit logs are copied to: a folder, or a bucket of an S3-compatible store. PURE: shapes, settings, and the text of a place.
// Secrets never stand here: credentials come from the environment or from a file that is named.
import { z } from 'zod';
import { classifyAddress } from '../policy/address.ts';
import * as leaf from './leaf.ts';

export interface BucketPlace {
  readonly kind: 's3';
  /** Null: the one of AWS for the region. */
  readonly endpoint: string | null;
  readonly region: string;
  readonly bucket: string;
  /** Empty, or ends with a slash. */
  readonly prefix: string;
  /** Certificates to trust besides those of the system, in PEM. */
  readonly caFile: string | null;
  /** A file of credentials and which of them; null: the environment says it. */
  readonly credentials: { readonly file: string; readonly profile: string } | null;
}

export type PlaceSettings = { readonly kind: 'dir'; readonly dir: string } | BucketPlace;

/** A place, and the file of the key that signs checkpoints. */
export interface SignedPlace {
  readonly place: PlaceSettings;
  readonly key: string | null;
}

export function placeText(place: PlaceSettings): string {
  return place.kind === 'dir' ? place.dir : `s3://${place.bucket}/${place.prefix}`;
}

const REGION = /^[a-z0-9-]{1,64}$/;
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
/** What needs no escaping anywhere, so that a key is the same text in a request, in a signature and in a listing. */
const PREFIX = /^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\/?)?$/;

/** The URL of a store: https, or http to this machine. Null where it is neither. */
export function storeEndpoint(text: string): string | null {
  const url = URL.parse(text);
  if (url === null || url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '') return null;
  if (url.protocol === 'https:') return url.origin;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const here = host === 'localhost' || classifyAddress(host) === 'loopback';
  return url.protocol === 'http:' && here ? url.origin : null;
}

/** `s3://BUCKET/PREFIX`; null where it is none. */
export function parseBucketUrl(text: string): { readonly bucket: string; readonly prefix: string } | null {
  const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(text) ?? [];
  return BUCKET.test(bucket) && PREFIX.test(prefix) ? { bucket, prefix: folded(prefix) } : null;
}

const s3 = z
  .strictObject({
    endpoint: leaf
      .text('https://HOST[:PORT] of the store; http:// for this machine alone. Default: that of AWS.', storeEndpoint, {
        problem: 'the endpoint is no https:// URL of a store',
        hint: 'Write https://HOST or https://HOST:PORT, without a path; http:// is taken for loopback addresses alone.',
      })
      .optional(),
    region: leaf.text(
      'The region of the bucket: eu-central-1. Stores that have none mostly want us-east-1.',
      matching(REGION),
      {
        problem: 'the text is no region',
        hint: 'Write it as the store does: eu-central-1.',
      },
    ),
    bucket: leaf.text('The bucket.', matching(BUCKET), {
      problem: 'the text is no name of a bucket',
      hint: 'Small letters, digits, dots and hyphens, 3 to 63 of them.',
    }),
    prefix: leaf
      .text('What the keys begin with: audit/production.', matching(PREFIX), {
        problem: 'the text is no prefix of keys',
        hint: 'Names of letters, digits, dots, _ and -, with slashes between them.',
      })
      .optional(),
    ca_file: leaf.filePath('Certificates to trust for the endpoint besides those of the system, in PEM.').optional(),
    credentials: z
      .strictObject({
        file: leaf.filePath('A file of credentials as the AWS tools have it; read anew at every round.'),
        profile: leaf.line('Which of them. Default: default.', 128).optional(),
      })
      .describe('Where the credentials stand. Without it the environment says it, as docs/audit-log.md explains.')
      .optional(),
  })
  .describe('A bucket of an S3-compatible store; each node has a folder in it.');

type S3Given = z.infer<typeof s3>;

/** `dir` or `s3`, and the key: the shape of audit.ship and audit.checkpoints. */
export function placeKey(about: string) {
  return z
    .strictObject({
      dir: leaf
        .filePath('A folder of a second place, such as a mounted share; each node has a folder in it.')
        .optional(),
      s3: s3.optional(),
      key: leaf.filePath('An Ed25519 private key in PEM that signs the checkpoints.').optional(),
    })
    .meta({ oneOf: [{ required: ['dir'] }, { required: ['s3'] }] })
    .describe(about);
}

/** Null where the place is not given, or not given once: that is a problem of the file. */
export function placeOf(
  given: { dir?: string | undefined; s3?: S3Given | undefined; key?: string | undefined } | undefined,
): SignedPlace | null {
  if (given === undefined || (given.dir === undefined) === (given.s3 === undefined)) return null;
  const key = given.key ?? null;
  if (given.dir !== undefined) return { place: { kind: 'dir', dir: given.dir }, key };
  return given.s3 === undefined ? null : { place: bucketOf(given.s3), key };
}

function bucketOf({ endpoint, region, bucket, prefix, ca_file, credentials }: S3Given): BucketPlace {
  return {
    kind: 's3',
    endpoint: endpoint ?? null,
    region,
    bucket,
    prefix: folded(prefix ?? ''),
    caFile: ca_file ?? null,
    credentials:
      credentials === undefined ? null : { file: credentials.file, profile: credentials.profile ?? 'default' },
  };
}

function folded(prefix: string): string {
  return prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
}

function matching(pattern: RegExp): (text: string) => string | null {
  return (text) => (pattern.test(text) ? text : null);
}
