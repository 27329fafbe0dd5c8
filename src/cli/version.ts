// The version of this program, read once from package.json: it stands there and nowhere else.
import { readFileSync } from 'node:fs';
import { packaged } from '../places.ts';

const manifest = JSON.parse(readFileSync(packaged('package.json'), 'utf8')) as {
  version: string;
};

export const VERSION: string = manifest.version;
