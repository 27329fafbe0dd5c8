// A second place as the policy file names it.
import type { PlaceSettings } from '../config/second-place.ts';
import type { Limits } from '../limits.ts';
import { FolderPlace } from './folder-place.ts';
import type { Environment } from './s3-credentials.ts';
import { S3Place } from './s3-place.ts';
import type { SecondPlace } from './second-place.ts';

export interface PlaceOptions {
  /** The log: what is on its way to a bucket lies beside it. */
  readonly file: string;
  readonly limits: Pick<Limits, 'ship_timeout_ms' | 'ship_attempts_max'>;
  readonly env: Environment;
  readonly now: () => Date;
}

/** @throws SallyportError `ship-failed` where a file that it names cannot be read */
export function openPlace(place: PlaceSettings, options: PlaceOptions): SecondPlace {
  return place.kind === 'dir' ? new FolderPlace(place.dir) : new S3Place({ place, ...options });
}
