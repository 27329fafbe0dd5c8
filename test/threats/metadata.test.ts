// Instance metadata through the proxy, in a network namespace in which its addresses exist on loopback alone: refused without the
// opt-in, with the way around; with it only the documented paths pass, and no spelling of another one does.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { canMakeNamespace, type MetadataNamespace, startMetadataNamespace } from '../support/metadata-namespace.ts';
import { PROCESSES_MS, type ProxyProcess, readAudit, run, startProxy } from '../support/proxy-process.ts';
import { tempDir, writePolicy } from '../support/temp.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const TOKEN = ['-H', 'X-aws-ec2-metadata-token: session-token'];
const TTL = ['-X', 'PUT', '-H', 'X-aws-ec2-metadata-token-ttl-seconds: 60'];
const GOOGLE = ['-H', 'Metadata-Flavor: Google'];
const EC2 = 'http://169.254.169.254';
const ECS = 'http://169.254.170.2';
const GCP = 'http://metadata.google.internal';

describe.runIf(canMakeNamespace())('instance metadata', () => {
  let namespace: MetadataNamespace;
  let closed: ProxyProcess;
  let open: ProxyProcess;
  const dir = tempDir('metadata');
  const audit = (name: string) => join(dir, name, 'audit.jsonl');

  const proxy = async (name: string, allow: readonly object[]): Promise<ProxyProcess> => {
    mkdirSync(join(dir, name));
    const file = writePolicy(join(dir, name, 'sallyport.yaml'), {
      version: 1,
      listen: '127.0.0.1:0',
      admin: '127.0.0.1:0',
      clients: { from: ['127.0.0.0/8'] },
      dns: { servers: [namespace.dns] },
      audit: { file: audit(name) },
      usage: { store: join(dir, name, 'usage.db') },
      allow: [...allow],
    });
    return startProxy(['--config', file], { command: [...namespace.inside, process.execPath] });
  };

  beforeAll(async () => {
    namespace = await startMetadataNamespace();
    const understood = { i_understand: 'proxy-host-identity' };
    closed = await proxy('closed', [{ group: 'buildkite-agent' }]);
    open = await proxy('open', [
      { group: 'instance-metadata', ...understood },
      { group: 'ecs-task-metadata', ...understood },
    ]);
  });
  afterAll(async () => {
    await Promise.all([open?.kill9(), closed?.kill9()]);
    await namespace?.close();
  });

  const curl = (through: ProxyProcess, ...args: readonly string[]) =>
    run([...namespace.inside, 'curl', '-sS', '--path-as-is', '-w', ' %{http_code}', '-x', through.url(), ...args], {
      env: { no_proxy: undefined, NO_PROXY: undefined },
    });

  describe('Z1 without the opt-in it is refused, with a hint that names NO_PROXY', () => {
    it.each([
      [[`${EC2}/latest/meta-data/instance-id`, ...TOKEN]],
      [[`${EC2}/latest/api/token`, ...TTL]],
      [[`${ECS}/v4/0123/task`]],
      [[`${GCP}/computeMetadata/v1/instance/id`, ...GOOGLE]],
    ])('%j', async (args) => {
      const before = namespace.reached().length;
      const done = await curl(closed, ...args);
      expect(done.stdout).toMatch(/metadata-prohibited[\s\S]* 403$/);
      expect(done.stdout).toContain('NO_PROXY');
      expect(namespace.reached()).toHaveLength(before);
    });

    it('a tunnel to it is refused too', async () => {
      const done = await curl(closed, '-p', `${EC2}/latest/meta-data/instance-id`, ...TOKEN);
      expect(done.stderr).toContain('403');
      expect(readAudit(audit('closed')).at(-1)).toMatchObject({ method: 'CONNECT', reason: 'metadata-prohibited' });
    });
  });

  describe('Z2 with the opt-in the documented paths pass, each with the field that its cloud wants', () => {
    it.each([
      ['session-token 200', [`${EC2}/latest/api/token`, ...TTL]],
      ['answer to /latest/meta-data/instance-id 200', [`${EC2}/latest/meta-data/instance-id`, ...TOKEN]],
      ['answer to /latest/meta-data/tags/instance/Name 200', [`${EC2}/latest/meta-data/tags/instance/Name`, ...TOKEN]],
      [
        'answer to /latest/dynamic/instance-identity/document 200',
        [`${EC2}/latest/dynamic/instance-identity/document`, ...TOKEN],
      ],
      ['answer to /v4/0123 200', [`${ECS}/v4/0123`]],
      ['answer to /v4/0123/task 200', [`${ECS}/v4/0123/task`]],
      ['answer to /computeMetadata/v1/instance/zone 200', [`${GCP}/computeMetadata/v1/instance/zone`, ...GOOGLE]],
      [
        'answer to /computeMetadata/v1/project/project-id 200',
        [`${EC2}/computeMetadata/v1/project/project-id`, ...GOOGLE],
      ],
    ])('%s', async (answer, args) => {
      const done = await curl(open, ...args);
      expect(done.stdout, done.stderr).toBe(answer);
    });
  });

  describe('Z3 with the opt-in no credentials pass, however the path is spelt', () => {
    const ROLE = '/latest/meta-data/iam/security-credentials/role';
    it.each([
      ['credentials', [`${EC2}${ROLE}`, ...TOKEN]],
      ['credentials in capitals', [`${EC2}/LATEST/meta-data/IAM/security-credentials/role`, ...TOKEN]],
      ['a percent-encoded letter', [`${EC2}/latest/meta-data/%69am/security-credentials/role`, ...TOKEN]],
      ['a percent-encoded slash', [`${EC2}/latest/meta-data/tags%2f..%2fiam/security-credentials/role`, ...TOKEN]],
      ['dot segments', [`${EC2}/latest/meta-data/tags/instance/../../iam/security-credentials/role`, ...TOKEN]],
      ['encoded dot segments', [`${EC2}/latest/meta-data/tags/instance/%2e%2e/%2e%2e/iam/info`, ...TOKEN]],
      ['doubled slashes', [`${EC2}//latest/meta-data/iam/security-credentials/role`, ...TOKEN]],
      ['doubled slashes inside', [`${EC2}/latest//meta-data/instance-id`, ...TOKEN]],
      ['a query', [`${EC2}/latest/meta-data/instance-id?x=/iam/`, ...TOKEN]],
      ['version 1: no token', [`${EC2}/latest/meta-data/instance-id`]],
      ['a token without its time to live', [`${EC2}/latest/api/token`, '-X', 'PUT']],
      ['user data', [`${EC2}/latest/user-data`, ...TOKEN]],
      ['another method', [`${EC2}/latest/meta-data/instance-id`, '-X', 'POST', ...TOKEN]],
      ['the role of an ECS task', [`${ECS}/v2/credentials/0123`]],
      ['the role of an ECS task behind dots', [`${ECS}/v4/../v2/credentials/0123`]],
      ['an access token of Google', [`${GCP}/computeMetadata/v1/instance/service-accounts/default/token`, ...GOOGLE]],
      ['attributes with secrets', [`${GCP}/computeMetadata/v1/instance/attributes/kube-env`, ...GOOGLE]],
      ['Google without Metadata-Flavor', [`${GCP}/computeMetadata/v1/instance/zone`]],
      ['Google with another flavor', [`${GCP}/computeMetadata/v1/instance/zone`, '-H', 'Metadata-Flavor: Mocha']],
      ['everything at once', [`${GCP}/computeMetadata/v1/instance/?recursive=true`, ...GOOGLE]],
    ])('%s', async (_, args) => {
      const before = namespace.reached().length;
      const done = await curl(open, ...args);
      expect(done.stdout).toMatch(/path-not-allowed[\s\S]* 403$/);
      expect(done.stdout).not.toContain('SECRET');
      expect(namespace.reached()).toHaveLength(before);
    });

    it('a tunnel, which would carry any path', async () => {
      const done = await curl(open, '-p', `${EC2}/latest/meta-data/instance-id`, ...TOKEN);
      expect(done.stderr).toContain('403');
    });
  });

  it('says which field a path wants', async () => {
    const done = await curl(open, `${EC2}/latest/meta-data/instance-id`);
    expect(done.stdout).toContain('x-aws-ec2-metadata-token');
  });
});
