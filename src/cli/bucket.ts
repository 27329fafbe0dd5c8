// `s3://BUCKET/PREFIX` as typed: the place of the policy where --config is given and one of its places is that bucket, else what the
// environment says in the names of the AWS tools.
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { logOfCheckpoint } from '../audit/checkpoint.ts';
import { mirrorPlace } from '../audit/mirror.ts';
import { S3Place } from '../audit/s3-place.ts';
import { type BucketPlace, parseBucketUrl, storeEndpoint } from '../config/second-place.ts';
import { SallyportError } from '../errors.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import { type Input, usage } from './input.ts';
import { loadFor } from './load.ts';
import type { Ui, World } from './ui.ts';

/** What the command was given. */
export interface Typed {
  readonly input: Input;
  readonly ui: Ui;
  readonly world: World;
}

/** The folder itself, or a copy of the bucket. @throws SallyportError where neither is there */
export async function folderOf(
  place: string,
  into: string,
  { input, ui, world }: Typed,
  wanted: (name: string) => boolean = () => true,
): Promise<string> {
  if (!place.startsWith('s3://')) {
    if (statSync(place, { throwIfNoEntry: false })?.isDirectory()) return place;
    throw new SallyportError('config-unreadable', `${place} is no folder`, {
      hint: 'Name the folder of audit.ship.dir, or s3://BUCKET/PREFIX.',
    });
  }
  if (existsSync(into) && readdirSync(into).length > 0)
    throw usage(`--into ${JSON.stringify(into)} is not empty`, 'Name a folder that is empty, or not there yet.');
  mkdirSync(into, { recursive: true });
  const fetched = (name: string): void => ui.progress(`fetching ${name}`);
  await mirrorPlace(bucketAt(place, into, input, ui, world), into, { wanted, fetched });
  return into;
}

/** The folder of checkpoints, or a copy of those in the bucket, below the scratch folder. */
export function checkpointsOf(place: string, scratch: string, typed: Typed): Promise<string> {
  return folderOf(place, join(scratch, 'checkpoints'), typed, (name) => logOfCheckpoint(name) !== null);
}

/**
 * @param into the folder that its files are fetched to
 * @throws SallyportError `usage`; `ship-failed` where certificates cannot be read
 */
function bucketAt(url: string, into: string, input: Input, ui: Ui, world: World): S3Place {
  const at = parseBucketUrl(url);
  if (at === null) throw usage(`${JSON.stringify(url)} is no place`, 'Write s3://BUCKET/PREFIX.');
  const options = {
    file: `${into}/audit.jsonl`,
    limits: DEFAULT_LIMITS,
    env: world.env,
    now: () => new Date(world.now()),
  };
  if (input.text('config') === null) return new S3Place({ place: { ...ofEnvironment(world.env), ...at }, ...options });
  const { audit, limits } = loadFor(input, ui, world, { quiet: true }).settings;
  const place = [audit.ship, audit.checkpoints].find(
    (one) => one?.place.kind === 's3' && one.place.bucket === at.bucket,
  )?.place;
  if (place?.kind !== 's3')
    throw usage(
      `the policy file ships nothing to bucket ${at.bucket}`,
      'Leave --config out: the environment counts then.',
    );
  return new S3Place({ place: { ...place, prefix: at.prefix }, ...options, limits });
}

function ofEnvironment(env: World['env']): Omit<BucketPlace, 'bucket' | 'prefix'> {
  const region = env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'] ?? 'us-east-1';
  const given = env['AWS_ENDPOINT_URL_S3'] ?? env['AWS_ENDPOINT_URL'];
  const endpoint = given === undefined ? null : storeEndpoint(given);
  if (given !== undefined && endpoint === null)
    throw usage(
      'the endpoint of the environment is no https:// URL',
      'Set AWS_ENDPOINT_URL_S3 to https://HOST[:PORT].',
    );
  const file = env['AWS_SHARED_CREDENTIALS_FILE'];
  const credentials = file === undefined ? null : { file, profile: env['AWS_PROFILE'] ?? 'default' };
  return { kind: 's3', endpoint, region, caFile: env['AWS_CA_BUNDLE'] ?? null, credentials };
}
