// The composition root of a proxy with workers: it opens the sockets, starts the workers, keeps what they must know together, and obeys the
// signals for all of them. It serves nobody itself, so that nothing a client does reaches it.
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { type AdminServer, startAdmin } from '../../admin/server.ts';
import type { Fork } from '../../audit/branch.ts';
import { Heartbeat } from '../../audit/heartbeat.ts';
import { ProcessLog } from '../../audit/process-log.ts';
import type { LoadedConfig } from '../../config/load.ts';
import { digestKey } from '../../identity/proofs.ts';
import { createMeter } from '../../limits.ts';
import { startProjection } from '../../usage/project.ts';
import { LeaseFile } from '../lease-file.ts';
import { endpoint, listening } from '../listeners.ts';
import { Notifier } from '../notify.ts';
import { activatedSockets, type Place, placesOf, type Sockets } from '../places.ts';
import type { Predecessor } from '../predecessor.ts';
import { readyLine } from '../ready-line.ts';
import type { ServeOptions } from '../serve.ts';
import { startShip } from '../ship.ts';
import type { SignalSource } from '../signals.ts';
import { type HandedOver, refuseUpgrade, Upgrade } from '../upgrade.ts';
import { VERSION } from '../version.ts';
import { Crew, type Member } from './crew.ts';
import { HandOver } from './hand-over.ts';
import { HeldSockets, hold } from './held-sockets.ts';
import { Leftovers } from './leftovers.ts';
import { type FromWorker, type Order, startSettings, workersOf } from './order.ts';
import { type PrimaryPages, primaryPages, workerSocket } from './primary-pages.ts';
import { Reloads } from './reloads.ts';
import { SharedState } from './shared-state.ts';
import { Unison } from './unison.ts';

interface Start {
  readonly options: ServeOptions;
  readonly loaded: LoadedConfig;
  readonly log: Logger;
  readonly signals: SignalSource;
  readonly predecessor: Predecessor | null;
}

/**
 * Runs the proxy with workers until SIGTERM or SIGINT.
 * @returns the exit code: 0 after a drain
 * @throws SallyportError where the sockets, the audit log or a worker fails: then nothing listens
 */
export async function servePrimary(start: Start): Promise<number> {
  const { predecessor } = start;
  const meter = createMeter();
  const sockets = new PrimarySockets();
  let audit: ProcessLog | null = null;
  try {
    // Who is not given the log finds it locked before a socket is bound.
    if (predecessor === null) audit = openLog(start, meter, null);
    await sockets.open(start);
    const handed = (await predecessor?.takeOver()) ?? null;
    audit ??= openLog(start, meter, handed);
    return await new Primary({ ...start, meter, audit, sockets, handed }).run();
  } finally {
    sockets.close();
    audit?.close();
  }
}

function openLog({ loaded, log }: Start, meter: Meter, handed: HandedOver | null): ProcessLog {
  const { audit, node, limits } = loaded.settings;
  return new ProcessLog({
    ...{ meter, file: audit.file, node, limits, whenFull: audit.whenFull, sync: audit.sync },
    ...{ rotateBytes: audit.rotateBytes, now: () => new Date() },
    onProblem: (what, error) => log.warn({ err: error }, what),
    ...(handed ? { takeOver: handed.fork } : {}),
  });
}

/** All sockets of the proxy: the workers' are held here, the admin listener's is for the primary itself. */
class PrimarySockets {
  readonly held = new HeldSockets();
  admin: Awaited<ReturnType<typeof hold>> | null = null;

  /** From the process before, from the service manager, or bound here: nobody accepts on any of them yet. */
  async open({ loaded, options, predecessor }: Start): Promise<void> {
    const places = placesOf(loaded.settings);
    const given: Sockets = predecessor
      ? await predecessor.offered(places)
      : activatedSockets(options.env, process.pid, places);
    const admin = places.find(({ role }) => role === 'admin');
    await this.held.open(
      places.filter((place) => place !== admin),
      given,
    );
    if (admin) this.admin = await hold(admin, given);
  }

  close(): void {
    this.held.close();
    this.admin?.handle.close();
  }
}

type Parts = Start & {
  readonly meter: Meter;
  readonly audit: ProcessLog;
  readonly sockets: PrimarySockets;
  readonly handed: HandedOver | null;
};
type Meter = ReturnType<typeof createMeter>;

class Primary {
  readonly #parts: Parts;
  readonly #crew: Crew;
  readonly #shared: SharedState;
  readonly #unison: Unison;
  readonly #reloads: Reloads;
  readonly #handOver: HandOver;
  readonly #upgrade: Upgrade;
  readonly #leases: LeaseFile;
  readonly #leftovers: Leftovers;
  readonly #notifier: Notifier;
  readonly #places: readonly Place[];
  readonly #key = digestKey();
  /** For the pages of workers: the operator's may be another one by the time that a worker starts. */
  readonly #token = randomBytes(32).toString('base64url');
  readonly #turn: 0 | 1;
  /** Logs that the workers of the process before have given free, until each is begun anew. */
  readonly #forks: Map<number, Fork>;
  #guarded: Order['guarded'] = [];
  #pages: PrimaryPages | null = null;
  #admin: AdminServer | null = null;
  /** What a new process takes over: counting and shipping. */
  #stopFollowing: ((why: 'ended' | 'replaced') => Promise<void>) | null = null;
  #draining = false;
  #replaced = false;

  constructor(parts: Parts) {
    const { loaded, options, log, meter, sockets, handed, predecessor } = parts;
    const { limits, audit } = loaded.settings;
    this.#parts = parts;
    this.#turn = handed?.turn === 0 ? 1 : 0;
    this.#forks = new Map(handed?.workers);
    this.#places = placesOf(loaded.settings);
    this.#notifier = new Notifier(options.env, log);
    this.#crew = new Crew(workersOf(loaded.settings), {
      env: options.env,
      descriptors: () => sockets.held.descriptors,
      grouped: predecessor !== null,
      order: (worker) => this.#order(worker),
      heard: (member, message) => this.#heard(member, message),
      died: (member, how) => this.#died(member, how),
      back: (member) => this.#back(member),
    });
    const members = (): readonly Member[] => this.#crew.members;
    const tell: Crew['tell'] = (worker, message) => this.#crew.tell(worker, message);
    const tellAll: Crew['tellAll'] = (message) => this.#crew.tellAll(message);
    this.#shared = new SharedState({ limits, meter, members, tell });
    this.#unison = new Unison(members, ({ event, policy, detail }) => this.#note(event, detail, policy));
    this.#reloads = new Reloads({
      ...{ members, log, note: (detail) => this.#note('policy', detail) },
      tell: () => tellAll({ type: 'act', act: 'reload' }),
    });
    this.#handOver = new HandOver({ members, tellAll });
    this.#upgrade = this.#upgrades();
    const onProblem = (what: string, error: unknown): void => log.warn({ err: error }, what);
    this.#leases = new LeaseFile({ auditFile: audit.file, proofs: this.#shared, onProblem });
    const { settings, policy } = loaded;
    this.#leftovers = new Leftovers({ settings, workers: workersOf(settings), log, policy: policy.digest });
  }

  async run(): Promise<number> {
    const { loaded, options, log, audit, sockets, signals, predecessor, handed } = this.#parts;
    const { held } = sockets;
    if (predecessor === null) this.#leftovers.begin();
    else signals.meanwhile(() => refuseUpgrade({ log, note: (detail) => this.#note('upgrade', detail) }));
    this.#pages = this.#makePages();
    if (predecessor === null) await this.#openAdmin();
    this.#leases.open();
    this.#guarded = [...held.addresses, ...(sockets.admin ? [sockets.admin.address] : [])];
    try {
      await this.#crew.start();
      this.#forks.clear();
      // In an upgrade not before it can say that it is ready: the old process answers until then.
      if (predecessor) await this.#openAdmin();
      const at = { proxy: this.#proxyAddresses, admin: this.#admin?.where ?? 'off', mode: this.#first.mode };
      const everyMs = loaded.settings.limits.audit_heartbeat_ms;
      this.#note('start', {
        ...{ version: VERSION, ...at, pid: process.pid, engine: this.#first.engine },
        ...{ workers: this.#crew.members.length, heartbeat_ms: everyMs },
      });
      const heartbeat = new Heartbeat({ audit, everyMs, policy: () => this.#policy });
      this.#stopFollowing = await this.#follow();
      try {
        this.#obey();
        const ready = readyLine({ ...at, policy: this.#policy });
        options.say(ready);
        this.#notifier.ready(ready);
        predecessor?.ready(ready, this.#crew.members.length);
        // Only now is it sure that nobody takes them back.
        if (predecessor) this.#leftovers.begin(handed?.workers);
        await this.#crew.over;
        // The log is not left to a new process of which nobody knows yet whether it lives.
        await this.#upgrade.abandon();
      } finally {
        signals.close();
        heartbeat.stop();
        this.#note('stop', { pid: process.pid, ...Object.fromEntries(this.#parts.meter.hits) });
        await this.#stopFollowing('ended');
      }
      return 0;
    } finally {
      this.#shared.close();
      this.#leases.close();
      this.#admin?.close();
      await this.#leftovers.stop();
      if (audit.notReady) log.warn({ why: audit.notReady }, 'the audit log of the primary was not fit at the end');
    }
  }

  #proxies(): Place[] {
    return this.#places.filter(({ role }) => role !== 'admin');
  }

  get #proxyAddresses(): string {
    const proxies = this.#proxies();
    return this.#parts.sockets.held.addresses
      .map((address, index) => (proxies[index]?.role === 'tls' ? `https://${endpoint(address)}` : endpoint(address)))
      .join(',');
  }

  get #first(): Member {
    const { members } = this.#crew;
    return members.find(({ state }) => state === 'ready') ?? (members[0] as Member);
  }

  get #policy(): string {
    return this.#first.policy || this.#parts.loaded.policy.digest;
  }

  /** Why no new work should be given to this proxy: a worker that is missing takes its part of the limits with it. */
  #notReady(): string | null {
    if (this.#draining) return 'draining';
    for (const { worker, state, notReady } of this.#crew.members) {
      if (state !== 'ready') return `worker ${worker} is being started`;
      if (notReady !== null) return `worker ${worker}: ${notReady}`;
    }
    return this.#parts.audit.notReady;
  }

  #order(worker: number): Order {
    const { settings } = this.#parts.loaded;
    const admin = settings.admin && { path: workerSocket(settings, worker, this.#turn), token: this.#token };
    return {
      ...{ worker, workers: this.#crew.members.length, auditFile: settings.audit.file, node: settings.node },
      ...{ places: this.#proxies(), guarded: this.#guarded, admin },
      ...{ start: startSettings(settings), key: this.#key, leases: this.#shared.leases.all() },
      takeOver: this.#forks.get(worker) ?? null,
    };
  }

  #makePages(): PrimaryPages | null {
    const { loaded, log, meter } = this.#parts;
    return primaryPages({
      ...{ settings: loaded.settings, log, meter, token: this.#token, turn: this.#turn },
      members: () => this.#crew.members,
      notReady: () => this.#notReady(),
      policy: () => this.#policy,
    });
  }

  async #openAdmin(): Promise<void> {
    const { sockets, loaded } = this.#parts;
    const { admin } = loaded.settings;
    if (this.#pages === null || admin === null) return;
    const on = admin.path === null ? sockets.admin : { path: admin.path };
    const unix: Place = { role: 'admin', host: 'unix', port: 0 };
    const place = this.#places.find(({ role }) => role === 'admin') ?? unix;
    if (on !== null) this.#admin = await listening(place, startAdmin(on, this.#pages));
  }

  /** Counts and ships its own log. */
  async #follow(): Promise<(why: 'ended' | 'replaced') => Promise<void>> {
    const { loaded, log, meter } = this.#parts;
    const { audit, usage, limits } = loaded.settings;
    const projection = startProjection({
      ...{ auditFile: audit.file, store: usage.store, keep: usage.keep, limits, shared: true },
      onProblem: (problem) => log.warn(problem, 'the usage store lags'),
    });
    const shipping = await startShip(loaded.settings, log, meter);
    return async (why) => {
      await shipping?.stop(why);
      await projection.stop();
    };
  }

  #heard(member: Member, message: FromWorker): void {
    const { worker } = member;
    if (message.type === 'ask') this.#shared.asked(worker, message.id, message.question);
    else if (message.type === 'applied') this.#shared.applied(worker, message.number, message.result);
    else if (message.type === 'right') this.#shared.right(message.address);
    else if (message.type === 'noted') this.#unison.said(worker, message.note);
    else if (message.type === 'reload') void this.#reloads.begin();
    else if (message.type === 'reloaded') this.#reloads.done(worker);
    else if (message.type === 'handed') this.#handOver.said(worker, message.attempt, message.fork, message.why);
  }

  #died(member: Member, how: string): void {
    const { worker, state } = member;
    this.#shared.gone(worker);
    this.#reloads.done(worker);
    this.#handOver.gone(worker);
    if (state !== 'waiting') return;
    this.#unison.look();
    this.#parts.log.error({ worker, how }, 'a worker has died and is started anew; the others serve');
    this.#note('worker', { worker, result: 'died', how });
  }

  #back({ worker, pid }: Member): void {
    this.#parts.log.warn({ worker, pid }, 'a worker serves again');
    this.#note('worker', { worker, result: 'started', pid });
    this.#pages?.workersChanged();
  }

  #upgrades(): Upgrade {
    const { loaded, options, log, meter, audit, sockets } = this.#parts;
    return new Upgrade({
      ...{ log, meter, env: options.env, limits: loaded.settings.limits },
      closing: () => this.#draining || this.#replaced,
      note: (detail) => this.#note('upgrade', detail),
      listening: () => {
        const admin = this.#places.find(({ role }) => role === 'admin');
        const listens = this.#admin?.listening;
        return new Map([...sockets.held.all, ...(admin && listens ? [[admin, listens] as const] : [])]);
      },
      handOver: async () => {
        void this.#leftovers.stop();
        this.#crew.pause();
        const forks = await this.#handOver.begin();
        this.#leases.over();
        return { fork: audit.handOver(), workers: [...forks], turn: this.#turn };
      },
      takeBack: () => {
        this.#handOver.takeBack();
        audit.takeBack();
        this.#leases.back();
        this.#crew.resume();
        this.#leftovers.begin();
      },
      done: (workers) => {
        this.#replaced = true;
        this.#admin?.stopListening();
        sockets.held.close();
        this.#crew.replaced(workers, loaded.settings.limits.drain_timeout_ms);
        void this.#stopFollowing?.('replaced');
      },
    });
  }

  #obey(): void {
    const { signals, log, audit, sockets } = this.#parts;
    signals.obey({
      reload: () => {
        // The service manager listens to the process that serves.
        if (!this.#replaced) this.#notifier.reloading();
        void this.#reloads.begin().then(() => {
          if (!this.#replaced) this.#notifier.ready(`mode ${this.#first.mode} policy ${this.#first.policy}`);
        });
      },
      upgrade: () => this.#upgrade.begin(),
      reopen: () => {
        try {
          audit.reopen();
        } catch (error) {
          log.error({ err: error }, 'the audit log could not be reopened; the old file stays in use');
        }
        this.#crew.tellAll({ type: 'act', act: 'reopen' });
      },
      end: () => {
        if (!this.#draining && !this.#replaced) {
          this.#notifier.stopping('draining');
          void this.#upgrade.abandon();
        }
        this.#draining = true;
        // Who comes now is refused as soon as no worker listens any more.
        sockets.held.close();
        this.#crew.end();
      },
    });
  }

  #note(event: Parameters<ProcessLog['note']>[0]['event'], detail: Detail, policy = this.#policy): void {
    try {
      this.#parts.audit.note({ event, policy, detail });
    } catch (error) {
      this.#parts.log.error({ err: error, event }, 'the primary could not record what was done');
    }
  }
}

type Detail = Parameters<ProcessLog['note']>[0]['detail'];
