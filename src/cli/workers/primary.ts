// The composition root of a proxy with workers: it opens the sockets, starts the workers, keeps what they must know together, and obeys the
// signals for all of them. It serves nobody itself, so that nothing a client does reaches it.
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { startAdmin } from '../../admin/server.ts';
import { Heartbeat } from '../../audit/heartbeat.ts';
import { ProcessLog } from '../../audit/process-log.ts';
import type { LoadedConfig } from '../../config/load.ts';
import { SallyportError } from '../../errors.ts';
import { digestKey } from '../../identity/proofs.ts';
import { createMeter } from '../../limits.ts';
import { startProjection } from '../../usage/project.ts';
import { LeaseFile } from '../lease-file.ts';
import { endpoint, listening } from '../listeners.ts';
import { Notifier } from '../notify.ts';
import { activatedSockets, type Place, placesOf } from '../places.ts';
import { readyLine } from '../ready-line.ts';
import type { ServeOptions } from '../serve.ts';
import { startShip } from '../ship.ts';
import type { SignalSource } from '../signals.ts';
import { VERSION } from '../version.ts';
import { Crew, type Member } from './crew.ts';
import { HeldSockets } from './held-sockets.ts';
import { adoptLeftovers } from './leftovers.ts';
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
}

/**
 * Runs the proxy with workers until SIGTERM or SIGINT.
 * @returns the exit code: 0 after a drain
 * @throws SallyportError where the sockets, the audit log or a worker fails: then nothing listens
 */
export async function servePrimary(start: Start): Promise<number> {
  const { loaded, log } = start;
  const { settings } = loaded;
  const { audit, node, limits } = settings;
  const meter = createMeter();
  const problem = (what: string, error: unknown): void => log.warn({ err: error }, what);
  const own = new ProcessLog({
    ...{ meter, file: audit.file, node, limits, whenFull: audit.whenFull, sync: audit.sync },
    ...{ rotateBytes: audit.rotateBytes, onProblem: problem, now: () => new Date() },
  });
  const held = new HeldSockets();
  try {
    return await new Primary({ ...start, meter, audit: own, held }).run();
  } finally {
    held.close();
    own.close();
  }
}

type Parts = Start & {
  readonly meter: ReturnType<typeof createMeter>;
  readonly audit: ProcessLog;
  readonly held: HeldSockets;
};

class Primary {
  readonly #parts: Parts;
  readonly #crew: Crew;
  readonly #shared: SharedState;
  readonly #unison: Unison;
  readonly #reloads: Reloads;
  readonly #leases: LeaseFile;
  readonly #notifier: Notifier;
  readonly #places: readonly Place[];
  readonly #key = digestKey();
  /** For the pages of workers: the operator's may be another one by the time that a worker starts. */
  readonly #token = randomBytes(32).toString('base64url');
  #guarded: Order['guarded'] = [];
  #pages: PrimaryPages | null = null;
  #draining = false;

  constructor(parts: Parts) {
    const { loaded, options, log, meter, held } = parts;
    const { limits, audit } = loaded.settings;
    this.#parts = parts;
    this.#places = placesOf(loaded.settings);
    this.#notifier = new Notifier(options.env, log);
    this.#crew = new Crew(workersOf(loaded.settings), {
      env: options.env,
      descriptors: () => held.descriptors,
      order: (worker) => this.#order(worker),
      heard: (member, message) => this.#heard(member, message),
      died: (member, how) => this.#died(member, how),
      back: (member) => this.#back(member),
    });
    const members = (): readonly Member[] => this.#crew.members;
    const tell: Crew['tell'] = (worker, message) => this.#crew.tell(worker, message);
    this.#shared = new SharedState({ limits, meter, members, tell });
    this.#unison = new Unison(members, ({ event, policy, detail }) => this.#note(event, detail, policy));
    this.#reloads = new Reloads({
      ...{ members, log, note: (detail) => this.#note('policy', detail) },
      tell: () => this.#crew.tellAll({ type: 'act', act: 'reload' }),
    });
    const onProblem = (what: string, error: unknown): void => log.warn({ err: error }, what);
    this.#leases = new LeaseFile({ auditFile: audit.file, proofs: this.#shared, onProblem });
  }

  async run(): Promise<number> {
    const { loaded, options, log, audit, held, signals } = this.#parts;
    const { settings } = loaded;
    const stopLeftovers = adoptLeftovers(settings, workersOf(settings), log);
    const given = activatedSockets(options.env, process.pid, this.#places);
    const proxies = this.#proxies();
    await held.open(proxies, given);
    const admin = await this.#openAdmin(given);
    this.#leases.open();
    this.#guarded = [...held.addresses, ...(admin?.listening ? [admin.listening.address] : [])];
    try {
      await this.#crew.start();
      const addresses = held.addresses.map((address, index) =>
        proxies[index]?.role === 'tls' ? `https://${endpoint(address)}` : endpoint(address),
      );
      const at = { proxy: addresses.join(','), admin: admin?.where ?? 'off', mode: this.#first.mode };
      this.#note('start', {
        ...{ version: VERSION, ...at, pid: process.pid, engine: this.#first.engine },
        ...{ workers: this.#crew.members.length, heartbeat_ms: loaded.settings.limits.audit_heartbeat_ms },
      });
      const everyMs = loaded.settings.limits.audit_heartbeat_ms;
      const heartbeat = new Heartbeat({ audit, everyMs, policy: () => this.#policy });
      const projection = this.#project();
      const shipping = await startShip(loaded.settings, log, this.#parts.meter);
      try {
        this.#obey();
        const ready = readyLine({ ...at, policy: this.#policy });
        options.say(ready);
        this.#notifier.ready(ready);
        await this.#crew.over;
      } finally {
        signals.close();
        heartbeat.stop();
        this.#note('stop', { pid: process.pid, ...Object.fromEntries(this.#parts.meter.hits) });
        await shipping?.stop('ended');
        await projection.stop();
      }
      return 0;
    } finally {
      this.#shared.close();
      this.#leases.close();
      admin?.close();
      await stopLeftovers;
      if (audit.notReady) log.warn({ why: audit.notReady }, 'the audit log of the primary was not fit at the end');
    }
  }

  #proxies(): Place[] {
    return this.#places.filter(({ role }) => role !== 'admin');
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
    const admin = settings.admin && { path: workerSocket(settings, worker), token: this.#token };
    return {
      ...{ worker, workers: this.#crew.members.length, auditFile: settings.audit.file, node: settings.node },
      ...{ places: this.#proxies(), guarded: this.#guarded, admin },
      ...{ start: startSettings(settings), key: this.#key, leases: this.#shared.leases.all() },
    };
  }

  async #openAdmin(given: ReturnType<typeof activatedSockets>): Promise<Awaited<ReturnType<typeof startAdmin>> | null> {
    const { loaded, log, meter } = this.#parts;
    const { admin } = loaded.settings;
    this.#pages = primaryPages({
      ...{ settings: loaded.settings, log, meter, token: this.#token },
      members: () => this.#crew.members,
      notReady: () => this.#notReady(),
      policy: () => this.#policy,
    });
    const pages = this.#pages;
    if (pages === null || admin === null) return null;
    if (admin.path !== null) {
      const place: Place = { role: 'admin', host: 'unix', port: 0 };
      return listening(place, startAdmin({ path: admin.path }, pages));
    }
    const place = this.#places.find(({ role }) => role === 'admin') as Place;
    return listening(place, startAdmin((await given.get(place)?.()) ?? place, pages));
  }

  #project(): ReturnType<typeof startProjection> {
    const { loaded, log } = this.#parts;
    const { audit, usage, limits } = loaded.settings;
    return startProjection({
      ...{ auditFile: audit.file, store: usage.store, keep: usage.keep, limits, shared: true },
      onProblem: (problem) => log.warn(problem, 'the usage store lags'),
    });
  }

  #heard(member: Member, message: FromWorker): void {
    const { worker } = member;
    if (message.type === 'ask') this.#shared.asked(worker, message.id, message.question);
    else if (message.type === 'applied') this.#shared.applied(worker, message.number, message.result);
    else if (message.type === 'right') this.#shared.right(message.address);
    else if (message.type === 'noted') this.#unison.said(worker, message.note);
    else if (message.type === 'reload') void this.#reloads.begin();
    else if (message.type === 'reloaded') this.#reloads.done(worker);
  }

  #died(member: Member, how: string): void {
    const { worker, state } = member;
    this.#shared.gone(worker);
    this.#reloads.done(worker);
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

  #obey(): void {
    const { signals, log, audit, held } = this.#parts;
    signals.obey({
      reload: () => {
        this.#notifier.reloading();
        void this.#reloads
          .begin()
          .then(() => this.#notifier.ready(`mode ${this.#first.mode} policy ${this.#first.policy}`));
      },
      upgrade: () => {
        const why = 'it runs with workers';
        log.error({ why }, 'the upgrade was refused');
        this.#note('upgrade', { result: 'refused', code: 'upgrade-unsupported', why });
      },
      reopen: () => {
        try {
          audit.reopen();
        } catch (error) {
          log.error({ err: error }, 'the audit log could not be reopened; the old file stays in use');
        }
        this.#crew.tellAll({ type: 'act', act: 'reopen' });
      },
      end: () => {
        if (!this.#draining) this.#notifier.stopping('draining');
        this.#draining = true;
        // Who comes now is refused as soon as no worker listens any more.
        held.close();
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

/** An upgrade cannot end in workers. @throws SallyportError */
export function refuseUpgrade(): never {
  throw new SallyportError('upgrade-unsupported', 'the policy file asks for workers, which an upgrade does not start', {
    hint: 'Start the proxy anew for another number of workers; docs/scaling.md says how without a refused client.',
  });
}
