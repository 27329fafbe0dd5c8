// The old process's side of an upgrade (predecessor.ts is the new one's). It starts the program again as it is on disk now,
// with its own command line, and hands over the audit log, then the listening sockets. Only when the new process is ready does
// this one stop accepting: at no time is there a client that nobody accepts. Whatever fails before, this one goes on. Either of
// the two may be the primary of workers: what the one gives and the other takes is the same.
import { type ChildProcess, type SendHandle, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Fork } from '../audit/branch.ts';
import type { OperatorErrorCode } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Listening } from '../net/listen.ts';
import type { Note } from '../policy/record.ts';
import type { Place } from './places.ts';

/** Environment variable of the new process: the pid of the old one. */
export const UPGRADE_FROM = 'SALLYPORT_UPGRADE_FROM';

/** Processes that die with the new one: so long they are waited for. Their locks count for nothing then, so it is no danger to go on. */
const ORPHANS_MS = 2_000;
const ORPHANS_LOOK_MS = 10;

/** The logs of the old process, for the new one to go on with. */
export interface HandedOver {
  readonly fork: Fork;
  /** Those of its workers, which count from 1; one that is missing had none to give. Empty where it serves alone. */
  readonly workers: readonly (readonly [worker: number, fork: Fork])[];
  /** Which of the two names the Unix sockets of its workers have (workers/primary-pages.ts); null where it serves alone. */
  readonly turn: 0 | 1 | null;
}

/** New to old: three questions (`socket` once for each place that is taken), then how it ended. */
export type FromNew =
  | { readonly type: 'places' }
  | { readonly type: 'prepared' }
  | { readonly type: 'socket'; readonly index: number }
  /** `workers`: how many logs of workers it writes from now on. */
  | { readonly type: 'ready'; readonly line: string; readonly workers: number }
  | { readonly type: 'failed'; readonly why: string };

/** Old to new: the answers. That to `socket` carries the socket. */
export type FromOld =
  | { readonly type: 'places'; readonly places: readonly Place[] }
  | ({ readonly type: 'fork' } & HandedOver)
  | { readonly type: 'socket' };

interface Parts {
  readonly log: Logger;
  readonly limits: Pick<Limits, 'upgrade_timeout_ms'>;
  readonly meter: Pick<Meter, 'hit'>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The process ends: there is nothing to be upgraded any more. */
  readonly closing: () => boolean;
  /** Must not throw. */
  readonly note: (detail: Note['detail']) => void;
  readonly listening: () => ReadonlyMap<Place, Listening>;
  /** Gives the audit log free, and all that the new process reads of this one. */
  readonly handOver: () => HandedOver | Promise<HandedOver>;
  /** The upgrade failed and nothing of its process is left: what was given is this one's again. Must not throw. */
  readonly takeBack: () => void;
  /** The new process accepts and records: this one is to stop. */
  readonly done: (workers: number) => void;
}

interface Ready {
  readonly line: string;
  readonly workers: number;
}

export class Upgrade {
  readonly #parts: Parts;
  #running: { readonly child: ChildProcess; readonly over: Promise<void> } | null = null;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * Whoever stops the old process stops the service, and means the new one too: it is sent SIGTERM, which ends it before it serves,
   * or has it drain where it does already. @returns when it is known which; at once where no upgrade is under way
   */
  async abandon(): Promise<void> {
    this.#running?.child.kill('SIGTERM');
    await this.#running?.over;
  }

  /** Never throws; how it went is in the audit log. */
  begin(): void {
    const { env, log, note } = this.#parts;
    const closing = this.#parts.closing();
    if (this.#running || closing) {
      return say(this.#parts, 'refused', 'upgrade-running', closing ? 'the process is ending' : UNDER_WAY);
    }
    const why = unsupported(env);
    if (why) return say(this.#parts, 'refused', 'upgrade-unsupported', why);
    const child = this.#spawn();
    note({ result: 'begun', pid: child.pid ?? 0 });
    log.info({ pid: child.pid }, 'an upgrade begins');
    const over = this.#converse(child)
      .then(({ line, workers }) => {
        this.#running = null;
        child.removeAllListeners();
        child.on('error', () => {});
        if (child.connected) child.disconnect();
        child.unref();
        log.info({ pid: child.pid, ready: line }, 'the new process is ready; this one drains');
        note({ result: 'done', pid: child.pid ?? 0 });
        this.#parts.done(workers);
      })
      .catch(async (error: unknown) => {
        await end(child);
        // Where it died after the fork, nobody else writes the log now.
        this.#parts.takeBack();
        this.#running = null;
        say(this.#parts, 'failed', 'upgrade-failed', error instanceof Error ? error.message : String(error));
      });
    this.#running = { child, over };
  }

  #spawn(): ChildProcess {
    // The service manager's sockets and its word for one process are not for the next; that one gets its sockets from here.
    const { LISTEN_PID: _, LISTEN_FDS: __, LISTEN_FDNAMES: ___, ...env } = this.#parts.env;
    return spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      env: { ...env, [UPGRADE_FROM]: String(process.pid) },
      // A process group of its own, in which its workers stay.
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
  }

  /** Answers the new process until it is ready. */
  #converse(child: ChildProcess): Promise<Ready> {
    const { limits, meter, listening } = this.#parts;
    const limit = limits.upgrade_timeout_ms;
    const offered = [...listening()];
    let timer: NodeJS.Timeout | undefined;
    return new Promise<Ready>((resolve, reject) => {
      timer = setTimeout(() => {
        meter.hit('upgrade_timeout_ms');
        reject(new Error(`it was not ready within ${limit} ms`));
      }, limit);
      const answer = (message: FromOld, socket?: ReturnType<Listening['lend']>): void =>
        void child.send(message, socket?.handle as SendHandle | undefined, {}, (error) => {
          socket?.sent();
          if (error) reject(error);
        });
      const gone = (): void => {
        // What it has said last is read before the channel closes.
        if (child.connected || (child.exitCode === null && child.signalCode === null)) return;
        reject(new Error(`it ended with ${child.exitCode ?? child.signalCode} before it was ready`));
      };
      const answerTo = async (message: FromNew): Promise<void> => {
        if (message.type === 'places') answer({ type: 'places', places: offered.map(([place]) => place) });
        else if (message.type === 'prepared') answer({ type: 'fork', ...(await this.#parts.handOver()) });
        else if (message.type === 'socket') answer({ type: 'socket' }, offered[message.index]?.[1].lend());
        else if (message.type === 'ready') resolve(message);
        else reject(new Error(message.why));
      };
      child.once('error', reject);
      child.once('exit', gone);
      child.once('disconnect', gone);
      child.on('message', (message: FromNew) => void answerTo(message).catch(reject));
    }).finally(() => clearTimeout(timer));
  }
}

const UNDER_WAY = 'one is under way already';

/** The answer of a process that an upgrade has started, as long as it is not ready: who asks finds it by the lock of the log. */
export function refuseUpgrade(parts: Pick<Parts, 'log' | 'note'>): void {
  say(parts, 'refused', 'upgrade-running', UNDER_WAY);
}

function say(
  { log, note }: Pick<Parts, 'log' | 'note'>,
  result: 'refused' | 'failed',
  code: OperatorErrorCode,
  why: string,
): void {
  log.error({ code, why }, `the upgrade was ${result === 'failed' ? 'not done' : 'refused'}`);
  note({ result, code, why });
}

/** Why the end of this process would be the end of the service; null where an upgrade is possible. */
function unsupported(env: Readonly<Record<string, string | undefined>>): string | null {
  if (process.pid === 1) return 'it is the first process of a container, which ends with it';
  // systemd names its own child so. Without notification it cannot be told of another main process, and ends that with this one.
  if (env['SYSTEMD_EXEC_PID'] === String(process.pid) && !env['NOTIFY_SOCKET'])
    return 'it runs under systemd without Type=notify';
  return null;
}

/** Whatever state it is in, neither it nor a worker of its may serve beside the old process. */
async function end(child: ChildProcess): Promise<void> {
  child.removeAllListeners();
  child.on('error', () => {});
  if (child.pid === undefined) return;
  const isThere = killGroup(child.pid);
  if (child.exitCode === null && child.signalCode === null) await new Promise((resolve) => child.once('exit', resolve));
  // Its workers are nobody's children here, so their ends can only be looked at. Where nobody reaps them they stay to be seen.
  for (let waited = 0; isThere && waited < ORPHANS_MS && killGroup(child.pid); waited += ORPHANS_LOOK_MS)
    await delay(ORPHANS_LOOK_MS);
}

/** @returns false where nobody is in it any more */
function killGroup(pid: number): boolean {
  try {
    process.kill(-pid, 'SIGKILL');
    return true;
  } catch {
    return false;
  }
}
