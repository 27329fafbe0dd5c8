// The benchmark: Sallyport beside Squid and HAProxy under the same load, in alternation, in one run on one machine.
//   npm run bench                              everything, half an hour with all peers; the JSON goes to test/bench/out/
//   npm run bench -- --write                   the same, and its table into docs/benchmarks.md
//   npm run bench -- --peers squid,ats         beside these alone
//   npm run bench -- --quick                   a second each, Sallyport alone: is the load answered rightly? (CI; no figures are judged)
//   npm run bench -- --only tunnels --rounds 5 --secs 4
//   npm run bench -- --engine js                the JavaScript engine instead of the native one
//   npm run bench -- --only tunnels --alone --profile   one .cpuprofile in test/bench/out/, for a browser's developer tools
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startTestDns } from '../support/dns.ts';
import { writeFigures } from './document.ts';
import { type Load, loads } from './loads.ts';
import { congestionControl, runElsewhere } from './network.ts';
import { lacking, startNodeProxy, startTinyproxy, startTrafficServer } from './other-peers.ts';
import {
  buildLoadgen,
  cpuSeconds,
  generate,
  haproxyIsHere,
  NAMES,
  type Peer,
  squidIsHere,
  startHaproxy,
  startLoadOrigin,
  startSallyport,
  startSquid,
} from './peers.ts';

const OUT = join(import.meta.dirname, 'out');
const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    alone: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    only: { type: 'string' },
    peers: { type: 'string' },
    write: { type: 'boolean', default: false },
    engine: { type: 'string', default: 'auto' },
    rounds: { type: 'string', default: '3' },
    secs: { type: 'string', default: '4' },
  },
});
const ROUNDS = flags.quick ? 1 : Number(flags.rounds);
const SECS = flags.quick ? 1 : Number(flags.secs);
const FOREIGN_MAX = 0.3; // share of the run that others may use of the machine before its figure is marked
// Before each sample: a proxy runs for weeks, so it is its compiled code that counts, not the compiling.
const WARM_SECS = '3';
const LOOK_MS = 200;
const QUIET_S = 0.02;
const LOOKS_MAX = 100;
const IDLE = 5_000;
const IDLE_QUICK = 200;

/** Processor time until the process has been quiet for one look: what the load caused, the bookkeeping behind it included. */
async function settledCpu(pid: number): Promise<number> {
  for (let last = cpuSeconds(pid), looks = 0; ; looks++) {
    await wait(LOOK_MS);
    const now = cpuSeconds(pid);
    if (now - last < QUIET_S || looks > LOOKS_MAX) return now;
    last = now;
  }
}

interface Sample {
  readonly round: number;
  readonly peer: Peer['name'];
  readonly load: string;
  readonly figures: Readonly<Record<string, number>>;
  readonly wrong: readonly string[];
  /** Share of the run that other work on the machine took. */
  readonly foreign: number;
  readonly line: Readonly<Record<string, unknown>>;
}

interface Bench {
  readonly loadgen: string;
  readonly origin: { readonly port: number; readonly pid: number };
  readonly start: Readonly<Record<Peer['name'], () => Promise<Peer>>>;
}

async function measure(bench: Bench, load: Load, peer: Peer, round: number): Promise<Sample> {
  const hosts = load.targets === 'allowed' ? NAMES : NAMES.map((name) => name.replace('allowed', 'denied'));
  const targets = hosts.map((host) => `${host}:${bench.origin.port}`).join(',');
  const to = peer.direct ? ['--direct', '--targets', peer.address] : ['--proxy', peer.address, '--targets', targets];
  const common = [
    ...to,
    '--pid',
    String(peer.pid),
    '--origin-pid',
    String(bench.origin.pid),
    '--cpu',
    '0',
    '--label',
    peer.name,
    ...(peer.auth ? ['--auth', peer.auth.join(',')] : []),
  ];
  const secs = load.args.includes('--secs') ? [] : ['--secs', String(SECS)];
  if (!load.fresh && !flags.quick) await generate(bench.loadgen, [...load.args, ...common, '--secs', WARM_SECS]);
  const before = await settledCpu(peer.pid);
  const line = await generate(bench.loadgen, [...load.args, ...common, ...secs]);
  const total = (await settledCpu(peer.pid)) - before;
  const figures = Object.fromEntries(load.figures.map((figure) => [figure.name, figure.read(line, total)]));
  return {
    round,
    peer: peer.name,
    load: load.title,
    figures,
    wrong: load.wrong(line),
    foreign: Number(line['foreign_s']) / Number(line['secs']),
    line,
  };
}

const median = (values: readonly number[]): number => {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length === 0
    ? Number.NaN
    : sorted.length % 2 === 1
      ? (sorted[middle] as number)
      : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
};

/** One row a figure: both medians and their ratio; `*` where others used much of the machine meanwhile. */
function rowsOf(plan: readonly Load[], samples: readonly Sample[], peers: readonly Peer['name'][]): string[][] {
  const text = (value: number): string => (Number.isFinite(value) ? value.toPrecision(3) : '-');
  const rows = [['', 'unit', ...peers, ...peers.slice(1).map((peer) => `/ ${peer}`)]];
  for (const load of plan) {
    for (const figure of load.figures) {
      const cells = peers.map((peer) => {
        const own = samples.filter((sample) => sample.load === load.title && sample.peer === peer);
        return {
          value: median(own.map((sample) => sample.figures[figure.name] as number)),
          busy: median(own.map((sample) => sample.foreign)) > FOREIGN_MAX,
        };
      });
      const own = cells[0]?.value as number;
      const ratio = cells.slice(1).map((cell) => text(own / cell.value));
      rows.push([
        figure.name,
        figure.unit,
        ...cells.map((cell) => text(cell.value) + (cell.busy ? '*' : '')),
        ...ratio,
      ]);
    }
  }
  return rows;
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column < 2 ? cell.padEnd(widths[column] as number) : cell.padStart(widths[column] as number),
        )
        .join('  '),
    )
    .join('\n');
}

async function runLoads(bench: Bench, plan: readonly Load[], peers: readonly Peer['name'][]): Promise<Sample[]> {
  const samples: Sample[] = [];
  const long = new Map<Peer['name'], Peer>();
  try {
    for (const load of plan) {
      for (let round = 1; round <= ROUNDS; round++) {
        // Alternating, and the last one first in every second round: none always meets the warmer machine.
        const taking = peers.filter(
          (peer) =>
            (peer !== 'haproxy' || load.relayed) &&
            (!peer.startsWith('with ') || load.identified === true) &&
            // It opens a thread and two lookups a tunnel; five thousand at once are no test of what is compared.
            (peer !== 'tinyproxy' || load.part !== 'idle'),
        );
        for (const name of round % 2 === 1 ? taking : taking.toReversed()) {
          const peer = load.fresh ? await bench.start[name]() : (long.get(name) ?? (await bench.start[name]()));
          if (!load.fresh) long.set(name, peer);
          const sample = await measure(bench, load, peer, round);
          if (load.fresh) await peer.stop();
          samples.push(sample);
          const values = Object.entries(sample.figures).map(([key, value]) => `${key} ${value.toPrecision(3)}`);
          console.log(
            `${sample.wrong.length === 0 ? 'ok  ' : 'FAIL'} ${name} ${load.title}, round ${round}: ${[...values, ...sample.wrong].join('; ')}`,
          );
        }
      }
    }
  } finally {
    for (const peer of long.values()) await peer.stop();
  }
  return samples;
}

/** The benches that need no proxy: decisions, audit lines and their projection, a replay, a report on a large store. Their output is their own. */
const SCRIPTS = ['decide', 'audit', 'replay', 'report', 'reload'];
// A store of a million rows is no quick thing, and it judges time alone.
const QUICK_SCRIPTS = ['decide', 'audit', 'replay', 'reload'];

function runScripts(): number {
  let failed = 0;
  for (const name of flags.quick ? QUICK_SCRIPTS : SCRIPTS) {
    if (flags.only !== undefined && flags.only !== name) continue;
    console.log(`\n${name}`);
    const args = [join(import.meta.dirname, `${name}.ts`), ...(flags.quick ? ['--quick'] : [])];
    if (spawnSync(process.execPath, args, { stdio: 'inherit' }).status !== 0) failed++;
  }
  return failed;
}

async function runProxies(): Promise<number> {
  const plan = loads(flags.quick ? IDLE_QUICK : IDLE).filter(
    (load) => flags.only === undefined || load.part === flags.only,
  );
  if (plan.length === 0) return 0;
  const peers: Peer['name'][] = ['sallyport'];
  if (flags.alone || flags.quick) console.log('Sallyport alone: no comparison.');
  else if (squidIsHere()) peers.push('squid');
  else console.log('Squid is not installed (apt-get install squid).');
  if (!flags.quick) peers.push('with Basic', 'with OIDC');
  if (!flags.alone && !flags.quick) {
    if (haproxyIsHere()) peers.push('haproxy');
    else console.log('HAProxy is not installed (apt-get install haproxy).');
    for (const [name, lacks] of Object.entries(lacking) as [keyof typeof lacking, () => string | null][]) {
      const why = lacks();
      if (why === null) peers.push(name);
      else console.log(`${why}.`);
    }
  }
  if (flags.peers !== undefined) {
    const wanted = ['sallyport', ...flags.peers.split(',')];
    peers.splice(0, peers.length, ...peers.filter((peer) => wanted.includes(peer)));
  }
  const loadgen = buildLoadgen();
  const origin = await startLoadOrigin(loadgen);
  const dns = await startTestDns();
  for (const name of NAMES) dns.set(name, ['127.0.0.1']);
  const profile = flags.profile ? ['--cpu-prof', `--cpu-prof-dir=${OUT}`] : [];
  const own = { dns: dns.address, port: origin.port, nodeFlags: profile, engine: flags.engine };
  const start = {
    sallyport: () => startSallyport(own),
    'with Basic': () => startSallyport({ ...own, identity: 'with Basic' }),
    'with OIDC': () => startSallyport({ ...own, identity: 'with OIDC' }),
    ats: startTrafficServer,
    tinyproxy: startTinyproxy,
    'proxy-chain': () => startNodeProxy('proxy-chain'),
    proxy: () => startNodeProxy('proxy'),
    squid: startSquid,
    haproxy: () => startHaproxy(origin.port),
  };
  try {
    const samples = await runLoads({ loadgen, origin, start }, plan, peers);
    const failed = samples.filter((sample) => sample.wrong.length > 0).length;
    if (!flags.quick) {
      writeFileSync(
        join(OUT, `bench-${flags.only ?? 'all'}.json`),
        `${JSON.stringify({ node: process.version, engine: flags.engine, rounds: ROUNDS, secs: SECS, samples }, null, 1)}\n`,
      );
      const rows = rowsOf(plan, samples, peers);
      const about = `Median of ${ROUNDS} rounds of ${SECS} s; smaller is better. * = others used more than ${FOREIGN_MAX * 100} % of a processor meanwhile. TCP sends by ${congestionControl()}.`;
      console.log(`\n${about}\n${table(rows)}`);
      if (flags.write) writeFigures(rows, about);
    }
    console.log(`bench: ${samples.length - failed} passed, ${failed} failed`);
    return failed;
  } finally {
    origin.stop();
    await dns.close();
  }
}

async function runHere(): Promise<number> {
  const failed = (await runProxies()) + runScripts();
  if (failed > 0) console.log(`bench: ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

// Bytes alone: Squid takes ten times the time for a tunnel in a network of its own, now and then.
const elsewhere = flags.only === 'throughput' && !flags.quick ? runElsewhere() : null;
process.exitCode = elsewhere ?? (await runHere());
