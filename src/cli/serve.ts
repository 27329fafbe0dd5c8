// The composition root: the one place that makes the parts and hands them to each other. It starts them in the order that
// keeps the proxy closed until all stand, obeys the signals, and ends them so that no record is lost.
import { randomBytes } from 'node:crypto';
import { type Logger, pino } from 'pino';
import { type AuditLog, openAuditLog } from '../audit/log.ts';
import { type LoadedConfig, loadConfig, type Overrides } from '../config/load.ts';
import { ClientBook } from '../identity/identify.ts';
import { createMeter } from '../limits.ts';
import { createResolver } from '../net/resolve.ts';
import { Policy } from '../policy/decide.ts';
import { BoundedLog } from '../proxy/bounded-log.ts';
import type { ProxyContext } from '../proxy/context.ts';
import { JsEngine } from '../proxy/engine-js.ts';
import { OpenRequests } from '../proxy/open-requests.ts';
import { ProxyServer } from '../proxy/server.ts';
import { Slots } from '../proxy/slots.ts';
import { type Projection, startProjection } from '../usage/project.ts';
import { Drain } from './drain.ts';
import { Listeners } from './listeners.ts';
import { Notifier } from './notify.ts';
import { activatedSockets, placesOf } from './places.ts';
import { PolicyHolder } from './policy-holder.ts';
import { Signals } from './signals.ts';
import { VERSION } from './version.ts';

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
  const signals = new Signals();
  const loaded = await loadConfig({ file: options.file, overrides: options.overrides, now: Date.now() });
  const { settings } = loaded;
  const log = pino(
    { level: settings.log.level, base: { node: settings.node } },
    pino.destination({ fd: 2, sync: true }),
  );
  for (const problem of loaded.problems) log.warn({ code: problem.code, at: problem.at }, problem.message);

  const audit = openAuditLog({
    file: settings.audit.file,
    node: settings.node,
    limits: settings.limits,
    whenFull: settings.audit.whenFull,
    sync: settings.audit.sync,
    rotateBytes: settings.audit.rotateBytes,
    onProblem: (what, error) => log.warn({ err: error }, what),
    now: () => new Date(),
  });
  try {
    return await run({ options, loaded, log, audit, signals });
  } finally {
    audit.close();
  }
}

interface Parts {
  readonly options: ServeOptions;
  readonly loaded: LoadedConfig;
  readonly log: Logger;
  readonly audit: AuditLog;
  readonly signals: Signals;
}

async function run({ options, loaded, log, audit, signals }: Parts): Promise<number> {
  const { settings } = loaded;
  sayRepairs(audit, log);
  const meter = createMeter();
  const engine = new JsEngine(settings.limits, meter);
  const ctx = createContext({ loaded, log, audit, meter, engine });
  const holder = new PolicyHolder({ ctx, audit, log, file: options.file, overrides: options.overrides, loaded });
  holder.install();
  const proxy = new ProxyServer(ctx, engine);
  // The projection tails the log in a worker of its own; whatever happens to the store, the data plane does not wait for it.
  const projection = startProjection({
    auditFile: settings.audit.file,
    store: settings.usage.store,
    limits: settings.limits,
    onProblem: (problem) => log.warn(problem, 'the usage store lags'),
  });
  const notifier = new Notifier(options.env, log);
  let listeners: Listeners | null = null;
  try {
    const notReady = (): string | null => (ctx.draining ? 'draining' : audit.notReady);
    const places = placesOf(settings);
    listeners = new Listeners({ proxy, health: { notReady }, guard: (bound) => holder.guard(bound) });
    await listeners.open(places, activatedSockets(options.env, process.pid, places));
    audit.note({
      event: 'start',
      policy: ctx.policy.digest,
      detail: { version: VERSION, mode: holder.mode, pid: process.pid, engine: engine.kind },
    });
    const drained = obey({
      ctx,
      holder,
      audit,
      log,
      notifier,
      signals,
      drain: () => new Drain({ ctx, proxy, log }, 'stop'),
    });
    holder.watch();
    const ready = `proxy ${listeners.proxies} admin ${listeners.admin} mode ${holder.mode} policy ${ctx.policy.digest}`;
    // Who reads the ready line may signal at once: the handlers stand before it is said.
    options.say(`sallyport ready: ${ready}`);
    notifier.ready(ready);
    await drained;
    return 0;
  } finally {
    signals.close();
    holder.close();
    for (const open of ctx.open.values()) open.cut('drained', 'draining');
    proxy.close();
    listeners?.close();
    ctx.resolver.close();
    note(audit, log, ctx.policy.digest, Object.fromEntries(meter.hits));
    await stopProjection(projection, log);
  }
}

function sayRepairs(audit: AuditLog, log: Logger): void {
  if (audit.repaired)
    log.warn(audit.repaired, 'the last audit line was cut short by a crash; the fragment is set aside');
  if (audit.interrupted > 0)
    log.warn(
      { requests: audit.interrupted },
      'requests of the process before were open when it ended; recorded as interrupted',
    );
}

function createContext(parts: {
  loaded: LoadedConfig;
  log: Logger;
  audit: AuditLog;
  meter: ReturnType<typeof createMeter>;
  engine: JsEngine;
}): ProxyContext {
  const { loaded, log, audit, meter, engine } = parts;
  const { settings } = loaded;
  const boot = randomBytes(4).toString('hex');
  let requests = 0;
  return {
    policy: new Policy(loaded.policy),
    book: new ClientBook(settings, settings.limits.clients_tracked_max),
    help: settings.help,
    plainHttp: settings.plainHttp,
    closing: false,
    draining: false,
    open: new OpenRequests(engine.tunnels),
    limits: settings.limits,
    meter,
    resolver: createResolver({ dns: settings.dns, limits: settings.limits, meter }),
    recorder: audit,
    log: new BoundedLog(log),
    slots: new Slots(settings.limits, meter),
    tunnelsFull: () => {
      // The exchange that asks is counted already.
      if (engine.load <= settings.limits.tunnels_max) return false;
      meter.hit('tunnels_max');
      return true;
    },
    nextId: () => `${boot}-${(++requests).toString(36)}`,
  };
}

/** Obeys the signals; resolves when the proxy has drained. */
function obey(parts: {
  ctx: ProxyContext;
  holder: PolicyHolder;
  audit: AuditLog;
  log: Logger;
  notifier: Notifier;
  signals: Signals;
  drain: () => Drain;
}): Promise<void> {
  const { ctx, holder, audit, log, notifier, signals } = parts;
  // One request's bug must not end everybody's tunnels: it is said, and that request's sockets die by their own deadlines.
  process.on('uncaughtException', (error) => ctx.log.fatal({ err: error }, 'a bug: an exception reached the top'));
  return new Promise((resolve) => {
    let draining: Drain | null = null;
    signals.obey({
      reload: () => {
        notifier.reloading();
        void holder.reload().then(() => notifier.ready(`mode ${holder.mode} policy ${ctx.policy.digest}`));
      },
      upgrade: () => {},
      reopen: () => reopen(audit, log),
      end: () => {
        if (draining) return draining.now();
        draining = parts.drain();
        notifier.stopping('draining');
        void draining.done.then(resolve);
      },
    });
  });
}

function reopen(audit: AuditLog, log: Logger): void {
  try {
    audit.reopen();
    log.info('the audit log was reopened');
  } catch (error) {
    log.error({ err: error }, 'the audit log could not be reopened; the old file stays in use');
  }
}

function note(audit: AuditLog, log: Logger, policy: string, hits: Record<string, number>): void {
  try {
    audit.note({ event: 'stop', policy, detail: { pid: process.pid, ...hits } });
  } catch (error) {
    log.error({ err: error }, 'the stop could not be recorded');
  }
}

async function stopProjection(projection: Projection, log: Logger): Promise<void> {
  try {
    await projection.stop();
  } catch (error) {
    log.warn({ err: error }, 'the usage store did not take the last records; it will at the next start');
  }
}
