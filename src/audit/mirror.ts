// A copy of a second place in a folder of this machine, to be verified and asked there as a folder is: everything is fetched anew, for
// what a copy has already says nothing of what lies in the store now.
import fs from 'node:fs';
import path from 'node:path';
import type { S3Place } from './s3-place.ts';

/** What a node and a file may be called here; anything else in a bucket is not ours. */
const OURS = /^[^./\\\0][^/\\\0]{0,254}$/;

/**
 * @param dir is made, and is empty
 * @param fetched hears of each file
 */
export async function mirrorPlace(place: S3Place, dir: string, fetched: (name: string) => void): Promise<void> {
  for (const folder of await place.folders()) {
    if (!OURS.test(folder)) continue;
    fs.mkdirSync(path.join(dir, folder), { recursive: true, mode: 0o750 });
    for (const name of await place.list(folder)) {
      if (!OURS.test(name)) continue;
      fetched(`${folder}/${name}`);
      await place.fetch(folder, name, path.join(dir, folder, name));
    }
  }
}
