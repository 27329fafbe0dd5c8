// A copy of a second place in a folder of this machine, to be verified and asked there as a folder is: everything is fetched anew, for
// what a copy has already says nothing of what lies in the store now.
import fs from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import type { S3Place } from './s3-place.ts';

/** What a node and a file may be called here; anything else in a bucket is not ours. */
const OURS = /^[^./\\\0][^/\\\0]*$/;
/** Of a name in a folder, as Linux and macOS have it. */
const NAME_BYTES_MAX = 255;

interface Mirroring {
  /** Which files are wanted, by name. */
  readonly wanted: (name: string) => boolean;
  /** Hears of each file. */
  readonly fetched: (name: string) => void;
}

/**
 * @param dir is made, and is empty
 * @throws SallyportError `ship-failed` where a name there is too long for a file: what is left out could not be called verified
 */
export async function mirrorPlace(place: S3Place, dir: string, { wanted, fetched }: Mirroring): Promise<void> {
  for (const folder of await place.folders()) {
    if (!OURS.test(folder)) continue;
    checkLength(place, folder);
    fs.mkdirSync(path.join(dir, folder), { recursive: true, mode: 0o750 });
    for (const name of await place.list(folder)) {
      if (!OURS.test(name) || !wanted(name)) continue;
      checkLength(place, name);
      fetched(`${folder}/${name}`);
      await place.fetch(folder, name, path.join(dir, folder, name));
    }
  }
}

function checkLength(place: S3Place, name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes <= NAME_BYTES_MAX) return;
  const shown = JSON.stringify(`${name.slice(0, 60)}…`);
  throw new SallyportError(
    'ship-failed',
    `${place.name}: the name ${shown} has ${bytes} bytes, and a file here has ${NAME_BYTES_MAX} at most`,
    { hint: 'Look at who put it there, and remove it; where it is a node of yours, give it a shorter name.' },
  );
}
