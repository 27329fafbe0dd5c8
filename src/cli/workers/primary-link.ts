// A worker's side of the channel to its primary: it hears what to be and what to do, asks what all workers must know together, and tells
// how it stands. A primary that is gone takes its workers with it: nobody would reload, watch or stop them.
import type { Fork } from '../../audit/branch.ts';
import { SallyportError } from '../../errors.ts';
import type { Lease, LeaseBegun, LeaseChange, LeaseDesk } from '../../identity/leases.ts';
import type { Proofs, SharedProofs } from '../../identity/proofs.ts';
import type { Decided, Ended, Note } from '../../policy/record.ts';
import type { Place, SocketSource, Sockets } from '../places.ts';
import type { SignalActs, SignalSource } from '../signals.ts';
import {
  type Act,
  FIRST_SOCKET,
  type FromWorker,
  type Order,
  type Question,
  type ToWorker,
  WORKER_OF,
} from './order.ts';

const SIGNALS = ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGTERM', 'SIGINT'] as const;
/** How often it is looked whether the worker is fit to serve. */
const HEALTH_MS = 1_000;
/** Events of the audit log that an operator's command waits for in the primary's. */
const TOLD: ReadonlySet<Note['event']> = new Set(['policy', 'mode', 'grant']);

/** What a worker does in an upgrade of the whole proxy. */
export interface UpgradeActs {
  /** As ProcessLog has it. */
  handOver(): Fork;
  takeBack(): void;
  /** Other workers accept: this one is to drain. `counted`: one of them goes on with its log. */
  replaced(counted: boolean): void;
}

type OfUpgrade = Extract<ToWorker, { type: 'hand-over' | 'take-back' | 'replaced' }>;

export class PrimaryLink implements SignalSource, LeaseDesk {
  readonly order: Promise<Order>;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #asked = 0;
  #acts: SignalActs | null = null;
  #upgradeActs: UpgradeActs | null = null;
  readonly #early: ((acts: SignalActs) => void)[] = [];
  /** While the log is given free and it is not known who goes on with it. */
  #undecided: { readonly over: Promise<void>; settle(): void } | null = null;
  #proofs: Pick<Proofs, 'applyLease'> | null = null;
  /** Those that come before there is anybody to keep them; nothing is served yet. */
  readonly #changes: LeaseChange[] = [];
  #health: NodeJS.Timeout | null = null;
  #said: string | null = '';

  /**
   * The primary that has started this process as a worker; null in any other start.
   * @throws SallyportError `worker-failed` where that primary is gone: a worker without one must not become a proxy of its own
   */
  static of(env: Readonly<Record<string, string | undefined>>): PrimaryLink | null {
    if (env[WORKER_OF] === undefined) return null;
    if (env[WORKER_OF] !== String(process.ppid) || !process.connected)
      throw lost(`A worker gets ${WORKER_OF} from its primary. Unset it where you start the proxy yourself.`);
    return new PrimaryLink();
  }

  private constructor() {
    // A service manager and a terminal signal every process; what is to be done is for the primary to say, once.
    for (const signal of SIGNALS) process.on(signal, ignore);
    let ordered: (order: Order) => void = ignore;
    this.order = new Promise((resolve, reject) => {
      ordered = resolve;
      process.once('disconnect', () => reject(lost()));
    });
    this.order.catch(ignore);
    process.on('message', (message: ToWorker) => {
      if (message.type === 'order') ordered(message.order);
      else if (message.type === 'act') this.#act(message.act);
      else if (message.type === 'lease') this.#change(message);
      else if (message.type !== 'answer') this.#obeyed(() => this.#upgrade(message));
      else this.#answered(message.id, message.value);
    });
    process.once('disconnect', () => this.#lost());
  }

  /** The sockets of its places. @throws SallyportError where the policy has no certificate any more for one that speaks TLS */
  sockets(order: Order, hasTls: boolean): Sockets {
    if (!hasTls && order.places.some(({ role }) => role === 'tls'))
      throw new SallyportError('tls-invalid', 'the proxy listens over TLS, and the policy file has no `tls` any more', {
        hint: 'Put `tls` back, or start the proxy anew: where it listens changes at a start.',
      });
    const source = (index: number): SocketSource => {
      return () => ({ fd: FIRST_SOCKET + index });
    };
    return new Map<Place, SocketSource>(order.places.map((place, index) => [place, source(index)]));
  }

  /** The part of the credentials that all workers know together. */
  shared(order: Order): SharedProofs {
    return {
      key: order.key,
      bind: (digest, address, untilMs) => this.#ask({ about: 'bind', digest, address, untilMs }) as Promise<string>,
      attempt: (address) => this.#ask({ about: 'attempt', address }) as Promise<boolean>,
      giveBack: (address) => this.#tell({ type: 'right', address }),
    };
  }

  /** From here on changes of the leases are applied; those that came since the order at once. */
  keep(order: Order, proofs: Pick<Proofs, 'restore' | 'applyLease'>): void {
    proofs.restore(order.leases);
    this.#proofs = proofs;
    for (const change of this.#changes.splice(0)) proofs.applyLease(change);
  }

  /** In all workers, before it settles. Rejects where the primary is gone. */
  begin(lease: Lease): Promise<LeaseBegun> {
    return this.#ask({ about: 'lease', change: { act: 'begin', lease } }) as Promise<LeaseBegun>;
  }

  end(job: string, address: string): Promise<boolean> {
    return this.#ask({ about: 'lease', change: { act: 'end', job, address } }) as Promise<boolean>;
  }

  inForce(what: Pick<Extract<FromWorker, { type: 'in-force' }>, 'policy' | 'mode'>): void {
    this.#tell({ type: 'in-force', policy: what.policy, mode: what.mode });
  }

  /** A newer policy is on the disk, for all workers. */
  reloadAll(): Promise<void> {
    this.#tell({ type: 'reload' });
    return Promise.resolve();
  }

  reloaded(policy: string): void {
    this.#tell({ type: 'reloaded', policy });
  }

  /** It serves; from now on it says when it is not fit to. */
  ready(engine: string, notReady: () => string | null): void {
    this.#tell({ type: 'ready', engine });
    this.#health = setInterval(() => {
      const now = notReady();
      if (now !== this.#said) this.#tell({ type: 'health', notReady: now });
      this.#said = now;
    }, HEALTH_MS).unref();
    this.#said = null;
  }

  failed(error: unknown): void {
    const { code = 'internal', message } = error as SallyportError;
    this.#tell({ type: 'failed', why: `${code}: ${message}` });
    this.close();
  }

  /** A tap of the recorder. */
  decided(_: Decided): void {}
  ended(_: Ended): void {}
  note(note: Note): void {
    if (TOLD.has(note.event)) this.#tell({ type: 'noted', note });
  }

  /** Who upgrades asks the primary. */
  meanwhile(): void {}

  obey(acts: SignalActs): void {
    this.#acts = acts;
    for (const act of this.#early.splice(0)) act(acts);
  }

  /** Said before what is to be obeyed. */
  inUpgrades(acts: UpgradeActs): void {
    this.#upgradeActs = acts;
  }

  /** The log is not left while an upgrade may still give it back. @returns at once where no upgrade is under way */
  async settled(): Promise<void> {
    await this.#undecided?.over;
  }

  /** The process ends: nothing more is obeyed, and the channel does not keep it alive. */
  close(): void {
    this.#acts = null;
    if (this.#health) clearInterval(this.#health);
    process.removeAllListeners('disconnect');
    if (process.connected) process.disconnect();
  }

  #act(act: Act): void {
    this.#obeyed((acts) => acts[act]());
  }

  #obeyed(act: (acts: SignalActs) => void): void {
    if (this.#acts) act(this.#acts);
    else this.#early.push(act);
  }

  #upgrade(message: OfUpgrade): void {
    if (message.type === 'hand-over') return this.#handOver(message.attempt);
    if (message.type === 'take-back') this.#upgradeActs?.takeBack();
    else this.#upgradeActs?.replaced(message.counted);
    this.#decide();
  }

  #handOver(attempt: number): void {
    let settle = ignore;
    const over = new Promise<void>((resolve) => {
      settle = resolve;
    });
    this.#undecided ??= { over, settle };
    try {
      this.#tell({ type: 'handed', attempt, fork: this.#upgradeActs?.handOver() ?? null, why: '' });
    } catch (error) {
      this.#tell({ type: 'handed', attempt, fork: null, why: (error as Error).message });
    }
  }

  #decide(): void {
    this.#undecided?.settle();
    this.#undecided = null;
  }

  #change({ number, change }: { readonly number: number; readonly change: LeaseChange }): void {
    if (this.#proofs === null) this.#changes.push(change);
    this.#tell({ type: 'applied', number, result: this.#proofs?.applyLease(change) ?? null });
  }

  #answered(id: number, value: unknown): void {
    this.#waiting.get(id)?.resolve(value);
    this.#waiting.delete(id);
  }

  #ask(question: Question): Promise<unknown> {
    if (!process.connected) return Promise.reject(lost());
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#tell({ type: 'ask', id, question });
    });
  }

  #lost(): void {
    for (const { reject } of this.#waiting.values()) reject(lost());
    this.#waiting.clear();
    this.#decide();
    // The second time is what a second SIGTERM is: it waits for nobody.
    this.#act('end');
    this.#act('end');
  }

  #tell(message: FromWorker): void {
    // Without a receiver there is nobody to tell: `disconnect` is what is acted on.
    if (process.connected) process.send?.(message, undefined, undefined, ignore);
  }
}

function ignore(): void {}

function lost(hint?: string): SallyportError {
  return new SallyportError('worker-failed', 'the primary process is gone', hint === undefined ? {} : { hint });
}
