// Instance metadata: what of it may pass at all, once an operator has opted in. Anything that hands out credentials,
// user data or a signed identity must stay out, however the path is spelt.
import { describe, expect, test } from 'vitest';
import { spokenOn } from '../../src/catalog/catalog.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { pathAllowed } from '../../src/policy/paths.ts';

const catalog = loadCatalog();
const group = catalog.groups.get('instance-metadata');
const ecs = catalog.groups.get('ecs-task-metadata');

function passes(entry: string, method: string, path: string, fields: readonly string[] | 'all' = 'all'): boolean {
  const entries = [...(group?.entries ?? []), ...(ecs?.entries ?? [])];
  const found = entries.find((candidate) => candidate.id === entry);
  return pathAllowed(
    found?.paths ?? [],
    method,
    path,
    ({ name, value }) => fields === 'all' || fields.includes(value === undefined ? name : `${name}: ${value}`),
  );
}

test('the group must be opted into, goes direct, and is plain HTTP on port 80', () => {
  expect(group?.requires).toBe('proxy-host-identity');
  for (const entry of group?.entries ?? []) {
    expect(entry).toMatchObject({ via: 'direct', scheme: 'http', ports: [80], source: 'published' });
    expect(entry.paths?.length).toBeGreaterThan(0);
  }
});

test('so is the companion group for ECS tasks, which the page gives another address', () => {
  expect(ecs?.requires).toBe('proxy-host-identity');
  expect(ecs?.entries.map(({ host, ports, via, source }) => ({ host, ports, via, source }))).toEqual([
    { host: '169.254.170.2', ports: [80], via: 'direct', source: 'companion' },
  ]);
});

test('an entry with paths is plain HTTP on every port: in TLS nobody could look at a path', () => {
  const [entry] = group?.entries ?? [];
  expect(entry && spokenOn(entry, 443)).toBe('http');
  expect(entry && spokenOn({ scheme: entry.scheme }, 443)).toBe('https');
});

test('no other group requires or reaches it', () => {
  for (const each of catalog.groups.values()) {
    if (each === group || each === ecs) continue;
    expect(each.requires).toBeUndefined();
    for (const entry of each.entries) expect(entry.via).toBe('proxy');
  }
});

describe.each([
  ['meta-aws', 'PUT', '/latest/api/token'],
  ['meta-aws', 'GET', '/latest/meta-data/instance-id'],
  ['meta-aws', 'GET', '/latest/meta-data/tags/instance'],
  ['meta-aws', 'GET', '/latest/meta-data/tags/instance/Name'],
  ['meta-aws', 'GET', '/latest/dynamic/instance-identity/document'],
  ['meta-ecs', 'GET', '/v4/0123abcd-1'],
  ['meta-ecs', 'GET', '/v4/0123abcd-1/task'],
  ['meta-ecs', 'GET', '/v3/0123abcd-1/task'],
  ['meta-gcp', 'GET', '/computeMetadata/v1/instance/id'],
  ['meta-gcp', 'GET', '/computeMetadata/v1/instance/tags'],
  ['meta-gcp', 'GET', '/computeMetadata/v1/project/project-id'],
])('%s %s %s', (entry, method, path) => {
  test('passes', () => expect(passes(entry, method, path)).toBe(true));
  test('passes only with this method', () => {
    for (const other of ['GET', 'PUT', 'POST', 'DELETE'].filter((each) => each !== method)) {
      expect(passes(entry, other, path)).toBe(false);
    }
  });
});

test.each([
  ['meta-aws', 'PUT', '/latest/api/token', 'x-aws-ec2-metadata-token-ttl-seconds'],
  ['meta-aws', 'GET', '/latest/meta-data/instance-id', 'x-aws-ec2-metadata-token'],
  ['meta-aws', 'GET', '/latest/meta-data/tags/instance/Name', 'x-aws-ec2-metadata-token'],
  ['meta-aws', 'GET', '/latest/dynamic/instance-identity/document', 'x-aws-ec2-metadata-token'],
  ['meta-aws', 'GET', '/computeMetadata/v1/instance/id', 'metadata-flavor: Google'],
  ['meta-gcp', 'GET', '/computeMetadata/v1/project/project-id', 'metadata-flavor: Google'],
])('%s %s %s passes only with %s', (entry, method, path, field) => {
  expect(passes(entry, method, path, [field])).toBe(true);
  expect(passes(entry, method, path, [])).toBe(false);
});

test.each([
  ['meta-ecs', 'GET', '/v2/credentials/0123abcd'],
  ['meta-ecs', 'GET', '/v4/../v2/credentials/0123abcd'],
  ['meta-ecs', 'GET', '/v4/%2e%2e/v2/credentials/0123abcd'],
  ['meta-ecs', 'GET', '/v4//task'],
  ['meta-ecs', 'GET', '//v2/credentials/0123abcd'],
  ['meta-ecs', 'GET', '/V2/Credentials/0123abcd'],
  ['meta-ecs', 'GET', '/v4/0123abcd/stats'],
  ['meta-aws', 'GET', '/latest/api/token'],
  ['meta-aws', 'GET', '/Latest/Meta-Data/IAM/security-credentials/role'],
  ['meta-aws', 'GET', '/latest/meta-data//iam/security-credentials/role'],
  ['meta-aws', 'GET', '/latest/meta-data/%69am/security-credentials/role'],
  ['meta-aws', 'GET', '/latest/meta-data/iam/security-credentials/'],
  ['meta-aws', 'GET', '/latest/meta-data/iam/security-credentials/role'],
  ['meta-aws', 'GET', '/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance'],
  ['meta-aws', 'GET', '/latest/meta-data/tags/instance/../../iam/security-credentials/role'],
  ['meta-aws', 'GET', '/latest/meta-data/tags/instance/%2e%2e/%2e%2e/iam/info'],
  ['meta-aws', 'GET', '/latest/meta-data/tags'],
  ['meta-aws', 'GET', '/latest/meta-data/'],
  ['meta-aws', 'GET', '/latest/user-data'],
  ['meta-aws', 'GET', '/latest/dynamic/instance-identity/rsa2048'],
  ['meta-aws', 'GET', '/latest/dynamic/instance-identity/signature'],
  ['meta-aws', 'GET', '//latest/meta-data/instance-id'],
  ['meta-aws', 'GET', '/metadata/identity/oauth2/token'],
  ['meta-gcp', 'GET', '/computeMetadata/v1/instance/service-accounts/default/token'],
  ['meta-gcp', 'GET', '/computeMetadata/v1/instance/service-accounts/default/identity?audience=x'],
  ['meta-gcp', 'GET', '/computeMetadata/v1/instance/attributes/kube-env'],
  ['meta-gcp', 'GET', '/computeMetadata/v1/instance/?recursive=true'],
  ['meta-gcp', 'GET', '/computeMetadata/v1/instance/tags?recursive=true'],
  ['meta-gcp', 'GET', '/computeMetadata/v1beta1/instance/service-accounts/default/token'],
])('%s %s %s never passes', (entry, method, path) => {
  expect(passes(entry, method, path)).toBe(false);
});

test('the NO_PROXY list holds every published metadata address and the ones that practice adds', () => {
  const hosts = catalog.neverProxy.map((entry) => entry.host);
  for (const entry of group?.entries ?? []) expect(hosts).toContain(entry.host);
  expect(hosts).toEqual(expect.arrayContaining(['169.254.170.2', '169.254.170.23', 'fd00:ec2::254', '168.63.129.16']));
  for (const entry of catalog.neverProxy) expect(entry.why.length * entry.cite.length).toBeGreaterThan(0);
});
