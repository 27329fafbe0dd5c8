// The composition root: the one place that makes the parts and hands them to each other. It starts them in the order that
// keeps the proxy closed until all stand, obeys the signals, and ends them so that no record is lost.
import { randomBytes } from 'node:crypto';
import type net from 'node:net';
import { type Logger, pino } from 'pino';
import { type AdminServer, startAdmin } from '../admin/server.ts';
import { type AuditLog, openAuditLog } from '../audit/log.ts';
import type { Settings } from '../config/config.ts';
import { type LoadedConfig, loadConfig, type Overrides } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
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
import { PolicyHolder } from './policy-holder.ts';
import { VERSION } from './version.ts';

export interface ServeOptions {
  readonly file: string | null;
  readonly overrides: Overrides;
  /** One line for a person or a supervisor on stdout. */
  readonly say: (line: string) => void;
}

// While draining, how often the open tunnels are counted.
const DRAIN_CHECK_MS = 25;

/**
 * Runs the proxy until SIGTERM or SIGINT; a second signal ends it at once.
 * @returns the exit code: 0 after a drain
 * @throws SallyportError when the config, the audit log or a listener fails: then nothing listens
 */
export async function serve(options: ServeOptions): Promise<number> {
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
    now: () => new Date(),
  });
  try {
    return await run(options, loaded, log, audit);
  } finally {
    audit.close();
  }
}

async function run(options: ServeOptions, loaded: LoadedConfig, log: Logger, audit: AuditLog): Promise<number> {
  const { settings } = loaded;
  if (audit.repaired)
    log.warn(audit.repaired, 'the last audit line was cut short by a crash; the fragment is set aside');
  if (audit.interrupted > 0)
    log.warn(
      { requests: audit.interrupted },
      'requests of the process before were open when it ended; recorded as interrupted',
    );

  const meter = createMeter();
  const engine = new JsEngine(settings.limits, meter);
  const ctx = createContext({ loaded, log, audit, meter, engine });
  const holder = new PolicyHolder({ ctx, audit, log, file: options.file, overrides: options.overrides, loaded });
  holder.install();
  const proxy = new ProxyServer(ctx, engine, new Slots(settings.limits, meter));
  // The projection tails the log in a worker of its own; whatever happens to the store, the data plane does not wait for it.
  const projection = startProjection({
    auditFile: settings.audit.file,
    store: settings.usage.store,
    limits: settings.limits,
    onProblem: (problem) => log.warn(problem, 'the usage store lags'),
  });
  let admin: AdminServer | null = null;
  try {
    const notReady = (): string | null => (ctx.draining ? 'draining' : audit.stats.lastError);
    if (settings.admin) admin = await listening(settings.admin, (at) => startAdmin(at, { notReady }));
    const proxies: net.AddressInfo[] = [];
    for (const at of settings.listen) {
      // The endpoint is guarded before a client can use it: the real port is known only now.
      const address = await listening(at, (where) => proxy.listen(where));
      proxies.push(address);
      holder.guard([...proxies, ...(admin ? [admin.address] : [])]);
    }
    audit.note({
      event: 'start',
      policy: ctx.policy.digest,
      detail: { version: VERSION, mode: holder.mode, pid: process.pid, engine: engine.kind },
    });
    // Who reads the ready line may signal at once: the handlers stand before it is said, or the signal would kill.
    const ended = signals({
      holder,
      audit,
      log,
      faults: ctx.log,
      begin: () => drain({ ctx, proxy, engine, settings, log }),
    });
    sayReady(options, { proxies, admin, holder, digest: ctx.policy.digest });
    await ended;
    return 0;
  } finally {
    holder.close();
    proxy.close();
    admin?.close();
    ctx.resolver.close();
    note(audit, log, ctx.policy.digest, Object.fromEntries(meter.hits));
    await stopProjection(projection, log);
  }
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
    draining: false,
    open: new OpenRequests(engine.tunnels),
    limits: settings.limits,
    meter,
    resolver: createResolver({ dns: settings.dns, limits: settings.limits, meter }),
    recorder: audit,
    log: new BoundedLog(log),
    tunnelsFull: () => {
      // The exchange that asks is counted already.
      if (engine.load <= settings.limits.tunnels_max) return false;
      meter.hit('tunnels_max');
      return true;
    },
    nextId: () => `${boot}-${(++requests).toString(36)}`,
  };
}

async function listening<T>(
  at: { host: string; port: number },
  start: (at: { host: string; port: number }) => Promise<T>,
): Promise<T> {
  try {
    return await start(at);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new SallyportError('listen-failed', `cannot listen on ${at.host}:${at.port}: ${code ?? message}`, {
      cause: error,
    });
  }
}

function sayReady(
  options: ServeOptions,
  at: { proxies: net.AddressInfo[]; admin: AdminServer | null; holder: PolicyHolder; digest: string },
): void {
  const proxies = at.proxies.map(endpoint).join(',');
  const admin = at.admin ? endpoint(at.admin.address) : 'off';
  options.say(`sallyport ready: proxy ${proxies} admin ${admin} mode ${at.holder.mode} policy ${at.digest}`);
}

function endpoint(address: net.AddressInfo): string {
  return address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
}

/** Resolves when the proxy has drained; SIGHUP reloads, SIGUSR2 reopens the audit log, a second SIGTERM or SIGINT stops waiting. */
function signals(parts: {
  holder: PolicyHolder;
  audit: AuditLog;
  log: Logger;
  faults: BoundedLog;
  begin: () => { done: Promise<void>; now: () => void };
}): Promise<void> {
  return new Promise((resolve) => {
    let draining: { done: Promise<void>; now: () => void } | null = null;
    const end = (): void => {
      if (draining) return draining.now();
      draining = parts.begin();
      void draining.done.then(() => {
        for (const [signal, handler] of handlers) process.removeListener(signal, handler);
        resolve();
      });
    };
    const reopen = (): void => {
      try {
        parts.audit.reopen();
        parts.log.info('the audit log was reopened');
      } catch (error) {
        parts.log.error({ err: error }, 'the audit log could not be reopened; the old file stays in use');
      }
    };
    const handlers: [NodeJS.Signals, () => void][] = [
      ['SIGTERM', end],
      ['SIGINT', end],
      ['SIGHUP', () => void parts.holder.reload()],
      ['SIGUSR2', reopen],
    ];
    for (const [signal, handler] of handlers) process.on(signal, handler);
    // One request's bug must not end everybody's tunnels: it is said, and that request's sockets die by their own deadlines.
    process.on('uncaughtException', (error) =>
      parts.faults.fatal({ err: error }, 'a bug: an exception reached the top'),
    );
  });
}

function drain(parts: { ctx: ProxyContext; proxy: ProxyServer; engine: JsEngine; settings: Settings; log: Logger }): {
  done: Promise<void>;
  now: () => void;
} {
  const { ctx, proxy, engine, settings, log } = parts;
  ctx.draining = true;
  proxy.stopListening();
  log.info({ tunnels: engine.load }, 'draining');
  let finish: () => void = () => {};
  const done = new Promise<void>((resolve) => {
    const timers = [
      setInterval(() => {
        if (proxy.idle) finish();
      }, DRAIN_CHECK_MS),
      setTimeout(() => finish(), settings.limits.drain_timeout_ms),
    ];
    finish = () => {
      for (const timer of timers) clearTimeout(timer);
      resolve();
    };
    if (proxy.idle) finish();
  });
  return { done, now: () => finish() };
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
