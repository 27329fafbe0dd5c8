// Four nodes and one PostgreSQL behind HAProxy, each a machine of its own in a network that the test makes. Under load nodes die (kill -9)
// and come back, logs rotate, policies are read again, and the store dies, hangs, and is cut off. Then: every answer that a client got stands in
// exactly one log, no log has a request that nobody made, all logs verify, and one report over the store is the sum of the logs.
// A part of `npm run soak` (a quarter of SOAK_MINUTES, each fault at least once); of `npm test` test/e2e/fleet.test.ts is the short of it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, expect, it, vi } from 'vitest';
import type { Line } from '../../src/policy/record.ts';
import type { Report } from '../../src/report/report.ts';
import { counted, logged, wholeLog } from '../support/fleet.ts';
import { BALANCER, canMakeLan, LAN, Lan, type Machine } from '../support/lan.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { hasProgram } from '../support/programs.ts';
import { launch, type ProxyProcess, sallyport, startProxy } from '../support/proxy-process.ts';
import { tempDir, writeFile, writePolicy } from '../support/temp.ts';
import type { Asked } from './chaos-load.ts';

const SPAN_MS = Number(process.env['SOAK_MINUTES'] || 0) * 15_000;
const GRACE_MS = 240_000;
/** Between two faults, and as long as most of them last: pace, not synchronisation. */
const PACE_MS = 400;
const NODES = ['n1', 'n2', 'n3', 'n4'];
const PROXY_PORT = 3_128;
const NOBODY = ['--setuid', '65534', '--setgid', '65534'];

const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

class Node {
  readonly name: string;
  readonly dir = tempDir('node');
  readonly machine: Machine;
  readonly configFile = join(this.dir, 'sallyport.yaml');
  readonly auditFile = join(this.dir, 'audit.jsonl');
  process: ProxyProcess | null = null;
  #rotations = 0;

  constructor(name: string, machine: Machine, policy: Readonly<Record<string, unknown>>) {
    this.name = name;
    this.machine = machine;
    const own = { node: name, listen: `${machine.address}:${PROXY_PORT}`, audit: { file: this.auditFile } };
    writePolicy(this.configFile, { ...policy, ...own });
  }

  async start(): Promise<void> {
    const command = [...this.machine.inside, process.execPath];
    this.process = await startProxy(['--config', this.configFile], { cwd: this.dir, command });
  }

  async die(): Promise<void> {
    await this.process?.kill9();
  }

  rotate(): void {
    renameSync(this.auditFile, `${this.auditFile}.${String(++this.#rotations).padStart(6, '0')}`);
    this.process?.signal('SIGUSR2');
  }
}

async function startStore(lan: Lan): Promise<{ server: Postgres; machine: Machine; url: string }> {
  const machine = await lan.machine('10.77.0.20');
  const [nsenter = '', ...rest] = machine.inside;
  const inside = [nsenter, ...NOBODY, ...rest];
  const server = await Postgres.start([`listen_addresses=${machine.address}`], { inside, from: LAN });
  return { server, machine, url: `postgres://sallyport@${machine.address}/postgres?sslmode=disable` };
}

async function startBalancer(lan: Lan, nodes: readonly Node[]): Promise<void> {
  const servers = nodes.map(
    ({ name, machine }) =>
      `  server ${name} ${machine.address}:${PROXY_PORT} send-proxy-v2 check inter 100ms fall 1 rise 1`,
  );
  const file = writeFile(
    join(tempDir('haproxy'), 'haproxy.cfg'),
    `defaults
  mode tcp
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  option redispatch 1
listen agents
  bind ${BALANCER}:${PROXY_PORT}
${servers.join('\n')}
`,
  );
  const [program = '', ...args] = [...lan.inside, 'haproxy', '-db', '-q', '-f', file];
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  process.once('exit', () => child.kill('SIGKILL'));
  open.push({ close: async () => child.exitCode === null && child.kill('SIGKILL') && once(child, 'exit') });
}

/** Each fault once, and again until the time is over. */
async function rounds(faults: readonly (() => Promise<void>)[]): Promise<void> {
  const end = performance.now() + SPAN_MS;
  do for (const fault of faults) await fault();
  while (performance.now() < end);
}

async function nodesFail(nodes: readonly Node[]): Promise<void> {
  let turn = 0;
  const next = (): Node => nodes[turn++ % nodes.length] as Node;
  const lose = async (some: readonly Node[]): Promise<void> => {
    await wait(PACE_MS);
    await Promise.all(some.map((node) => node.die()));
    await wait(PACE_MS);
    await Promise.all(some.map((node) => node.start()));
  };
  await rounds([
    () => lose([next()]),
    async () => next().rotate(),
    () => lose([next(), next()]),
    async () => next().process?.signal('SIGHUP'),
  ]);
}

async function storeFails({ server, machine }: { server: Postgres; machine: Machine }): Promise<void> {
  const during = async (begin: () => unknown, end: () => unknown): Promise<void> => {
    await wait(PACE_MS);
    await begin();
    await wait(2 * PACE_MS);
    await end();
  };
  await rounds([
    () =>
      during(
        () => server.kill(),
        () => server.restart(),
      ),
    () =>
      during(
        () => server.freeze('SIGSTOP'),
        () => server.freeze('SIGCONT'),
      ),
    () =>
      during(
        () => machine.cable('out'),
        () => machine.cable('in'),
      ),
  ]);
}

/** What clients saw against what the logs say. */
function compare(asked: readonly Asked[], lines: readonly Line[]): void {
  const decided = new Map<string, string>();
  const doubled: string[] = [];
  for (const line of lines) {
    if (line.event !== 'decided' || line.host === null) continue;
    if (decided.has(line.host)) doubled.push(line.host);
    decided.set(line.host, line.verdict);
  }
  expect(doubled).toEqual([]);
  const verdicts: Readonly<Record<number, string>> = { 200: 'allow', 403: 'deny' };
  const answered = asked.filter(({ status }) => status !== undefined);
  expect(answered.filter(({ status = 0 }) => !(status in verdicts))).toEqual([]);
  expect(answered.filter(({ host, status = 0 }) => decided.get(host) !== verdicts[status])).toEqual([]);
  const made = new Set(asked.map(({ host }) => host));
  expect([...decided.keys()].filter((host) => !made.has(host))).toEqual([]);
  // Each that was let through has its end, and the bytes of those that were whole.
  const ended = new Map(lines.flatMap((line) => (line.event === 'ended' ? [[line.host, line] as const] : [])));
  expect([...decided].filter(([host, verdict]) => verdict === 'allow' && !ended.has(host))).toEqual([]);
  const wrong = asked.filter(({ host, bytes }) => {
    const end = ended.get(host);
    return bytes !== undefined && end?.outcome === 'closed' && (end.bytes_up !== bytes || end.bytes_down !== bytes);
  });
  expect(wrong).toEqual([]);
}

const possible = SPAN_MS > 0 && postgresBin !== null && hasProgram('haproxy', 'ip', 'nsenter') && canMakeLan();

it.skipIf(!possible)('a fleet loses and doubles nothing', { timeout: SPAN_MS + GRACE_MS }, async () => {
  const lan = await Lan.start();
  open.push(lan);
  const resultFile = join(tempDir('chaos'), 'asked.json');
  const script = join(import.meta.dirname, 'chaos-load.ts');
  const load = launch([...lan.inside, process.execPath, script, resultFile, String(PROXY_PORT)]);
  open.push({ close: async () => load.child.kill('SIGKILL') });
  const store = await startStore(lan);
  const [, dns = ''] = await load.printed(/^ready (\S+)$/m);
  const policy = {
    version: 1,
    admin: '127.0.0.1:0',
    clients: { from: [LAN] },
    proxy_protocol: { from: [`${BALANCER}/32`] },
    allow: [{ host: '*.allowed.test', protocol: 'any', addresses: [LAN] }],
    dns: { servers: [dns] },
    usage: { store: store.url },
    limits: { usage_store_timeout_ms: 1_000, usage_names_per_hour: 1_000_000, client_rate_per_s: 100_000 },
  };
  const nodes: Node[] = [];
  for (const [n, name] of NODES.entries()) nodes.push(new Node(name, await lan.machine(`10.77.0.${11 + n}`), policy));
  open.push({ close: () => Promise.all(nodes.map((node) => node.die())) });
  await Promise.all(nodes.map((node) => node.start()));
  await startBalancer(lan, nodes);

  load.child.kill('SIGUSR2');
  await Promise.all([nodesFail(nodes), storeFails(store)]);
  load.child.kill('SIGTERM');
  expect(await load.exited).toMatchObject({ code: 0, stderr: '' });
  const asked = JSON.parse(readFileSync(resultFile, 'utf8')) as Asked[];

  // The stores catch up by themselves; then the nodes end, and what they say is held against each other.
  const read = (): Line[] => nodes.flatMap(({ auditFile }) => wholeLog(auditFile));
  await vi.waitUntil(async () => JSON.stringify(await counted(store.server)) === JSON.stringify(logged(read())), {
    timeout: GRACE_MS / 2,
    interval: 100,
  });
  for (const stopped of await Promise.all(nodes.map((node) => node.process?.stop())))
    expect(stopped).toMatchObject({ code: 0 });
  const lines = read();
  compare(asked, lines);
  for (const { configFile, dir } of nodes)
    expect(await sallyport(['audit', 'verify', '--config', configFile], { cwd: dir })).toMatchObject({ code: 0 });
  const [{ configFile, dir, machine }] = nodes as [Node];
  const said = await sallyport(['report', '--config', configFile, '--json'], {
    cwd: dir,
    command: [...machine.inside, process.execPath],
  });
  const { totals } = JSON.parse(said.stdout) as Report;
  const count = (verdict: string): number =>
    lines.filter((line) => line.event === 'decided' && line.verdict === verdict).length;
  expect(totals).toMatchObject({ requests: count('allow') + count('deny'), denied: count('deny'), open: 0 });
  const unknown = asked.filter(({ status }) => status === undefined).length;
  const interrupted = lines.filter((line) => line.event === 'ended' && line.outcome === 'interrupted').length;
  console.log(`${asked.length} requests, ${unknown} without an answer, ${interrupted} interrupted by a kill`);
  // Not a test of an idle fleet.
  expect(asked.length - unknown).toBeGreaterThan(100);
});
