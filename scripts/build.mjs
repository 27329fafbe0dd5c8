// Builds dist/ from src/: the bundle, the dashboard, the native engine, the catalog as values, the man page from the command table, and the list
// of the packages of others that are inside, with their licences. The compiler checks the types beside it; what it objects to is not built.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { shippedValues } from '../src/catalog/load.ts';
import { READ_BEFORE } from '../src/catalog/load-before.ts';
import { manPage } from '../src/cli/man.ts';
import { buildWeb } from './build-web.mjs';
import { bundle } from './bundle.mjs';
import { thirdPartyText } from './third-party.mjs';

const ROOT = join(import.meta.dirname, '..');
const DIST = join(ROOT, 'dist');

async function run(...command) {
  const [program, ...args] = command;
  const [code] = await once(spawn(program, args, { cwd: ROOT, stdio: 'inherit' }), 'exit');
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
}

rmSync(DIST, { recursive: true, force: true });
try {
  const work = [
    bundle(ROOT, DIST),
    buildWeb(join(DIST, 'admin', 'web')),
    run('tsc', '-p', 'tsconfig.json'),
    run(process.execPath, join(import.meta.dirname, 'build-native.mjs')),
  ];
  // All of them end before the first failure is told: none writes into what is taken away below.
  await Promise.allSettled(work);
  const [program, dashboard] = await Promise.all(work);
  const packages = [...program, ...dashboard].sort((a, b) => (a.name < b.name ? -1 : 1));
  writeFileSync(join(DIST, 'THIRD-PARTY.txt'), thirdPartyText(packages));
  const named = packages.map(({ name, version, licence }) => ({ name, version, licence }));
  writeFileSync(join(DIST, 'third-party.json'), `${JSON.stringify(named, null, 2)}\n`);

  writeFileSync(READ_BEFORE, JSON.stringify(shippedValues()));

  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  // The date of the sources, not of the build: two builds of the same sources are the same.
  const date = new Date(Number(process.env.SOURCE_DATE_EPOCH ?? 0) * 1000).toISOString().slice(0, 10);
  mkdirSync(join(DIST, 'man'), { recursive: true });
  writeFileSync(join(DIST, 'man', 'sallyport.1'), manPage(version, date === '1970-01-01' ? '' : date));
} catch (error) {
  // Half a build would run.
  rmSync(DIST, { recursive: true, force: true });
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
