// The version of this program, read once from package.json: it stands there and nowhere else.
// The same relative path holds from src/ and from dist/.
import { readFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

export const VERSION: string = manifest.version;
