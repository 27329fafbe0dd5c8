// One run from its seed: draws the clients, what befalls the proxy between their acts, and in which order all that happens;
// then lets everything end, and hands what is left to the invariants.
import fs from 'node:fs';
import path from 'node:path';
import { vi } from 'vitest';
import { eventually, openFds } from '../proxy/support.ts';
import { Chance } from './chance.ts';
import { ExchangeRun } from './exchange.ts';
import { checkLog } from './invariants.ts';
import { POLICY_NAMES, type Stage } from './stage.ts';
import { type Script, TunnelRun } from './tunnel.ts';
import { type DiskFault, World, type WorldOptions } from './world.ts';

/** More than any timer of a request waits; less than the idle sweep needs to cut a tunnel. */
const LINGERED_MS = 20_000;
const LOG_WINDOWS_MS = 2_000;

export interface Outcome {
  readonly seed: number;
  readonly violations: readonly string[];
  /** What happened, one act a line; the end of it is where to look. */
  readonly trace: readonly string[];
  /** In a run in lock-step the same for every engine: what each request came to, at the client and in the log. */
  readonly results: readonly string[];
  readonly lockstep: boolean;
}

type Session = TunnelRun | ExchangeRun;

function draw(seed: number): { chance: Chance; options: Omit<WorldOptions, 'stage' | 'make'>; lockstep: boolean } {
  const chance = new Chance(seed);
  const lockstep = chance.often(0.6);
  const whenFull = chance.often(0.6) ? 'refuse' : 'drop-and-mark';
  const onReload = chance.often(0.5) ? 'cut' : 'keep';
  const limits = {
    ...(chance.often(0.1) ? { tunnels_max: chance.int(1, 3) } : {}),
    ...(chance.often(0.05) ? { connections_max: chance.int(1, 3) } : {}),
    ...(chance.often(0.1) ? { hello_bytes: 2_048 } : {}),
    ...(chance.often(0.05) ? { head_bytes: 1_024 } : {}),
  };
  return { chance, lockstep, options: { whenFull, onReload, limits, boot: `s${seed}` } };
}

/** What befalls the proxy itself, one act at a time. */
function* events(world: World, chance: Chance, count: number): Script {
  for (let left = count; left > 0; left--) {
    const event = chance.weighted({
      policy: 5,
      disk: 4,
      full: 2,
      heals: 4,
      rotates: 2,
      names: 3,
      clock: 4,
      idle: 1,
      kills: 1,
      cuts: 2,
      drains: 0.5,
      waits: 8,
    });
    if (event === 'policy') world.usePolicy(chance.pick(POLICY_NAMES));
    else if (event === 'disk') {
      const kinds: readonly DiskFault[] = ['full', 'short', 'short and not cut back'];
      const passing = Array.from({ length: chance.int(0, 4) }, () => null);
      world.disk.faults.push(...passing, ...Array.from({ length: chance.int(1, 3) }, () => chance.pick(kinds)));
    } else if (event === 'full') world.disk.full = true;
    else if (event === 'heals') world.disk.heal();
    else if (event === 'rotates') world.rotate();
    else if (event === 'names') world.releaseNames();
    else if (event === 'clock') world.advance(chance.pick([100, 300, 2_500, 5_100, 10_100]));
    else if (event === 'idle') world.advance(2 * world.limits.tunnel_idle_ms);
    else if (event === 'kills') chance.pick([...world.engine.tunnels.values()])?.cut('killed');
    else if (event === 'cuts') {
      const open = [...world.ctx.open.values()];
      if (open.length > 0) chance.pick(open).cut('policy-changed', chance.pick(['host-not-allowed', null]));
    } else if (event === 'drains') {
      world.ctx.draining = true;
      world.server.stopListening();
    }
    yield `the proxy: ${event}`;
  }
}

/** Drops everything as kill -9 does: only what is in the files counts. Gives the log as the next process finds it. */
function crash(world: World, chance: Chance): string {
  const dir = path.join(world.dir, 'after');
  fs.mkdirSync(dir);
  for (const name of fs.readdirSync(world.dir))
    if (name.startsWith('audit')) fs.copyFileSync(path.join(world.dir, name), path.join(dir, name));
  world.disk.gone = true;
  const file = path.join(dir, 'audit.jsonl');
  if (chance.often(0.4)) fs.appendFileSync(file, '{"time":"2026-11-26T00:00:00.000Z","seq":9,"eve');
  return file;
}

async function play(
  world: World,
  chance: Chance,
  lockstep: boolean,
): Promise<{ sessions: Session[]; crashed: string | null }> {
  const sessions: Session[] = [];
  const scripts = new Map<string, Script>();
  for (let n = 1, count = chance.int(1, 7); n <= count; n++) {
    const own = new Chance(chance.int(0, 2 ** 31));
    const session = chance.often(0.6) ? new TunnelRun(world, own, n) : new ExchangeRun(world, own, n);
    sessions.push(session);
    scripts.set(`${n}`, session.script());
  }
  if (chance.often(0.8)) scripts.set('-', events(world, new Chance(chance.int(0, 2 ** 31)), chance.int(1, 12)));
  const crashAt = chance.often(0.15) ? chance.int(1, 40) : -1;
  for (let step = 0; scripts.size > 0; step++) {
    if (step === crashAt) {
      const crashed = crash(world, chance);
      world.trace.push('the proxy crashes');
      return { sessions, crashed };
    }
    const [name, script] = chance.pick([...scripts]);
    const { done, value } = script.next();
    if (done) scripts.delete(name);
    else world.trace.push(`${name} ${value}`);
    if (lockstep) await world.settle();
    else
      for (let turns = chance.int(0, 3); turns > 0; turns--)
        await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return { sessions, crashed: null };
}

/** The end of all: lingering connections are over, the proxy closes, and nothing of it is left. */
async function finish(world: World, sessions: readonly Session[], fdsBefore: number): Promise<void> {
  world.disk.heal();
  world.releaseNames();
  await world.settle();
  world.advance(LINGERED_MS);
  await world.settle();
  for (const session of sessions) session.close();
  await world.settle();
  const zero = async (what: string, count: () => number): Promise<void> => {
    await eventually(() => count() === 0, what).catch(() => world.wrong(`${what}: ${count()}`));
  };
  world.server.stopListening();
  world.server.close();
  await zero('slots are still taken', () => world.slots.open);
  await zero('the engine still counts', () => world.engine.load);
  await zero('requests are still registered', () => world.ctx.open.size);
  await zero('tunnels are still listed', () => world.engine.tunnels.size);
  if (!world.server.idle) world.wrong('the proxy is not idle');
  world.ctx.resolver.close();
  try {
    world.audit.close();
  } catch (error) {
    if (!world.disk.gone) world.wrong(`the log did not close: ${error}`);
  }
  // The operational log may still count what it has held back.
  world.advance(LOG_WINDOWS_MS);
  await zero('timers are still armed', () => vi.getTimerCount());
  vi.clearAllTimers();
  await zero('descriptors are still open', () => Math.max(0, openFds() - fdsBefore));
  for (const line of world.logged)
    if (/failed inside the proxy|a bug/.test(line)) world.wrong(`the operational log says: ${line.slice(0, 600)}`);
}

/** Plays one seed on one engine. Never throws for what it finds; everything found is in `violations`. */
export async function simulate(seed: number, stage: Stage, make: WorldOptions['make']): Promise<Outcome> {
  const { chance, options, lockstep } = draw(seed);
  const fdsBefore = openFds();
  const world = new World({ ...options, stage, make });
  await world.start();
  const { sessions, crashed } = await play(world, chance, lockstep);
  await finish(world, sessions, fdsBefore);
  const logged = await checkLog(world, crashed);
  const { violations, trace } = world;
  fs.rmSync(world.dir, { recursive: true, force: true });
  const raced = new Set(sessions.map((session) => session.raced));
  // Where two places are for all, an end that raced decides whether the next one gets in.
  const tight = 'connections_max' in options.limits || 'tunnels_max' in options.limits;
  const alike = lockstep && !(tight && sessions.some((session) => session.raced !== null));
  const ends = logged.filter(({ event, host }) => event === 'decided' || !raced.has(host)).map(({ text }) => text);
  return {
    seed,
    violations,
    trace,
    lockstep: alike,
    results: [...sessions.map((session) => session.result), ...ends.sort()],
  };
}
