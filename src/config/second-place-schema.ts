// The shape of audit.ship and audit.checkpoints in a file. PURE. What becomes of it is second-place.ts, which the proxy has in memory;
// this is for who parses.
import { z } from 'zod';
import * as leaf from './leaf.ts';
import { BUCKET, PREFIX, storeEndpoint } from './second-place.ts';

const REGION = /^[a-z0-9-]{1,64}$/;

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

export type S3Given = z.infer<typeof s3>;

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

function matching(pattern: RegExp): (text: string) => string | null {
  return (text) => (pattern.test(text) ? text : null);
}
