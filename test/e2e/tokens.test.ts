// A job's token through the built proxy: curl and git send it as a password, its claims are matched by `for:`, each wrong one is
// told why, the keys come from a file or over our own guarded road, and no output holds a token.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { decided } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, readAudit, sallyport } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { AUDIENCE, type TokenChanges, tokenIssuer, unsigned } from '../support/tokens.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const issuer = tokenIssuer('k1');
const stranger = tokenIssuer('k1');
const keysFile = join(tempDir('tokens'), 'jwks.json');
const sent: string[] = [];
let world: World;
let origin: Origin;

const token = async (changes: TokenChanges = {}) => {
  const made = await issuer.token(changes);
  sent.push(made);
  return made;
};

const line = (text: string) => `${(text.length + 4).toString(16).padStart(4, '0')}${text}`;
const REFS = `${line('# service=git-upload-pack\n')}0000${line(`${'a'.repeat(40)} refs/heads/main\0agent=test\n`)}0000`;

beforeAll(async () => {
  writeFileSync(keysFile, issuer.jwks);
  origin = await startHttpOrigin(
    (request, response) => {
      if (request.url?.includes('git-upload-pack') !== true) return response.end('ok');
      response.setHeader('Content-Type', 'application/x-git-upload-pack-advertisement');
      return response.end(REFS);
    },
    { tls: certificateFor(['git.allowed.test', 'deploy.allowed.test']) },
  );
  const rule = { ports: [origin.port], addresses: LOOPBACK };
  world = await startWorld(
    {
      // Known by address too: git is asked for credentials all the same.
      clients: { from: LOOPBACK, groups: [{ from: LOOPBACK, set: { agent: 'host-1' } }] },
      oidc: { audience: AUDIENCE, organizations: ['acme'], jwks: { file: keysFile } },
      limits: { watch_interval_ms: 100 },
      allow: [
        { ...rule, host: 'git.allowed.test', for: { pipeline: 'web', branch: 'main' } },
        { ...rule, host: 'deploy.allowed.test', for: { pipeline: 'deploy' } },
      ],
    },
    { 'git.allowed.test': ['127.0.0.1'], 'deploy.allowed.test': ['127.0.0.1'] },
  );
});

afterAll(async () => {
  await world.close();
  await origin.close();
});

const curl = (password: string, host = 'git') =>
  world.client([
    ...['curl', '-sS', '-v', '--cacert', testCa().caFile],
    ...['--proxy', world.proxy.url(), '--proxy-user', `buildkite:${password}`],
    `https://${host}.allowed.test:${origin.port}/`,
  ]);

it('curl gets what is for its job, and no more', async () => {
  const job = await token();
  expect((await curl(job)).stdout).toBe('ok');
  expect((await curl(job, 'deploy')).stderr).toContain('HTTP/1.1 403 identity-not-allowed');
  expect(readAudit(world.auditFile).find(decided('git.allowed.test'))?.identity).toMatchObject({
    kind: 'job',
    attributes: { organization: 'acme', pipeline: 'web', branch: 'main', build: '7', queue: 'default' },
    claimed: {},
  });
});

it('git asks without credentials first, is challenged, and then lists the refs', async () => {
  const proxy = world.proxy.url().replace('//', `//buildkite:${await token()}@`);
  const done = await world.client([
    ...['git', '-c', `http.proxy=${proxy}`, '-c', `http.sslCAInfo=${testCa().caFile}`],
    ...['ls-remote', `https://git.allowed.test:${origin.port}/project.git`],
  ]);
  expect(done, done.stderr).toMatchObject({ code: 0, stdout: `${'a'.repeat(40)}\trefs/heads/main\n` });
  const reasons = readAudit(world.auditFile).flatMap((one) =>
    one.event === 'decided' && one.user_agent?.startsWith('git/') ? [one.reason] : [],
  );
  expect(reasons).toEqual(['credentials-required', 'allowed']);
});

it.each<[string, () => Promise<string>]>([
  ['token-expired', () => token({ at: Date.now() / 1_000 - 7_200 })],
  ['token-not-yet-valid', () => token({ at: Date.now() / 1_000 + 600 })],
  ['token-audience', () => token({ claims: { aud: 'sts.amazonaws.com' } })],
  ['token-issuer', () => token({ claims: { iss: 'https://evil.test' } })],
  ['token-organization', () => token({ claims: { organization_slug: 'evil' } })],
  ['token-signature', () => token({ key: stranger.keys.privateKey })],
  ['token-key-unknown', () => token({ header: { kid: 'k2' } })],
  ['token-algorithm', async () => unsigned(await token())],
  ['token-claims', () => token({ claims: { job_id: null } })],
  ['token-malformed', async () => (await token()).slice(0, 40)],
])('a wrong token is refused and told why: %s', async (code, make) => {
  const done = await curl(await make());
  expect(done.stderr).toContain(`HTTP/1.1 407 ${code}`);
  expect(done.stderr.toLowerCase()).toContain('proxy-authenticate: basic');
});

it('a key set that changes on the disk counts by itself; a damaged one leaves those that were known', async () => {
  const next = tokenIssuer('k2');
  const job = await next.token();
  sent.push(job);
  expect((await curl(job)).stderr).toContain('407 token-key-unknown');
  writeFileSync(keysFile, next.jwks);
  await auditLine(world.auditFile, (one) => one.event === 'policy' && one.detail['result'] === 'loaded');
  expect((await curl(job)).stdout).toBe('ok');
  expect((await curl(await token())).stderr).toContain('407 token-key-unknown');
  writeFileSync(keysFile, '{"keys": [{"kty": "oct", "k": "AAAA"}]}');
  await auditLine(world.auditFile, (one) => one.event === 'policy' && one.detail['result'] === 'refused');
  expect((await curl(job)).stdout).toBe('ok');
  const checked = await sallyport(['check', '--config', world.configFile]);
  expect(checked.stderr).toContain(`${keysFile}:1`);
});

it('no token stands in the audit log, the operational log, an answer or a report', async () => {
  const report = await sallyport(['report', '--config', world.configFile, '--format', 'html']);
  const answer = await world.client([
    ...['curl', '-sS', '--proxy', world.proxy.url(), '--proxy-user', `buildkite:${sent[0]}`],
    'http://git.allowed.test/',
  ]);
  expect(answer.stdout).toContain('sallyport: ');
  const outputs = [
    readFileSync(world.auditFile, 'utf8'),
    world.proxy.stderr(),
    world.proxy.stdout(),
    report.stdout,
    answer.stdout,
  ];
  for (const text of outputs) {
    for (const one of sent) {
      expect(text).not.toContain(one.slice(one.lastIndexOf('.') + 1));
      expect(text).not.toContain(one.split('.')[1]);
      expect(text).not.toContain(Buffer.from(`buildkite:${one}`).toString('base64').slice(0, 60));
    }
  }
});

it('keys are fetched by our own resolver past the address guard; without them tokens get 503 and say so', async () => {
  const keys = await startHttpOrigin((_, response) => response.end(issuer.jwks), {
    tls: certificateFor(['keys.test']),
  });
  const url = `https://keys.test:${keys.port}/jwks`;
  const policy = (addresses: readonly string[]) => ({
    oidc: { audience: AUDIENCE, organizations: ['acme'], jwks: { url, addresses } },
    allow: [{ host: 'git.allowed.test', ports: [origin.port], addresses: LOOPBACK, for: { pipeline: 'web' } }],
  });
  const other = await startWorld(
    policy([]),
    { 'keys.test': ['127.0.0.1'], 'git.allowed.test': ['127.0.0.1'] },
    { NODE_EXTRA_CA_CERTS: testCa().caFile },
  );
  try {
    const job = await issuer.token();
    const ask = () =>
      other.client([
        ...['curl', '-sS', '-v', '--cacert', testCa().caFile],
        ...['--proxy', other.proxy.url(), '--proxy-user', `buildkite:${job}`],
        `https://git.allowed.test:${origin.port}/`,
      ]);
    expect((await ask()).stderr).toContain('HTTP/1.1 503 token-keys-unavailable');
    expect(keys.connections()).toBe(0);
    expect(other.proxy.stderr()).toContain('may not be dialled: 127.0.0.1');
    other.write(policy(LOOPBACK));
    await auditLine(other.auditFile, (one) => one.event === 'policy' && one.detail['result'] === 'loaded');
    expect((await ask()).stdout).toBe('ok');
    expect(keys.connections()).toBe(1);
  } finally {
    await other.close();
    await keys.close();
  }
});
