// The built proxy follows a policy bundle at a URL: it starts with the first one, takes a newer one, and nothing that is unsigned, older, broken
// or unreachable; after a restart it has the last good one without the URL.
import { generateKeyPairSync } from 'node:crypto';
import { readlinkSync, writeFileSync } from 'node:fs';
import type http from 'node:http';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { makeBundle } from '../../src/config/load-bundle.ts';
import { echo, type Origin, startHttpOrigin, startOrigin } from '../support/origin.ts';
import { auditLines, PROCESSES_MS, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writeFile, writePolicy } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const [A, B] = ['a.corp.test', 'b.corp.test'];
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const ours = generateKeyPairSync('ed25519');
const theirs = generateKeyPairSync('ed25519');
let world: World;
let origin: Origin;

const policyFor = (host: string): string =>
  `version: 1\nallow:\n  - { host: ${host}, ports: [${origin.port}], protocol: any, addresses: [127.0.0.0/8] }\n`;
const bundleOf = (host: string, serial: number, key = ours.privateKey): string =>
  makeBundle({ 'sallyport.yaml': policyFor(host) }, serial, 'now', key);

async function asked(host: string): Promise<string> {
  const client = await RawClient.connect(world.proxy.proxy);
  client.send(`CONNECT ${host}:${origin.port} HTTP/1.1\r\nHost: ${host}:${origin.port}\r\n\r\n`);
  const { status, reason } = await client.readHead();
  client.close();
  return `${status} ${reason}`;
}

const reloaded = (count: number) =>
  auditLines(world.auditFile, (all) => all.filter(({ event }) => event === 'policy').length >= count);

it('takes what is signed and newer, and nothing else', async () => {
  origin = await startOrigin(echo);
  open.push(origin);
  let body = bundleOf(A, 10);
  let answer = 200;
  const seen: (string | undefined)[] = [];
  const serve: http.RequestListener = (request, response) => {
    const etag = `"${Buffer.from(body).subarray(-40).toString('base64')}"`;
    seen.push(request.headers['if-none-match']);
    if (request.headers['if-none-match'] === etag) return void response.writeHead(304).end();
    response.writeHead(answer, { ETag: etag }).end(answer === 200 ? body : '');
  };
  const host = await startHttpOrigin(serve, { tls: certificateFor(['policy.test']) });
  open.push(host);
  const dir = tempDir('source');
  const key = writeFile(join(dir, 'policy.pem'), String(ours.publicKey.export({ type: 'spki', format: 'pem' })));
  const ca = writeFile(join(dir, 'ca.pem'), testCa().ca);
  const source = {
    source: `https://policy.test:${host.port}/b`,
    public_keys: [key],
    ca_file: ca,
    addresses: LOOPBACK,
    dir: join(dir, 'policy'),
  };
  world = await startWorld(
    { policy: source, limits: { policy_poll_ms: 100 } },
    { [A]: ['127.0.0.1'], [B]: ['127.0.0.1'], 'policy.test': ['127.0.0.1'] },
  );
  open.push(world);
  expect([await asked(A), await asked(B)]).toEqual(['200 Connection established', '403 host-not-allowed']);
  await vi.waitUntil(() => seen.some((etag) => etag !== undefined), { timeout: 10_000 });

  body = bundleOf(B, 11);
  await reloaded(1);
  expect([await asked(A), await asked(B)]).toEqual(['403 host-not-allowed', '200 Connection established']);
  expect(readlinkSync(join(dir, 'policy', 'current'))).toMatch(/^v-11-/);

  for (const [bad, words] of [
    [bundleOf(A, 12, theirs.privateKey), /none of policy.public_keys/],
    [bundleOf(A, 9), /an old bundle is not taken/],
    [bundleOf(A, 11), /in force with other files/],
    [bundleOf(A, 12).replace('a.corp.test', 'c.corp.test'), /signature is not that of its files/],
    [makeBundle({ 'sallyport.yaml': 'version: 1\nallow: ["*"]\n' }, 13, 'now', ours.privateKey), /config-pattern/],
    [
      makeBundle({ 'sallyport.yaml': 'version: 1\nallow: []\nlisten: 0.0.0.0:1\n' }, 14, 'now', ours.privateKey),
      /belongs to each machine/,
    ],
  ] as const) {
    body = bad;
    await world.proxy.printed(words);
  }
  answer = 503;
  await world.proxy.printed(/policy.test answers 503/);
  expect([await asked(A), await asked(B)]).toEqual(['403 host-not-allowed', '200 Connection established']);

  await host.close();
  await world.proxy.stop();
  await world.restart();
  expect([await asked(A), await asked(B)]).toEqual(['403 host-not-allowed', '200 Connection established']);
  await world.proxy.printed(/bundle-unreachable|connect-refused/);
});

it('without a first bundle nothing starts; bundle make and verify', async () => {
  origin = await startOrigin(echo);
  open.push(origin);
  const dir = tempDir('source');
  const key = writeFile(
    join(dir, 'private.pem'),
    String(ours.privateKey.export({ type: 'pkcs8', format: 'pem' })),
    0o600,
  );
  const pub = writeFile(join(dir, 'policy.pem'), String(ours.publicKey.export({ type: 'spki', format: 'pem' })));
  const machine = writePolicy(join(dir, 'sallyport.yaml'), {
    version: 1,
    policy: { source: 'https://127.0.0.1:1/b', public_keys: [pub], addresses: LOOPBACK, dir: join(dir, 'policy') },
  });
  const refused = await sallyport(['serve', '--config', machine], { cwd: dir });
  expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('bundle-unreachable')]);

  const repo = join(dir, 'repo');
  writeFile(join(repo, 'sallyport.yaml'), `${policyFor(A)}layers: { ceiling: ceiling.yaml }\n`);
  writeFile(join(repo, 'ceiling.yaml'), 'version: 1\nallow: [a.test]\n');
  const out = join(dir, 'sallyport.bundle');
  const made = await sallyport(['bundle', 'make', repo, '--key', key, '--out', out, '--serial', '5', '--json'], {
    cwd: dir,
  });
  expect([made.code, JSON.parse(made.stdout)]).toEqual([
    0,
    expect.objectContaining({ serial: 5, files: ['ceiling.yaml', 'sallyport.yaml'] }),
  ]);
  const verified = await sallyport(['bundle', 'verify', out, '--public-key', pub], { cwd: dir });
  expect([verified.code, verified.stdout]).toEqual([0, expect.stringContaining('number 5')]);

  writeFileSync(join(repo, 'ceiling.yaml'), 'version: 1\nallow: [');
  const broken = await sallyport(['bundle', 'make', repo, '--key', key, '--out', out], { cwd: dir });
  expect([broken.code, broken.stderr]).toEqual([1, expect.stringContaining('ceiling.yaml:2')]);
});
