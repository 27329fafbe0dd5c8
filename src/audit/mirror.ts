// A copy of a second place in a folder of this machine, to be verified and asked there as a folder is: everything is fetched anew, for
// what a copy has already says nothing of what lies in the store now.
import fs from 'node:fs';
import path from 'node:path';
import type { S3Place } from './s3-place.ts';

/** What a node and a file may be called here; anything else in a bucket is not ours. */
const OURS = /^[^./\\\0][^/\\\0]{0,254}$/;

interface Mirroring {
  /** Which files are wanted, by name. */
  readonly wanted: (name: string) => boolean;
  /** Hears of each file. */
  readonly fetched: (name: string) => void;
}

/** @param dir is made, and is empty */
export async function mirrorPlace(place: S3Place, dir: string, { wanted, fetched }: Mirroring): Promise<void> {
  for (const folder of await place.folders()) {
    if (!OURS.test(folder)) continue;
    fs.mkdirSync(path.join(dir, folder), { recursive: true, mode: 0o750 });
    for (const name of await place.list(folder)) {
      if (!OURS.test(name) || !wanted(name)) continue;
      fetched(`${folder}/${name}`);
      await place.fetch(folder, name, path.join(dir, folder, name));
    }
  }
}
