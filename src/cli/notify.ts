// Tells a service manager how the proxy stands: systemd's notification protocol (sd_notify(3)), through the systemd-notify
// program, since Node has no datagrams on Unix sockets. Off unless NOTIFY_SOCKET is set. Whatever becomes of a message, the
// proxy neither waits for it nor fails by it: it is said once in the operational log.
import { spawn } from 'node:child_process';
import type { Logger } from 'pino';

/** A service manager that does not take its messages loses the oldest ones. */
const WAITING_MAX = 16;
const SEND_TIMEOUT_MS = 5_000;

export class Notifier {
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #log: Logger;
  readonly #waiting: (readonly string[])[] = [];
  #sending = false;
  #warned = false;

  constructor(env: Readonly<Record<string, string | undefined>>, log: Logger) {
    this.#env = env;
    this.#log = log;
  }

  /** The proxy serves. MAINPID makes the process that an upgrade has started the one that is supervised. */
  ready(status: string): void {
    this.#tell('READY=1', `MAINPID=${process.pid}`, `STATUS=${status}`);
  }

  /** Followed by ready(), whatever becomes of the reload. The time lets systemd tell this reload from one before. */
  reloading(): void {
    this.#tell('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1_000n}`, 'STATUS=reloading the policy');
  }

  /** Goes out at once, and is the last word: the process may end before what waits has had its turn. */
  stopping(status: string): void {
    this.#waiting.length = 0;
    if (this.#env['NOTIFY_SOCKET']) this.#send(['STOPPING=1', `STATUS=${status}`]);
  }

  #tell(...assignments: string[]): void {
    if (!this.#env['NOTIFY_SOCKET']) return;
    this.#waiting.push(assignments);
    if (this.#waiting.length > WAITING_MAX) this.#waiting.shift();
    this.#next();
  }

  /** One at a time: their order is their meaning. */
  #next(): void {
    if (this.#sending) return;
    const assignments = this.#waiting.shift();
    if (!assignments) return;
    this.#sending = true;
    this.#send(assignments);
  }

  #send(assignments: readonly string[]): void {
    const { NOTIFY_SOCKET, PATH } = this.#env;
    let problem: string | null = null;
    const child = spawn('systemd-notify', assignments, {
      env: { NOTIFY_SOCKET, PATH },
      stdio: 'ignore',
      timeout: SEND_TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    child.unref();
    child.once('error', (error) => {
      problem = error.message;
    });
    child.once('close', (code, signal) => {
      if (code !== 0) this.#warn(problem ?? `it ended with ${code ?? signal}`);
      this.#sending = false;
      this.#next();
    });
  }

  #warn(problem: string): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#log.warn({ problem }, 'systemd-notify does not work: the service manager does not hear of this process');
  }
}
