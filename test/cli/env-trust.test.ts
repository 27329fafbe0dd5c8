// `sallyport env` where hosts are inspected: each tool is told how it comes to trust the CA, and no shell is pointed at a file that is not there.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { TOOLS } from '../../src/cli/env-tools.ts';
import { tempDir, writePolicy } from '../support/temp.ts';
import { type, typeJson } from './console.ts';

const BUNDLE = "/srv/it's here/ca.pem";
const dir = tempDir('env-trust');
const policy = (inspection: object) =>
  writePolicy(join(dir, `${Object.keys(inspection).length}.yaml`), {
    version: 1,
    listen: '127.0.0.1:3128',
    clients: { from: ['127.0.0.0/8'] },
    allow: [{ host: 'git.allowed.test', inspect: true, git: { fetch: '**' } }].slice(
      Object.keys(inspection).length === 0 ? 1 : 0,
    ),
    ...inspection,
  });
const inspected = policy({ inspection: { ca: { cert: BUNDLE, key: '/srv/ca.key' } } });

it.each(TOOLS)('--for %s says what to do about the CA, and nothing where nothing is inspected', async (tool) => {
  const { code, json } = await typeJson<{ ca: string; text: string }>(['env', '--for', tool, '--config', inspected]);
  expect(code).toBe(0);
  expect(json.ca).toBe(BUNDLE);
  expect(json.text).toContain('Inspected');
  const without = policy({});
  expect((await type(['env', '--for', tool, '--config', without])).out).not.toContain('nspected');
});

it('a shell takes it: Node is told, and what replaces a list is set only where the file is there', async () => {
  const { out } = await type(['env', '--config', inspected]);
  const script = `set -eu\n${out}\nprintf '%s|%s' "$NODE_EXTRA_CA_CERTS" "\${SSL_CERT_FILE-unset}"`;
  const env = { PATH: process.env['PATH'] ?? '' };
  expect(execFileSync('sh', ['-c', script], { encoding: 'utf8', env })).toBe(`${BUNDLE}|unset`);
  for (const name of ['GIT_SSL_CAINFO', 'REQUESTS_CA_BUNDLE', 'PIP_CERT', 'AWS_CA_BUNDLE', 'CURL_CA_BUNDLE'])
    expect(out).toContain(`  export ${name}=`);
});

it('Java and Docker are told of their own stores', async () => {
  expect((await type(['env', '--for', 'java', '--config', inspected])).out).toContain('keytool -importcert');
  expect((await type(['env', '--for', 'dockerd', '--config', inspected])).out).toContain('/etc/docker/certs.d/');
});
