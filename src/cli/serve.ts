// The composition root: the one place that makes the parts and hands them to each other. It starts them in the order that
// keeps the proxy closed until all stand, obeys the signals, and ends them so that no record is lost.
import type { AddressInfo } from 'node:net';
import { type Logger, pino } from 'pino';
import { Heartbeat } from '../audit/heartbeat.ts';
import { ProcessLog } from '../audit/process-log.ts';
import type { Shipping } from '../audit/shipping.ts';
import { type LoadedConfig, loadConfig, type Overrides } from '../config/load.ts';
import type { Note } from '../policy/record.ts';
import type { ProxyContext } from '../proxy/context.ts';
import { ProxyServer } from '../proxy/server.ts';
import type { Projection } from '../usage/project.ts';
import { createContext } from './create-context.ts';
import { Drain } from './drain.ts';
import { chooseEngine } from './engine.ts';
import { firstPolicy } from './first-policy.ts';
import { JobService } from './job-service.ts';
import { brokenLayers, sayBrokenLayers } from './layer-report.ts';
import { Listeners } from './listeners.ts';
import { Notifier } from './notify.ts';
import { activatedSockets, type Place, placesOf, type Sockets } from './places.ts';
import type { PolicyHolder } from './policy-holder.ts';
import { policyParts } from './policy-parts.ts';
import { Predecessor } from './predecessor.ts';
import { readyLine } from './ready-line.ts';
import { startShip } from './ship.ts';
import { Sight } from './sight.ts';
import { type SignalSource, Signals } from './signals.ts';
import { type HandedOver, refuseUpgrade, Upgrade } from './upgrade.ts';
import { VERSION } from './version.ts';
import { Leftovers } from './workers/leftovers.ts';
import { asWorker, atStart, type Order, workersOf } from './workers/order.ts';
import { PrimaryLink } from './workers/primary-link.ts';

export interface ServeOptions {
  readonly file: string | null;
  readonly overrides: Overrides;
  /** One line for a person or a supervisor on stdout. */
  readonly say: (line: string) => void;
  /** Where a service manager says how it can be told, and which sockets it has opened. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * Runs the proxy until SIGTERM or SIGINT; a second signal ends it at once.
 * @returns the exit code: 0 after a drain
 * @throws SallyportError when the config, the audit log or a listener fails: then nothing listens
 */
export async function serve(options: ServeOptions): Promise<number> {
  const link = PrimaryLink.of(options.env);
  const signals = link ?? new Signals();
  const predecessor = Predecessor.of(options.env);
  try {
    return await start(options, signals, predecessor, link);
  } catch (error) {
    predecessor?.failed(error);
    link?.failed(error);
    throw error;
  }
}

async function start(
  options: ServeOptions,
  signals: SignalSource,
  predecessor: Predecessor | null,
  link: PrimaryLink | null,
): Promise<number> {
  const { file, overrides } = options;
  const order = link && (await link.order);
  if (order === null) await firstPolicy(file, overrides);
  const adapt = (again: LoadedConfig): LoadedConfig => (order ? asWorker(again, order) : again);
  const read = await loadConfig({ file, overrides, now: Date.now() });
  const loaded = order ? atStart(read, order) : read;
  const { settings } = loaded;
  const log = pino(
    { level: settings.log.level, base: { node: settings.node } },
    pino.destination({ fd: 2, sync: true }),
  );
  for (const problem of loaded.problems) log.warn({ code: problem.code, at: problem.at }, problem.message);
  sayBrokenLayers(loaded, log);

  if (order === null && workersOf(settings) > 1) {
    const { servePrimary } = await import('./workers/primary.ts');
    return servePrimary({ options, loaded, log, signals, predecessor });
  }
  const crewed = link && order ? { link, order } : null;
  const leftovers = crewed ? null : new Leftovers({ settings, workers: 0, log, policy: loaded.policy.digest });
  if (predecessor === null) leftovers?.begin();
  const places = crewed ? crewed.order.places : placesOf(settings);
  const inherited = crewed?.link.sockets(crewed.order, settings.identity.tls !== null);
  const sockets = inherited
    ? inherited
    : predecessor
      ? await predecessor.sockets(places)
      : activatedSockets(options.env, process.pid, places);
  const handed = (await predecessor?.takeOver()) ?? null;
  const takeOver = crewed?.order.takeOver ?? handed?.fork ?? null;
  const sight = new Sight();
  const { meter } = sight;
  const audit = new ProcessLog({
    meter,
    file: settings.audit.file,
    node: settings.node,
    limits: settings.limits,
    whenFull: settings.audit.whenFull,
    sync: settings.audit.sync,
    rotateBytes: settings.audit.rotateBytes,
    onProblem: (what, error) => log.warn({ err: error }, what),
    now: () => new Date(),
    ...(takeOver ? { takeOver } : {}),
  });
  const noteUpgrade = (detail: Note['detail']): void => note(audit, log, 'upgrade', loaded.policy.digest, detail);
  if (predecessor) signals.meanwhile(() => refuseUpgrade({ log, note: noteUpgrade }));
  try {
    const from = { predecessor, handed, leftovers };
    return await run({ options, loaded, adapt, crewed, log, audit, sight, signals, places, sockets, ...from });
  } finally {
    leftovers?.stop();
    audit.close();
  }
}

/** What a start has made before it serves. */
export interface Parts {
  readonly options: ServeOptions;
  readonly loaded: LoadedConfig;
  readonly adapt: (read: LoadedConfig) => LoadedConfig;
  /** Where this process is one of several; null where it serves alone. */
  readonly crewed: { readonly link: PrimaryLink; readonly order: Order } | null;
  readonly log: Logger;
  readonly audit: ProcessLog;
  readonly sight: Sight;
  readonly signals: SignalSource;
  readonly places: readonly Place[];
  readonly sockets: Sockets;
  readonly predecessor: Predecessor | null;
  readonly handed: HandedOver | null;
  readonly leftovers: Leftovers | null;
}

async function run(parts: Parts): Promise<number> {
  const { options, loaded, crewed, log, audit, sight, signals, places, sockets, predecessor, leftovers } = parts;
  const { settings } = loaded;
  const { overrides } = options;
  sayRepairs(audit, log);
  const { meter } = sight;
  const recorder = sight.watch(audit, settings, log, crewed ? [crewed.link] : []);
  const choice = chooseEngine(settings.engine);
  if (choice.instead) log.warn({ why: choice.instead }, 'the JavaScript engine is used, which takes more CPU');
  const engine = choice.make(settings.limits, meter);
  const shared = crewed?.link.shared(crewed.order) ?? null;
  const ctx = createContext({ loaded, log, recorder, meter, engine, shared });
  const { fleet, follower, tls, inspection, holder } = await policyParts({ ...parts, ctx, recorder });
  const proxy = new ProxyServer(ctx, engine);
  let projection: Projection | null = null;
  const expectedDenials = () => holder.expectedDenials;
  const reached = (seq: number, withinMs: number) => projection?.reached(seq, withinMs) ?? Promise.resolve(false);
  const desk = crewed?.link ?? null;
  const jobs = new JobService({ ctx, audit, log, projection: { reached }, settings, expectedDenials, desk });
  crewed?.link.keep(crewed.order, ctx.proofs);
  const notifier = new Notifier(options.env, log);
  const notReady = (): string | null => (ctx.draining ? 'draining' : audit.notReady);
  const mode = () => holder.mode;
  const shipping = await startShip(settings, log, meter);
  const primaryToken = crewed?.order.admin?.token ?? null;
  const shown = { ctx, shipping, engine, audit, fleet, notReady, mode, settings, overrides, log };
  const pages = sight.pages({ ...shown, primaryToken });
  const entrance = tls?.entrance ?? null;
  const guard = (bound: readonly AddressInfo[]) => holder.guard([...(crewed?.order.guarded ?? []), ...bound]);
  const listeners = new Listeners({ proxy, admin: pages, entrance, guard });
  const everyMs = settings.limits.audit_heartbeat_ms;
  const heartbeat = new Heartbeat({ audit, everyMs, policy: () => ctx.policy.digest });
  try {
    await listeners.open(places, sockets);
    const at = { proxy: listeners.proxies, admin: listeners.admin, mode: holder.mode };
    noteStart(parts, ctx.policy.digest, { ...at, engine: engine.kind });
    // After the start is recorded: grants are recorded too when they come.
    projection = fleet.start(log, (found) => void holder.setGrants(found));
    const { env } = options;
    const link = crewed?.link ?? null;
    const parties = { ctx, holder, audit, log, notifier, signals, proxy, listeners, projection, jobs, link, leftovers };
    const ended = obey({ ...parties, shipping, env });
    holder.watch();
    tls?.watch();
    inspection.watch();
    follower?.start();
    const ready = readyLine({ ...at, policy: ctx.policy.digest });
    // Who reads the ready line may signal at once: the handlers stand before it is said.
    if (link) link.ready(engine.kind, notReady);
    else options.say(ready);
    notifier.ready(ready);
    predecessor?.ready(ready, 0);
    // Only now is it sure that nobody takes them back.
    if (predecessor) leftovers?.begin(parts.handed?.workers);
    await ended;
    return 0;
  } finally {
    signals.close();
    follower?.close();
    holder.close();
    tls?.close();
    inspection.close();
    for (const open of ctx.open.values()) open.cut('drained', 'draining');
    proxy.close();
    listeners.close();
    jobs.close();
    sight.close();
    ctx.resolver.close();
    heartbeat.stop();
    const hits = { ...counted(holder), ...Object.fromEntries(meter.hits) };
    note(audit, log, 'stop', ctx.policy.digest, { pid: process.pid, ...hits });
    // After the last line, which its last checkpoint has.
    await shipping?.stop('ended');
    if (projection) await stopProjection(projection, log);
  }
}

function noteStart({ audit, loaded }: Parts, policy: string, at: Readonly<Record<string, string>>): void {
  const heartbeat_ms = loaded.settings.limits.audit_heartbeat_ms;
  const detail = { version: VERSION, ...at, pid: process.pid, heartbeat_ms, ...brokenLayers(loaded) };
  audit.note({ event: 'start', policy, detail });
}

function sayRepairs(audit: ProcessLog, log: Logger): void {
  if (audit.repaired)
    log.warn(audit.repaired, 'the last audit line was cut short by a crash; the fragment is set aside');
  if (audit.interrupted > 0)
    log.warn(
      { requests: audit.interrupted },
      'requests of the process before were open when it ended; recorded as interrupted',
    );
}

interface Running {
  readonly ctx: ProxyContext;
  readonly holder: PolicyHolder;
  readonly audit: ProcessLog;
  readonly log: Logger;
  readonly notifier: Notifier;
  readonly signals: SignalSource;
  readonly proxy: ProxyServer;
  readonly listeners: Listeners;
  readonly projection: Projection;
  readonly jobs: JobService;
  readonly shipping: Shipping | null;
  readonly env: ServeOptions['env'];
  readonly link: PrimaryLink | null;
  readonly leftovers: Leftovers | null;
}

/** Obeys the signals; resolves when the proxy has drained. */
function obey(running: Running): Promise<void> {
  const { ctx, holder, audit, log, notifier, signals, proxy, listeners, projection, shipping, link } = running;
  // One request's bug must not end everybody's tunnels: it is said, and that request's sockets die by their own deadlines.
  process.on('uncaughtException', (error) => ctx.log.fatal({ err: error }, 'a bug: an exception reached the top'));
  return new Promise((resolve) => {
    let drain: Drain | null = null;
    let replaced = false;
    const begin = (after: 'stop' | 'upgrade'): void => {
      drain = new Drain({ ctx, proxy, log }, after);
      // The log is not left to a new process of which nobody knows yet whether it lives.
      void drain.done
        .then(() => upgrade.abandon())
        .then(() => link?.settled())
        .then(resolve);
    };
    const giveWay = (counted: boolean): void => {
      replaced = true;
      listeners.stopAdmin();
      // It may have been told to stop while the new process became ready: then both drain.
      if (!drain) begin('upgrade');
      // The new process ships, and counts this one's branch of the log too.
      void shipping?.stop('replaced');
      if (counted) void stopProjection(projection, log);
    };
    const upgrade = upgradeOf(running, () => giveWay(true));
    link?.inUpgrades({
      handOver: () => audit.handOver(),
      takeBack: () => audit.takeBack(),
      replaced: giveWay,
    });
    signals.obey({
      reload: () => {
        // The service manager listens to the process that serves.
        if (!replaced) notifier.reloading();
        void holder.reload().then(() => {
          link?.reloaded(ctx.policy.digest);
          if (!replaced) notifier.ready(`mode ${holder.mode} policy ${ctx.policy.digest}`);
        });
      },
      upgrade: () => upgrade.begin(),
      reopen: () => reopen(audit, log),
      end: () => {
        if (!drain) {
          notifier.stopping('draining');
          void upgrade.abandon();
          return begin('stop');
        }
        // After an upgrade the first of them only says that nothing new is to be served.
        if (!ctx.draining) return drain.refuse();
        drain.now();
      },
    });
  });
}

/** Of a process that serves alone: workers are upgraded by their primary. */
function upgradeOf(running: Running, done: () => void): Upgrade {
  const { ctx, audit, log, env, jobs, listeners, leftovers } = running;
  return new Upgrade({
    ...{ log, env, limits: ctx.limits, meter: ctx.meter, done },
    closing: () => ctx.closing,
    note: (detail) => note(audit, log, 'upgrade', ctx.policy.digest, detail),
    listening: () => listeners.all,
    handOver: () => {
      leftovers?.stop();
      jobs.leases?.over();
      return { fork: audit.handOver(), workers: [], turn: null };
    },
    takeBack: () => {
      audit.takeBack();
      jobs.leases?.back();
      leftovers?.begin();
    },
  });
}

function reopen(audit: ProcessLog, log: Logger): void {
  try {
    audit.reopen();
    log.info('the audit log was reopened');
  } catch (error) {
    log.error({ err: error }, 'the audit log could not be reopened; the old file stays in use');
  }
}

/** What is no limit and counts all the same. */
function counted({ layersBroken }: PolicyHolder): Record<string, number> {
  return layersBroken > 0 ? { layers_broken: layersBroken } : {};
}

function note(audit: ProcessLog, log: Logger, event: 'upgrade' | 'stop', policy: string, detail: Note['detail']): void {
  try {
    audit.note({ event, policy, detail });
  } catch (error) {
    log.error({ err: error, event }, 'what the process did could not be recorded');
  }
}

async function stopProjection(projection: Projection, log: Logger): Promise<void> {
  try {
    await projection.stop();
  } catch (error) {
    log.warn({ err: error }, 'the usage store did not take the last records; it will at the next start');
  }
}
