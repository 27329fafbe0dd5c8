// Where audit logs are copied to: a folder, or a bucket of an S3-compatible store. PURE: settings, and the text of a place.
// Secrets never stand here: credentials come from the environment or from a file that is named.
import { classifyAddress } from '../policy/address.ts';
import type { S3Given } from './second-place-schema.ts';

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

export const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
/** What needs no escaping anywhere, so that a key is the same text in a request, in a signature and in a listing. */
export const PREFIX = /^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\/?)?$/;

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
