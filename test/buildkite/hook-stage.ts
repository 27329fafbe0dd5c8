// One job on one agent's host, for tests of the hooks: a stand-in buildkite-agent, a stand-in job API behind a stand-in proxy, and the
// hooks run as the agent runs them (sourced by a shell whose environment is taken afterwards).
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, watch } from 'node:fs';
import type http from 'node:http';
import { dirname, join } from 'node:path';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { type Finished, run } from '../support/proxy-process.ts';
import { tempDir, writeFile } from '../support/temp.ts';

const ROOT = join(import.meta.dirname, '..', '..');
export const PLUGIN = join(ROOT, 'deploy', 'buildkite', 'plugin');
export const HOST_HOOKS = join(ROOT, 'deploy', 'buildkite', 'hooks');
export const JOB = '0190f3a2-4c1d-4f6e-9a61-0d3c5e7f9b11';

/** One request that the job API got. */
export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly authorization: string;
  readonly host: string;
}

/** What the job API answers; a test changes it as the job goes on. */
export interface JobApi {
  lease: { status: number; body: object | string };
  report: { status: number; body: object | string };
  markdown: string;
  readonly asked: Asked[];
  /** Settles at the next request that `wanted` accepts, or at once where there was one. */
  saw(wanted: (asked: Asked) => boolean): Promise<void>;
}

/** A host with an agent and one job. */
export interface Host {
  readonly dir: string;
  /** Runs a hook; `env` over a job's usual environment. Its variables afterwards are in `after`. */
  hook(
    path: string,
    env?: Readonly<Record<string, string | undefined>>,
  ): Promise<Finished & { after: Record<string, string> }>;
  /** A file that the stand-in agent has written: `calls`, `wrong`, an annotation by its context. */
  agent(name: string): string | null;
  /** The state folder of the job, '' path part for itself. */
  state(name: string): string;
}

export interface Stage extends Host {
  readonly proxy: Origin;
  readonly api: JobApi;
  close(): Promise<void>;
}

/** The host of a job whose proxy is at that URL; `more` over its usual environment. */
export function startHost(proxyUrl: string, more: Readonly<Record<string, string>> = {}): Host {
  const dir = tempDir('hooks');
  const bin = join(dir, 'bin');
  const agentDir = join(dir, 'agent');
  for (const each of [bin, agentDir, join(dir, 'tmp'), join(dir, 'home')]) mkdirSync(each);
  symlinkSync(join(import.meta.dirname, 'buildkite-agent.bash'), join(bin, 'buildkite-agent'));
  const usual: Record<string, string | undefined> = {
    ...Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined])),
    PATH: `${bin}:${process.env['PATH']}`,
    HOME: join(dir, 'home'),
    TMPDIR: join(dir, 'tmp'),
    AGENT_DIR: agentDir,
    BUILDKITE_JOB_ID: JOB,
    BUILDKITE_PIPELINE_SLUG: 'web',
    BUILDKITE_LABEL: ':docker: Build',
    BUILDKITE_TIMEOUT: 'false',
    SALLYPORT_PROXY: proxyUrl,
    SALLYPORT_POLL_S: '0.1',
    ...more,
  };
  return {
    dir,
    hook: async (path, env = {}) => {
      const file = join(dir, 'after');
      const wrapper = '. "$1"; status=$?; env -0 >"$2"; exit $status';
      const done = await run(['bash', '-c', wrapper, 'hook', path, file], { cwd: dir, env: { ...usual, ...env } });
      return { ...done, after: existsSync(file) ? variablesOf(readFileSync(file, 'utf8')) : {} };
    },
    agent: (name) => (existsSync(join(agentDir, name)) ? readFileSync(join(agentDir, name), 'utf8') : null),
    state: (name) => join(dir, 'tmp', `sallyport-${JOB}`, name),
  };
}

/** The host of a job, and a stand-in job API behind a stand-in proxy. */
export async function startStage(): Promise<Stage> {
  const waiting = new Set<() => void>();
  const api: JobApi = {
    lease: {
      status: 201,
      body: {
        job: JOB,
        expires_at: '2999-01-01T00:00:00.000Z',
        address: '127.0.0.1',
        shared: false,
        candidates: [JOB],
      },
    },
    report: { status: 200, body: { job: JOB, denied: 0, would_deny: 0, missing_nodes: [], refused: [] } },
    markdown: 'nothing was refused\n',
    asked: [],
    saw: (wanted) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!api.asked.some(wanted)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
  };
  const proxy = await startHttpOrigin((request, response) => {
    answer(api, request, response);
    for (const look of [...waiting]) look();
  });
  return { ...startHost(`http://127.0.0.1:${proxy.port}`), proxy, api, close: () => proxy.close() };
}

function answer(api: JobApi, request: http.IncomingMessage, response: http.ServerResponse): void {
  const { method = '', url = '', headers } = request;
  api.asked.push({ method, url, authorization: headers.authorization ?? '', host: headers.host ?? '' });
  const send = ({ status, body }: { status: number; body: object | string }): void => {
    response.writeHead(status, { 'Content-Type': typeof body === 'string' ? 'text/plain' : 'application/json' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };
  if (!url.startsWith(`http://sallyport.invalid/v1/jobs/${JOB}/`)) return send({ status: 403, body: 'another host' });
  if (url.endsWith('/lease')) {
    if (method === 'POST') return send(api.lease);
    response.writeHead(method === 'DELETE' ? 204 : 405).end();
    return;
  }
  if (url.includes('format=markdown')) return send({ status: api.report.status, body: api.markdown });
  return send(api.report);
}

function variablesOf(text: string): Record<string, string> {
  const pairs = text.split('\0').filter((line) => line !== '');
  return Object.fromEntries(pairs.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

/** Settles when the file is there: woken by the file system. */
export function appears(file: string): Promise<void> {
  return new Promise((resolve) => {
    const watcher = watch(dirname(file), look);
    function look(): void {
      if (!existsSync(file)) return;
      watcher.close();
      resolve();
    }
    look();
  });
}

/** A copy of the plugin as it lies on a host, with a sallyport.conf. */
export function installed(stage: Stage, conf: string): string {
  const home = join(stage.dir, 'etc');
  for (const folder of ['hooks', 'lib']) {
    mkdirSync(join(home, folder), { recursive: true });
    for (const name of FILES[folder] ?? []) copyFileSync(join(PLUGIN, folder, name), join(home, folder, name));
  }
  writeFile(join(home, 'sallyport.conf'), conf);
  return home;
}

const FILES: Readonly<Record<string, readonly string[]>> = {
  hooks: ['environment', 'pre-bootstrap', 'pre-exit'],
  lib: ['common.bash', 'environment.bash', 'override.bash', 'report.bash', 'watch.bash'],
};
