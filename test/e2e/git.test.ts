// git over https through the built proxy: a clone, a push, and what a person reads when the host is not allowed.
// The server is git's own http-backend behind a small TLS server.
import { spawn } from 'node:child_process';
import type http from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { ended } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS } from '../support/proxy-process.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

let world: World;
let server: Origin;
const root = tempDir('git');

/** One CGI exchange (RFC 3875) with git http-backend. */
const backend: http.RequestListener = (request, response) => {
  const url = new URL(request.url ?? '/', 'https://git.allowed.test');
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env['PATH'],
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      REMOTE_USER: 'builder',
      REQUEST_METHOD: request.method,
      PATH_INFO: url.pathname,
      QUERY_STRING: url.search.slice(1),
      CONTENT_TYPE: request.headers['content-type'],
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'],
      GIT_PROTOCOL: request.headers['git-protocol'] as string | undefined,
    },
  });
  request.pipe(child.stdin);
  child.stdin.on('error', () => {});
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.once('close', () => {
    const all = Buffer.concat(chunks);
    const end = all.indexOf('\r\n\r\n');
    for (const line of all.subarray(0, end).toString('latin1').split('\r\n')) {
      const [name = '', value = ''] = line.split(/: ?(.*)/);
      if (name.toLowerCase() === 'status') response.statusCode = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.end(all.subarray(end + 4));
  });
};

beforeAll(async () => {
  server = await startHttpOrigin(backend, { tls: certificateFor(['git.allowed.test']) });
  world = await startWorld(
    { allow: [{ host: 'git.allowed.test', ports: [server.port], addresses: LOOPBACK }] },
    { 'git.allowed.test': ['127.0.0.1'] },
  );
  const seed = join(root, 'seed');
  for (const command of [
    ['git', 'init', '-q', '-b', 'main', seed],
    ['git', '-C', seed, 'add', '.'],
    ['git', '-C', seed, '-c', 'user.name=a', '-c', 'user.email=a@allowed.test', 'commit', '-q', '-m', 'first'],
    ['git', 'clone', '-q', '--bare', seed, join(root, 'project.git')],
    ['git', '-C', join(root, 'project.git'), 'config', 'http.receivepack', 'true'],
  ]) {
    if (command[3] === 'add') writeFile(join(seed, 'README'), 'hello from the repository\n');
    const done = await world.client(command);
    if (done.code !== 0) throw new Error(`${command.join(' ')}: ${done.stderr}`);
  }
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
