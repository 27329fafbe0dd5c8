// A git server for tests: git's own http-backend behind an http handler, and repositories to serve.
import { spawn } from 'node:child_process';
import type http from 'node:http';
import { join } from 'node:path';
import { run } from './proxy-process.ts';
import { writeFile } from './temp.ts';

/** One CGI exchange (RFC 3875) with git http-backend, over the repositories below `root`. */
export function gitBackend(root: string): http.RequestListener {
  return (request, response) => {
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
}

/** A bare repository with one commit that may be pushed to. */
export async function seedRepository(root: string, name: string): Promise<void> {
  const seed = join(root, `${name}.seed`);
  const bare = join(root, `${name}.git`);
  for (const command of [
    ['git', 'init', '-q', '-b', 'main', seed],
    ['git', '-C', seed, 'add', '.'],
    ['git', '-C', seed, '-c', 'user.name=a', '-c', 'user.email=a@allowed.test', 'commit', '-q', '-m', 'first'],
    ['git', 'clone', '-q', '--bare', seed, bare],
    ['git', '-C', bare, 'config', 'http.receivepack', 'true'],
  ]) {
    if (command[3] === 'add') writeFile(join(seed, 'README'), 'hello from the repository\n');
    const done = await run(command, { env: { GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' } });
    if (done.code !== 0) throw new Error(`${command.join(' ')}: ${done.stderr}`);
  }
}
