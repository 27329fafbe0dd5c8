// Inspected hosts through the built proxy: curl, and git that may fetch everything and push to one repository.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Line } from '../../src/policy/record.ts';
import { gitBackend, seedRepository } from '../support/git-backend.ts';
import { type InspectedWorld, startInspectedWorld } from '../support/inspected-world.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, readAudit, sallyport } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { certificateFor } from '../support/tls.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const HOST = 'git.allowed.test';
const root = tempDir('inspect-git');
let server: Origin;
let world: InspectedWorld;

beforeAll(async () => {
  server = await startHttpOrigin(gitBackend(root), { tls: certificateFor([HOST]) });
  for (const name of ['mine', 'others']) await seedRepository(root, name);
  world = await startInspectedWorld([{ host: HOST, ports: [server.port], git: { fetch: '**', push: ['mine'] } }]);
}, PROCESSES_MS);

afterAll(async () => {
  await world.close();
  await server.close();
});

const url = (name: string): string => `https://${HOST}:${server.port}/${name}.git`;
const git = (...args: readonly string[]) =>
  world.client(['git', '-c', `http.proxy=${world.proxy.url()}`, '-c', `http.sslCAInfo=${world.bundle}`, ...args]);
const denied = (line: Line): boolean => line.event === 'decided' && line.verdict === 'deny';

async function commit(name: string): Promise<string> {
  const checkout = join(world.dir, name);
  const cloned = await git('clone', '-q', url(name), checkout);
  expect(cloned, cloned.stderr).toMatchObject({ code: 0 });
  const author = ['-c', 'user.name=a', '-c', 'user.email=a@allowed.test'];
  await world.client(['git', '-C', checkout, ...author, 'commit', '-q', '--allow-empty', '-m', 'second']);
  return checkout;
}
const subjects = async (name: string): Promise<string> =>
  (await world.client(['git', '-C', join(root, `${name}.git`), 'log', '--format=%s'])).stdout;

describe('git', () => {
  it('clones, and pushes to the repository that is listed', async () => {
    const checkout = await commit('mine');
    const done = await git('-C', checkout, 'push', '-q', 'origin', 'main');
    expect(done, done.stderr).toMatchObject({ code: 0 });
    expect(await subjects('mine')).toBe('second\nfirst\n');
  });

  it('clones another one and cannot push to it: nothing has reached the server', async () => {
    const checkout = await commit('others');
    const done = await git('-C', checkout, 'push', '-q', 'origin', 'main');
    expect(done.code).not.toBe(0);
    expect(done.stderr).toContain('403');
    expect(await subjects('others')).toBe('first\n');
    expect(await auditLine(world.auditFile, denied)).toMatchObject({ host: HOST, reason: 'request-not-allowed' });
  });
});

describe('curl', () => {
  const curl = (...args: readonly string[]) =>
    world.client(['curl', '-sS', '-x', world.proxy.url(), '--cacert', world.bundle, ...args]);

  it('reads the refusal of a path, with its id', async () => {
    const done = await curl('-i', `${url('mine')}/config`);
    expect(done.stdout).toContain('403 request-not-allowed');
    const id = /sallyport-request-id: (\S+)/i.exec(done.stdout)?.[1];
    expect(readAudit(world.auditFile).some((line) => 'id' in line && line.id === id)).toBe(true);
  });

  it('gets an allowed path', async () => {
    const done = await curl(
      '-w',
      '%{http_code}',
      '-o',
      '/dev/null',
      `${url('mine')}/info/refs?service=git-upload-pack`,
    );
    expect(done).toMatchObject({ code: 0, stdout: '200' });
  });
});

it('each CONNECT and each request is decided once and ended once, and the log verifies', async () => {
  await world.proxy.stop();
  const lines = readAudit(world.auditFile);
  const decided = lines.filter((line) => line.event === 'decided' && line.outcome === undefined);
  const ended = lines.filter((line) => line.event === 'ended');
  expect(ended.map((line) => ('id' in line ? line.id : '')).sort()).toEqual(
    decided.map((line) => ('id' in line ? line.id : '')).sort(),
  );
  expect(decided.some((line) => 'method' in line && line.method === 'POST')).toBe(true);
  const verified = await sallyport(['audit', 'verify', '--config', world.configFile]);
  expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
});
