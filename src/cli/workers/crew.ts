// The workers as the primary sees them: started, heard, told, and started anew where one dies. It knows processes and messages; what the
// messages mean is primary.ts's.
import { type ChildProcess, spawn } from 'node:child_process';
import { SallyportError } from '../../errors.ts';
import type { Mode } from '../../policy/compile.ts';
import { UPGRADE_FROM } from '../upgrade.ts';
import { type FromWorker, type Order, type ToWorker, WORKER_OF } from './order.ts';

/** A worker that dies is started anew after so long, then after twice as long each time, until it has lived for a while. */
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 30_000;
const LIVED_MS = 60_000;
/** After a second SIGTERM, or the time that it has to drain after an upgrade, a worker that hangs is not waited for. */
const END_MS = 10_000;

export interface Member {
  readonly worker: number;
  readonly state: 'starting' | 'ready' | 'waiting' | 'ended';
  readonly pid: number;
  /** Why it should get no new work. */
  readonly notReady: string | null;
  readonly policy: string;
  readonly mode: Mode;
  readonly engine: string;
}

type State = { -readonly [K in keyof Member]: Member[K] } & {
  child: ChildProcess | null;
  startedMs: number;
  restartMs: number;
  timer: NodeJS.Timeout | null;
  /** What it has said of its own end. */
  why: string | null;
};

interface Parts {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly descriptors: () => readonly number[];
  /** Whether workers stay in the process group of the primary, with which an upgrade that fails ends all of them. */
  readonly grouped: boolean;
  readonly order: (worker: number) => Order;
  readonly heard: (member: Member, message: FromWorker) => void;
  /** One that served has died. */
  readonly died: (member: Member, how: string) => void;
  /** One that was started anew serves. */
  readonly back: (member: Member) => void;
}

export class Crew {
  readonly #parts: Parts;
  readonly #members: State[];
  /** None is started anew any more. */
  #ending = false;
  /** None is started anew for a while. */
  #paused = false;
  #told = false;
  #begun: { resolve(): void; reject(error: Error): void } | null = null;
  #ended: () => void = () => {};
  /** Resolves when all have ended that were told to. */
  readonly over: Promise<void>;

  constructor(count: number, parts: Parts) {
    this.#parts = parts;
    this.#members = Array.from({ length: count }, (_, index) => idle(index + 1));
    this.over = new Promise((resolve) => {
      this.#ended = resolve;
    });
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  /** Starts all. @throws SallyportError `worker-failed` where one ends before it is ready; then none is left */
  async start(): Promise<void> {
    const ready = new Promise<void>((resolve, reject) => {
      this.#begun = { resolve, reject };
    });
    for (const member of this.#members) this.#start(member);
    try {
      await ready;
      this.#begun = null;
    } catch (error) {
      this.#begun = null;
      this.#ending = true;
      this.#kill();
      await this.over;
      throw error;
    }
  }

  tell(worker: number, message: ToWorker): void {
    const child = this.#members[worker - 1]?.child;
    // Where it is gone, its exit is what is acted on.
    if (child?.connected) child.send(message, () => {});
  }

  tellAll(message: ToWorker): void {
    for (const { worker } of this.#members) this.tell(worker, message);
  }

  /** The workers drain, and none is started anew; the second time they are to end at once. */
  end(): void {
    const again = this.#told;
    this.#told = true;
    this.#last();
    this.tellAll({ type: 'act', act: 'end' });
    if (again) setTimeout(() => this.#kill(), END_MS).unref();
    this.#settle();
  }

  /** Another process serves, and these drain. @param counted how many of their logs it goes on with */
  replaced(counted: number, drainMs: number): void {
    this.#last();
    for (const { worker } of this.#members) this.tell(worker, { type: 'replaced', counted: worker <= counted });
    setTimeout(() => this.#kill(), drainMs + END_MS).unref();
    this.#settle();
  }

  /** While another process may have their logs, none is started anew. */
  pause(): void {
    this.#paused = true;
    this.#hold();
  }

  resume(): void {
    this.#paused = false;
    if (this.#ending) return;
    for (const member of this.#members) if (member.state === 'waiting') this.#start(member);
  }

  #last(): void {
    this.#ending = true;
    this.#hold();
  }

  #hold(): void {
    for (const member of this.#members) if (member.timer) clearTimeout(member.timer);
  }

  #start(member: State): void {
    Object.assign(member, { state: 'starting', startedMs: performance.now(), why: null });
    try {
      this.#follow(member, this.#spawn());
    } catch (error) {
      // Without memory there is no process, and no event says so.
      member.why = (error as Error).message;
      this.#exited(member, 'was not started');
    }
  }

  #spawn(): ChildProcess {
    const { env, descriptors, grouped } = this.#parts;
    // What the service manager says is said to the primary.
    const { LISTEN_PID: _, LISTEN_FDS: __, LISTEN_FDNAMES: ___, NOTIFY_SOCKET: ____, ...own } = env;
    return spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      env: { ...own, [UPGRADE_FROM]: undefined, [WORKER_OF]: String(process.pid) },
      // A terminal's Ctrl-C is for the primary; who was started by an upgrade has none.
      detached: !grouped,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc', ...descriptors()],
    });
  }

  #follow(member: State, child: ChildProcess): void {
    Object.assign(member, { child, pid: child.pid ?? 0 });
    const exited = (how: string): void => {
      if (member.child === child) this.#exited(member, how);
    };
    child.on('message', (message: FromWorker) => this.#heard(member, message));
    child.on('error', (error) => {
      if (member.child === child) member.why = error.message;
      // A process that could not be started has no exit.
      if (child.pid === undefined) exited('was not started');
    });
    child.once('exit', (code, signal) => exited(`ended with ${code ?? signal}`));
    // Without descriptors to spare there is neither a process nor a channel.
    if (child.pid !== undefined) this.tell(member.worker, { type: 'order', order: this.#parts.order(member.worker) });
  }

  #heard(member: State, message: FromWorker): void {
    if (message.type === 'failed') member.why = message.why;
    if (message.type === 'health') member.notReady = message.notReady;
    if (message.type === 'in-force') Object.assign(member, { policy: message.policy, mode: message.mode });
    if (message.type === 'ready') {
      member.state = 'ready';
      member.engine = message.engine;
      member.notReady = null;
      if (this.#begun === null) this.#parts.back(member);
      else if (this.#members.every(({ state }) => state === 'ready')) this.#begun.resolve();
    }
    this.#parts.heard(member, message);
  }

  #exited(member: State, how: string): void {
    const { child, why } = member;
    child?.removeAllListeners('message');
    const isOver = this.#ending || this.#begun !== null;
    Object.assign(member, { child: null, state: isOver ? 'ended' : 'waiting', pid: 0 });
    const said = why === null ? how : `${how} (${why})`;
    this.#begun?.reject(
      new SallyportError('worker-failed', `worker ${member.worker} ${said} before all workers were ready`),
    );
    this.#parts.died(member, said);
    if (isOver) return this.#settle();
    if (performance.now() - member.startedMs >= LIVED_MS) member.restartMs = RESTART_MIN_MS;
    if (!this.#paused) member.timer = setTimeout(() => this.#start(member), member.restartMs);
    member.restartMs = Math.min(member.restartMs * 2, RESTART_MAX_MS);
  }

  #kill(): void {
    for (const { child } of this.#members) child?.kill('SIGKILL');
    this.#settle();
  }

  #settle(): void {
    if (!this.#ending) return;
    for (const member of this.#members) if (member.child === null) member.state = 'ended';
    if (this.#members.every(({ child }) => child === null)) this.#ended();
  }
}

function idle(worker: number): State {
  return {
    ...{ worker, state: 'starting', pid: 0, notReady: null, policy: '', mode: 'enforce', engine: '' },
    ...{ child: null, startedMs: 0, restartMs: RESTART_MIN_MS, timer: null, why: null },
  };
}
