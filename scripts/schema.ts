// Writes config/sallyport.schema.json from the zod shape; with --check it exits 1 where the file differs from it.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { jsonSchemaText } from '../src/config/json-schema.ts';

const file = fileURLToPath(new URL('../config/sallyport.schema.json', import.meta.url));
const wanted = jsonSchemaText();
const found = existsSync(file) ? readFileSync(file, 'utf8') : '';

if (!process.argv.includes('--check')) writeFileSync(file, wanted);
else if (found !== wanted) {
  console.error('config/sallyport.schema.json differs from src/config/schema.ts: run `npm run schema`');
  process.exitCode = 1;
}
