// The old process's side of an upgrade (predecessor.ts is the new one's). It starts the program again as it is on disk now,
// with its own command line, and hands over the audit log, then the listening sockets. Only when the new process is ready does
// this one stop accepting: at no time is there a client that nobody accepts. Whatever fails before, this one goes on.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Logger } from 'pino';
import type { Fork } from '../audit/branch.ts';
import type { ProcessLog } from '../audit/process-log.ts';
import type { OperatorErrorCode } from '../errors.ts';
import type { Listening } from '../net/listen.ts';
import type { ProxyContext } from '../proxy/context.ts';
import type { LeaseFile } from './lease-file.ts';
import type { Place } from './places.ts';

/** Environment variable of the new process: the pid of the old one. */
export const UPGRADE_FROM = 'SALLYPORT_UPGRADE_FROM';

/** New to old: three questions in turn (`socket` once for each place that is taken), then how it ended. */
export type FromNew =
  | { readonly type: 'places' }
  | { readonly type: 'prepared' }
  | { readonly type: 'socket'; readonly index: number }
  | { readonly type: 'ready'; readonly line: string }
  | { readonly type: 'failed'; readonly why: string };

/** Old to new: the answers. That to `socket` carries the socket. */
export type FromOld =
  | { readonly type: 'places'; readonly places: readonly Place[] }
  | { readonly type: 'fork'; readonly fork: Fork }
  | { readonly type: 'socket' };

interface Parts {
  readonly ctx: ProxyContext;
  readonly audit: ProcessLog;
  readonly log: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Kept in a file that the new process reads. */
  readonly leases: Pick<LeaseFile, 'over' | 'back'> | null;
  readonly listening: () => ReadonlyMap<Place, Listening>;
  /** The new process accepts and records: this one is to stop. */
  readonly done: (ready: string) => void;
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
    const { ctx, env, log } = this.#parts;
    if (this.#running || ctx.closing) {
      return this.#say(
        'refused',
        'upgrade-running',
        ctx.closing ? 'the process is ending' : 'one is under way already',
      );
    }
    const why = unsupported(env);
    if (why) return this.#say('refused', 'upgrade-unsupported', why);
    const child = this.#spawn();
    this.#note({ result: 'begun', pid: child.pid ?? 0 });
    log.info({ pid: child.pid }, 'an upgrade begins');
    const over = this.#converse(child)
      .then((ready) => {
        this.#running = null;
        child.removeAllListeners();
        child.on('error', () => {});
        if (child.connected) child.disconnect();
        child.unref();
        log.info({ pid: child.pid, ready }, 'the new process is ready; this one drains');
        this.#note({ result: 'done', pid: child.pid ?? 0 });
        this.#parts.done(ready);
      })
      .catch(async (error: unknown) => {
        await end(child);
        // Where it died after the fork, nobody else writes the log now.
        this.#parts.audit.takeBack();
        this.#parts.leases?.back();
        this.#running = null;
        this.#say('failed', 'upgrade-failed', error instanceof Error ? error.message : String(error));
      });
    this.#running = { child, over };
  }

  #spawn(): ChildProcess {
    // The service manager's sockets and its word for one process are not for the next; that one gets its sockets from here.
    const { LISTEN_PID: _, LISTEN_FDS: __, LISTEN_FDNAMES: ___, ...env } = this.#parts.env;
    return spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      env: { ...env, [UPGRADE_FROM]: String(process.pid) },
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
  }

  /** Answers the new process until it is ready. @returns its ready line */
  #converse(child: ChildProcess): Promise<string> {
    const { audit, ctx, leases } = this.#parts;
    const limit = ctx.limits.upgrade_timeout_ms;
    const offered = [...this.#parts.listening()];
    let timer: NodeJS.Timeout | undefined;
    return new Promise<string>((resolve, reject) => {
      timer = setTimeout(() => {
        ctx.meter.hit('upgrade_timeout_ms');
        reject(new Error(`it was not ready within ${limit} ms`));
      }, limit);
      const answer = (message: FromOld, socket?: ReturnType<Listening['lend']>): void =>
        void child.send(message, socket?.server, {}, (error) => {
          socket?.sent();
          if (error) reject(error);
        });
      const gone = (): void => {
        // What it has said last is read before the channel closes.
        if (child.connected || (child.exitCode === null && child.signalCode === null)) return;
        reject(new Error(`it ended with ${child.exitCode ?? child.signalCode} before it was ready`));
      };
      child.once('error', reject);
      child.once('exit', gone);
      child.once('disconnect', gone);
      child.on('message', (message: FromNew) => {
        try {
          if (message.type === 'places') answer({ type: 'places', places: offered.map(([place]) => place) });
          else if (message.type === 'prepared') {
            leases?.over();
            answer({ type: 'fork', fork: audit.handOver() });
          } else if (message.type === 'socket') answer({ type: 'socket' }, offered[message.index]?.[1].lend());
          else if (message.type === 'ready') resolve(message.line);
          else reject(new Error(message.why));
        } catch (error) {
          reject(error as Error);
        }
      });
    }).finally(() => clearTimeout(timer));
  }

  #say(result: 'refused' | 'failed', code: OperatorErrorCode, why: string): void {
    this.#parts.log.error({ code, why }, `the upgrade was ${result === 'failed' ? 'not done' : 'refused'}`);
    this.#note({ result, code, why });
  }

  #note(detail: Record<string, string | number>): void {
    const { audit, ctx, log } = this.#parts;
    try {
      audit.note({ event: 'upgrade', policy: ctx.policy.digest, detail });
    } catch (error) {
      log.error({ err: error }, 'an upgrade could not be recorded');
    }
  }
}

/** Why the end of this process would be the end of the service; null where an upgrade is possible. */
function unsupported(env: Readonly<Record<string, string | undefined>>): string | null {
  if (process.pid === 1) return 'it is the first process of a container, which ends with it';
  // systemd names its own child so. Without notification it cannot be told of another main process, and ends that with this one.
  if (env['SYSTEMD_EXEC_PID'] === String(process.pid) && !env['NOTIFY_SOCKET'])
    return 'it runs under systemd without Type=notify';
  return null;
}

/** Whatever state it is in, it must not serve beside the old process. */
async function end(child: ChildProcess): Promise<void> {
  child.removeAllListeners();
  child.on('error', () => {});
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  await new Promise((resolve) => {
    child.once('exit', resolve);
    child.kill('SIGKILL');
  });
}
