// git over https through the built proxy: a clone, a push, and what a person reads when the host is not allowed.
// The server is git's own http-backend behind a small TLS server.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { gitBackend, seedRepository } from '../support/git-backend.ts';
import { ended } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

let world: World;
let server: Origin;
const root = tempDir('git');

beforeAll(async () => {
  server = await startHttpOrigin(gitBackend(root), { tls: certificateFor(['git.allowed.test']) });
  world = await startWorld(
    { allow: [{ host: 'git.allowed.test', ports: [server.port], addresses: LOOPBACK }] },
    { 'git.allowed.test': ['127.0.0.1'] },
  );
  await seedRepository(root, 'project');
});

afterAll(async () => {
  await world.close();
  await server.close();
});

const git = (...args: readonly string[]) =>
  world.client(['git', '-c', `http.proxy=${world.proxy.url()}`, '-c', `http.sslCAInfo=${testCa().caFile}`, ...args]);

it('clones an allowed repository', async () => {
  const done = await git('clone', '-q', `https://git.allowed.test:${server.port}/project.git`, 'checkout');
  expect(done, done.stderr).toMatchObject({ code: 0 });
  const shown = await world.client(['git', '-C', join(world.dir, 'checkout'), 'show', 'HEAD:README']);
  expect(shown.stdout).toBe('hello from the repository\n');
  expect(await auditLine(world.auditFile, ended('git.allowed.test'))).toMatchObject({
    verdict: 'allow',
    reason: 'allowed',
  });
});

it('pushes a commit', async () => {
  const checkout = join(world.dir, 'pushed');
  await git('clone', '-q', `https://git.allowed.test:${server.port}/project.git`, checkout);
  await world.client([
    'git',
    '-C',
    checkout,
    '-c',
    'user.name=a',
    '-c',
    'user.email=a@allowed.test',
    'commit',
    '-q',
    '--allow-empty',
    '-m',
    'second',
  ]);
  const done = await git('-C', checkout, 'push', '-q', 'origin', 'main');
  expect(done, done.stderr).toMatchObject({ code: 0 });
  const log = await world.client(['git', '-C', join(root, 'project.git'), 'log', '--format=%s']);
  expect(log.stdout).toBe('second\nfirst\n');
});

it('reads the status of a refusal', async () => {
  const done = await git('clone', 'https://git.denied.test/project.git', 'refused');
  expect(done.code).toBe(128);
  expect(done.stderr).toContain('403');
});

it('sends the claimed identity of the proxy URL, also where git asks first without credentials', async () => {
  const done = await world.client([
    'git',
    '-c',
    `http.proxy=${world.proxy.url('web%2Fjob-7')}`,
    '-c',
    `http.sslCAInfo=${testCa().caFile}`,
    'ls-remote',
    `https://git.allowed.test:${server.port}/project.git`,
  ]);
  expect(done, done.stderr).toMatchObject({ code: 0 });
  expect(done.stdout).toContain('refs/heads/main');
});
