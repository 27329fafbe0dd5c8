// Makes docs/openapi.json from the routes of the admin API; test/e2e/admin.test.ts holds it equal to what the listener serves.
// Usage: node scripts/openapi.ts            writes the document
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ApiParts, createApi } from '../src/admin/api.ts';
import { VERSION } from '../src/cli/version.ts';

// Nothing is asked of the parts until somebody asks a route.
const router = createApi({ version: VERSION } as ApiParts);
const document = router.routes.find(({ path }) => path === '/v1/openapi.json')?.handle({} as never);
const { json } = document as { json: object };
writeFileSync(join(import.meta.dirname, '..', 'docs', 'openapi.json'), `${JSON.stringify(json, null, 2)}\n`);
