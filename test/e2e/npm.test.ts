// npm through the built proxy: a registry of one package over TLS, with the certificate checked.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import type http from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { decided, ended } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, readAudit } from '../support/proxy-process.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

let world: World;
let registry: Origin;
let tarball: Buffer;

const answer: http.RequestListener = (request, response) => {
  if (request.url === '/tiny/-/tiny-1.0.0.tgz') {
    response.end(tarball);
    return;
  }
  if (request.url !== '/tiny') {
    response.writeHead(404, { 'Content-Type': 'application/json' }).end('{"error":"not found"}');
    return;
  }
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
  const dist = { tarball: `https://registry.allowed.test:${registry.port}/tiny/-/tiny-1.0.0.tgz`, integrity };
  response.setHeader('Content-Type', 'application/json');
  response.end(
    JSON.stringify({
      name: 'tiny',
      'dist-tags': { latest: '1.0.0' },
      versions: { '1.0.0': { name: 'tiny', version: '1.0.0', dist } },
    }),
  );
};

beforeAll(async () => {
  registry = await startHttpOrigin(answer, { tls: certificateFor(['registry.allowed.test', 'registry.denied.test']) });
  world = await startWorld(
    { allow: [{ host: 'registry.allowed.test', ports: [registry.port], addresses: LOOPBACK }] },
    { 'registry.allowed.test': ['127.0.0.1'], 'registry.denied.test': ['127.0.0.1'] },
  );
  const made = tempDir('npm');
  writeFile(
    join(made, 'package', 'package.json'),
    JSON.stringify({ name: 'tiny', version: '1.0.0', main: 'index.js' }),
  );
  writeFile(join(made, 'package', 'index.js'), 'module.exports = "tiny";\n');
  const packed = await world.client(['tar', '-czf', join(made, 'tiny.tgz'), '-C', made, 'package']);
  if (packed.code !== 0) throw new Error(packed.stderr);
  tarball = readFileSync(join(made, 'tiny.tgz'));
});

afterAll(async () => {
  await world.close();
  await registry.close();
});

function npm(project: string, host: string, ...args: readonly string[]) {
  const dir = join(world.dir, project);
  mkdirSync(dir);
  writeFile(join(dir, 'package.json'), '{"name":"project","version":"1.0.0","private":true}');
  return world.client([
    'npm',
    '--prefix',
    dir,
    ...args,
    '--registry',
    `https://${host}:${registry.port}/`,
    '--proxy',
    world.proxy.url(),
    '--https-proxy',
    world.proxy.url('web%2Fjob-3'),
    '--cafile',
    testCa().caFile,
    '--strict-ssl',
    'true',
    '--cache',
    join(world.dir, 'npm-cache'),
    '--userconfig',
    join(world.dir, 'npmrc'),
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
    '--fetch-retries',
    '0',
  ]);
}

it('installs a package from an allowed registry', async () => {
  const done = await npm('allowed', 'registry.allowed.test', 'install', 'tiny');
  expect(done, done.stderr).toMatchObject({ code: 0 });
  expect(existsSync(join(world.dir, 'allowed', 'node_modules', 'tiny', 'index.js'))).toBe(true);
  const line = await auditLine(world.auditFile, ended('registry.allowed.test'));
  expect(line).toMatchObject({
    verdict: 'allow',
    identity: { kind: 'claimed', claimed: { pipeline: 'web', job: 'job-3' } },
  });
});

it('shows the status line of the refusal when the registry is not allowed', async () => {
  const done = await npm('denied', 'registry.denied.test', 'install', 'tiny');
  expect(done.code).not.toBe(0);
  expect(done.stderr).toContain('403');
  expect(readAudit(world.auditFile).find(decided('registry.denied.test'))).toMatchObject({
    reason: 'host-not-allowed',
  });
});
