// Which S3 bucket a request is about: a name below the endpoint's host, or the first segment of the path. PURE.
// What is no endpoint that we know has no bucket, so nothing that asks for one matches.
import type { Place } from './path-pattern.ts';
import type { Target } from './target.ts';

/** The bucket, and the path below it; null where there is none. */
export type Located = { readonly bucket: string; readonly place: Place } | null;

// s3.REGION, s3-REGION, s3.dualstack.REGION, s3-fips.REGION, s3-accelerate, and s3 alone; the bucket is all that stands before.
const AWS_ENDPOINT =
  /^(?:(.+)\.)?s3(?:-fips|-accelerate|-[a-z]{2}(?:-[a-z]+)+-\d)?(?:\.dualstack)?(?:\.[a-z]{2}(?:-[a-z]+)+-\d)?\.amazonaws\.com(?:\.cn)?$/;
const AWS_DOMAIN = /(?:^|\.)amazonaws\.com(?:\.cn)?$/;

/** Finds the bucket of a request to a canonical host. */
export function locateBucket(host: string, endpoint: string, target: Target): Located {
  const named = bucketInHost(host, endpoint);
  if (named === null) return null;
  if (named !== '') return { bucket: named, place: { ...target, whole: true } };
  const [bucket = ''] = target.segments;
  if (bucket === '' || (target.doubts[0] ?? 0) > 0) return null;
  const segments = target.segments.slice(1);
  const place: Place =
    segments.length === 0
      ? { segments: [''], doubts: [0], doubt: target.doubt, whole: false }
      : { segments, doubts: target.doubts.slice(1), doubt: target.doubt, whole: false };
  return { bucket, place };
}

/** '' where the path has it. */
function bucketInHost(host: string, endpoint: string): string | null {
  if (AWS_DOMAIN.test(host)) {
    const match = AWS_ENDPOINT.exec(host);
    return match === null ? null : (match[1] ?? '');
  }
  if (endpoint === '') return null;
  if (host === endpoint) return '';
  return host.endsWith(`.${endpoint}`) ? host.slice(0, -endpoint.length - 1) : null;
}
