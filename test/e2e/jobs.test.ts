// A job posts its lease to the built proxy, works without credentials, reads what was refused to it, and gives the lease back; what
// others may not do with it; reload, restart and an address that two jobs share.
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { decided } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, readAudit } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir } from '../support/temp.ts';
import { AUDIENCE, type TokenChanges, tokenIssuer } from '../support/tokens.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const JOB = '0188a5c8-0000-4000-8000-00000000bbbb';
const OTHER = '0188a5c8-0000-4000-8000-00000000eeee';
const issuer = tokenIssuer('k1');
const keysFile = join(tempDir('jobs'), 'jwks.json');
let world: World;
let origin: Origin;
let token = '';
let others = '';

/** Of another agent on the same host. */
const named = (job: string): TokenChanges => ({ claims: { job_id: job, agent_id: 'another-agent' } });

beforeAll(async () => {
  writeFileSync(keysFile, issuer.jwks);
  token = await issuer.token();
  others = await issuer.token(named(OTHER));
  origin = await startHttpOrigin((_, response) => response.end('ok'));
  const rule = { ports: [origin.port], protocol: 'http', addresses: LOOPBACK };
  world = await startWorld(
    {
      oidc: { audience: AUDIENCE, organizations: ['acme'], jwks: { file: keysFile } },
      plain_http: true,
      allow: [
        { ...rule, host: 'web.allowed.test', for: { pipeline: 'web' } },
        { ...rule, host: 'all.allowed.test' },
      ],
      expected_denials: ['telemetry.test'],
      help: { owner: 'platform', contact: '#egress', request_url: 'https://ask.test/?h={host}&p={port}&j={job}' },
    },
    { 'web.allowed.test': ['127.0.0.1'], 'all.allowed.test': ['127.0.0.1'] },
  );
});

afterAll(async () => {
  await world.close();
  await origin.close();
});

interface Answer {
  readonly status: number;
  readonly body: string;
}

async function api(method: string, path: string, bearer: string | null = token, ...more: string[]): Promise<Answer> {
  const done = await world.client([
    ...['curl', '-sS', '-w', '\n%{http_code}', '--noproxy', '', '--proxy', world.proxy.url(), '-X', method],
    ...(bearer === null ? [] : ['-H', `Authorization: Bearer ${bearer}`]),
    ...more,
    `http://sallyport.invalid/v1/jobs/${path}`,
  ]);
  const split = done.stdout.lastIndexOf('\n');
  return { status: Number(done.stdout.slice(split + 1)), body: done.stdout.slice(0, split) };
}

const get = async (host: string, user?: string): Promise<string> =>
  (
    await world.client([
      ...['curl', '-sS', '-w', '%{http_code}', '--proxy', world.proxy.url(user)],
      `http://${host}:${origin.port}/`,
    ])
  ).stdout;

interface JobReport {
  readonly denied: number;
  readonly missing_nodes: readonly string[];
  readonly shared_with: readonly string[];
  readonly refused: readonly { readonly host: string; readonly [key: string]: unknown }[];
  readonly [key: string]: unknown;
}
const report = async (job = JOB, bearer = token): Promise<JobReport> =>
  JSON.parse((await api('GET', `${job}/report?format=json&wait_ms=10000`, bearer)).body) as JobReport;

it('begins a lease, and what comes from the address without credentials is the job', async () => {
  expect(await get('web.allowed.test')).toMatch(/credentials-required[\s\S]*407$/);
  const begun = await api('POST', `${JOB}/lease`);
  expect(begun.status).toBe(201);
  expect(JSON.parse(begun.body)).toEqual({
    job: JOB,
    expires_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}\.000Z$/),
    address: '127.0.0.1',
    shared: false,
    candidates: [JOB],
  });
  expect((await api('POST', `${JOB}/lease`)).status).toBe(200);
  expect(await get('web.allowed.test')).toBe('ok200');
  const line = readAudit(world.auditFile).findLast(decided('web.allowed.test'));
  expect(line?.identity).toMatchObject({ kind: 'job', attributes: { pipeline: 'web', job: JOB }, via: 'lease' });
  // A claim is credentials: it is not the job's.
  expect(await get('web.allowed.test', 'web%2Fx')).toMatch(/identity-not-allowed[\s\S]*403$/);
  const acts = readAudit(world.auditFile).flatMap((one) => (one.event === 'job' ? [one.detail] : []));
  expect(acts).toMatchObject([
    { act: 'lease', job: JOB, client: '127.0.0.1', shared: false },
    { act: 'lease', job: JOB, client: '127.0.0.1', shared: false },
  ]);
});

it('reports what was refused to the job, with its reason, what to do, and the likely redirect', async () => {
  await get('all.allowed.test');
  await get('cdn.test');
  await get('telemetry.test');
  // Somebody else says that he is the job.
  await get('claimed.test', `web%2F${JOB}`);
  const found = await report();
  expect(found).toMatchObject({
    job: JOB,
    denied: 1,
    would_deny: 0,
    missing_nodes: [],
    shared_with: [],
    owner: 'platform',
    contact: '#egress',
    refused: [
      {
        host: 'cdn.test',
        port: origin.port,
        verdict: 'deny',
        count: 1,
        reason: 'host-not-allowed',
        hint: expect.stringContaining('cdn.test'),
        redirect_from: { host: 'all.allowed.test', port: origin.port },
        request_url: `https://ask.test/?h=cdn.test&p=${origin.port}&j=${JOB}`,
      },
    ],
  });
  expect(found['tunnels']).toBeGreaterThanOrEqual(2);
  const markdown = (await api('GET', `${JOB}/report?format=markdown`)).body;
  expect(markdown).toMatch(/^1 request was refused, \d+ went through\.\n/);
  expect(markdown).toContain(`| cdn.test:${origin.port} | 1 | 127.0.0.1 | host-not-allowed | `);
  expect(markdown).toContain(`likely a redirect from all.allowed.test:${origin.port} · [ask for it](`);
  expect(markdown).toContain('Whom to ask: platform, &#35;egress');
});

it('takes the token as credentials of the proxy URL too', async () => {
  const done = await world.client([
    ...['curl', '-sS', '--proxy', world.proxy.url(), '--proxy-user', `buildkite:${token}`],
    `http://sallyport.invalid/v1/jobs/${JOB}/report`,
  ]);
  expect(JSON.parse(done.stdout)).toMatchObject({ job: JOB, denied: 1 });
});

it.each<[string, string, string, () => string | null, number, string, ...string[]]>([
  ['no token', 'POST', `${JOB}/lease`, () => null, 401, 'job-token-required'],
  ['a word instead of a token', 'POST', `${JOB}/lease`, () => 'hunter2', 401, 'job-token-required'],
  ['a token of another job', 'POST', `${JOB}/lease`, () => others, 403, 'job-of-others'],
  ['the report of another job', 'GET', `${OTHER}/report`, () => token, 403, 'job-of-others'],
  ['the lease of another job', 'DELETE', `${JOB}/lease`, () => others, 403, 'job-of-others'],
  ['a changed token', 'POST', `${JOB}/lease`, () => `${token.slice(0, -6)}AAAAAA`, 401, 'token-signature'],
  ['another path', 'GET', `${JOB}/secrets`, () => token, 404, 'job-path'],
  ['no job', 'GET', '', () => token, 404, 'job-path'],
  ['a path with dots', 'GET', `../jobs/${JOB}/report`, () => token, 404, 'job-path', '--path-as-is'],
  ['another method', 'GET', `${JOB}/lease`, () => token, 405, 'job-method'],
  ['another method of a report', 'POST', `${JOB}/report`, () => token, 405, 'job-method'],
  ['a parameter that is not known', 'GET', `${JOB}/report?fromat=json`, () => token, 400, 'job-request'],
  ['a parameter twice', 'GET', `${JOB}/report?format=json&format=json`, () => token, 400, 'job-request'],
  ['a parameter of a lease', 'POST', `${JOB}/lease?x=1`, () => token, 400, 'job-request'],
  ['a body', 'POST', `${JOB}/lease`, () => token, 400, 'job-request', '-d', 'x=1'],
  ['two tokens', 'POST', `${JOB}/lease`, () => token, 400, 'job-request', '-H', 'Authorization: Bearer a.b.c'],
])('refuses %s, with a record', async (_, method, path, bearer, status, code, ...more) => {
  const before = readAudit(world.auditFile).length;
  const answer = await api(method, path, bearer(), ...more, '-H', 'Accept: application/json');
  expect([answer.status, (JSON.parse(answer.body) as { code: string }).code]).toEqual([status, code]);
  const records = readAudit(world.auditFile).slice(before).filter(decided('sallyport.invalid'));
  expect(records).toMatchObject([
    { verdict: 'deny', reason: code, outcome: code, host: 'sallyport.invalid', port: 80 },
  ]);
});

it('the name is no host: a tunnel to it and other ports are refused, and nobody is asked for it', async () => {
  for (const target of ['sallyport.invalid:80', 'sallyport.invalid:443', 'SALLYPORT.invalid.:443']) {
    const client = await RawClient.connect(world.proxy.proxy);
    client.send(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
    expect(await client.readHead()).toMatchObject({ status: 403, reason: 'self-prohibited' });
    client.close();
  }
  const elsewhere = await world.client([
    'curl',
    '-sS',
    '--proxy',
    world.proxy.url(),
    'http://sallyport.invalid:8080/v1/',
  ]);
  expect(elsewhere.stdout).toContain('self-prohibited');
  const direct = await world.client([
    'curl',
    '-sS',
    '-H',
    'Host: sallyport.invalid',
    `${world.proxy.url()}/v1/jobs/${JOB}/report`,
  ]);
  expect(direct.stdout).toContain('target-malformed');
  expect(world.dns.log.filter(({ name }) => name.includes('sallyport'))).toEqual([]);
});

it('an address that two jobs share is neither: candidates are recorded, the base policy counts', async () => {
  const second = await api('POST', `${OTHER}/lease`, others);
  expect([second.status, JSON.parse(second.body)]).toMatchObject([201, { shared: true, candidates: [JOB, OTHER] }]);
  expect(await get('web.allowed.test')).toMatch(/credentials-required[\s\S]*407$/);
  expect(await get('all.allowed.test')).toBe('ok200');
  expect(readAudit(world.auditFile).findLast(decided('all.allowed.test'))?.identity).toEqual({
    kind: 'anonymous',
    attributes: {},
    claimed: {},
    candidates: [JOB, OTHER],
  });
  expect(await report()).toMatchObject({ shared_with: [OTHER] });
  expect((await api('GET', `${JOB}/report?format=markdown`)).body).toContain('the leases of 2 jobs');
  expect((await api('DELETE', `${OTHER}/lease`, others)).status).toBe(204);
  expect((await api('DELETE', `${OTHER}/lease`, others)).status).toBe(204);
  expect(await get('web.allowed.test')).toBe('ok200');
});

it('a lease outlives a reload and a restart, in a file that only the proxy may read', async () => {
  world.write({ expected_denials: ['telemetry.test', 'x.test'] });
  world.proxy.signal('SIGHUP');
  await auditLine(world.auditFile, (one) => one.event === 'policy' && one.detail['result'] === 'loaded');
  expect(await get('web.allowed.test')).toBe('ok200');
  await world.proxy.stop();
  const file = `${world.auditFile}.leases.json`;
  expect(statSync(file).mode & 0o777).toBe(0o600);
  await world.restart();
  expect(await get('web.allowed.test')).toBe('ok200');
  // The organization counts no longer, and so does nothing that it proved.
  const lines = readAudit(world.auditFile).length;
  world.write({ oidc: { audience: AUDIENCE, organizations: ['other'], jwks: { file: keysFile } } });
  world.proxy.signal('SIGHUP');
  await auditLine(
    world.auditFile,
    (one) => one.event === 'policy' && one.seq > lines && one.detail['result'] === 'loaded',
  );
  expect(await get('web.allowed.test')).toMatch(/407$/);
});

it('without oidc there is no job API; with a damaged file of leases there are none', async () => {
  await world.proxy.stop();
  writeFileSync(`${world.auditFile}.leases.json`, '{"version":1,"leases":[{"job":1}]}');
  world.write({ oidc: undefined });
  await world.restart();
  expect((await api('POST', `${JOB}/lease`)).body).toContain('job-api-off');
  expect(world.proxy.stderr()).toContain('leases of the process before cannot be read');
});
