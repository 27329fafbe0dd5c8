// Connects to the first of some checked ADDRESSES that answers (happy eyeballs, RFC 8305 §5). It never sees a name and never
// resolves: what the policy has checked is what is dialled (DNS rebinding). Every socket has an error listener from the
// moment it exists; of all sockets made, exactly one is handed over or none.
import net from 'node:net';

const PORT_MAX = 65_535;
// A hostile answer may hold many addresses; the audit line needs the first few.
const FAILURES_TOLD_MAX = 4;

export type DialFailureCode = 'connect-refused' | 'connect-failed' | 'connect-timeout';

export type Dialled =
  | { readonly ok: true; readonly socket: net.Socket; readonly address: string }
  | { readonly ok: false; readonly code: DialFailureCode; readonly detail: string };

export interface DialOptions {
  /** Checked addresses in the order to try; at least one. Anything but an IP address throws. */
  readonly addresses: readonly string[];
  /** 1 to 65535. */
  readonly port: number;
  /** Milliseconds for all addresses together. */
  readonly timeoutMs: number;
  /** Milliseconds before the next address is tried beside those that have not answered yet; a failed one is followed at once. */
  readonly attemptDelayMs: number;
  /**
   * Reads of the socket go into these buffers instead of streams. Called once for each attempt, since the buffer of a
   * pending attempt must not be lent twice; `callback` never runs for an attempt that loses.
   */
  readonly onread?: (() => net.OnReadOpts) | undefined;
  /** Default `net.connect`; tests prove with it what is dialled and what is not. */
  readonly connect?: ((options: net.NetConnectOpts) => net.Socket) | undefined;
}

/** A dial under way. */
export interface Dial {
  /** Destroys every attempt; `done` is not called any more. Does nothing once `done` has been called. */
  cancel(): void;
}

/**
 * Dials. `done` is called exactly once (never after cancel(), never before this function has returned); on success it runs
 * inside the socket's own 'connect' event, before anything is read, so a caller that attaches its listeners there, or
 * pauses the socket, misses no event and no byte. The socket is `allowHalfOpen`, without Nagle's delay, and
 * carries one listener: an empty one for 'error', so that no reset can end the process.
 * @throws TypeError for an empty list, a text that is not an IP address, or a bad port: the caller's mistake, nothing is dialled
 */
export function dial(options: DialOptions, done: (dialled: Dialled) => void): Dial {
  const { addresses, port } = options;
  if (addresses.length === 0) throw new TypeError('dial: no address');
  for (const address of addresses) {
    if (net.isIP(address) === 0) throw new TypeError(`dial: ${JSON.stringify(address)} is not an IP address`);
  }
  if (!Number.isInteger(port) || port < 1 || port > PORT_MAX) throw new TypeError(`dial: ${port} is not a port`);
  return new Race(options, done);
}

interface Attempt {
  readonly address: string;
  readonly socket: net.Socket;
  readonly onConnect: () => void;
  readonly onError: (error: NodeJS.ErrnoException) => void;
}

interface Failure {
  readonly code: DialFailureCode;
  readonly text: string;
}

class Race implements Dial {
  readonly #options: DialOptions;
  readonly #done: (dialled: Dialled) => void;
  #settled = false;
  #pending: Attempt[] = [];
  readonly #failures: Failure[] = [];
  #next = 0;
  readonly #deadline: NodeJS.Timeout;
  #delay: NodeJS.Timeout | null = null;

  constructor(options: DialOptions, done: (dialled: Dialled) => void) {
    this.#options = options;
    this.#done = done;
    this.#deadline = setTimeout(timeOut, options.timeoutMs, this);
    this.startNext();
  }

  cancel(): void {
    if (!this.#settled) this.#settle(null);
  }

  /** The overall time is over. */
  timeOut(): void {
    const text = `no answer within ${this.#options.timeoutMs} ms`;
    for (const { address } of this.#pending)
      this.#failures.push({ code: 'connect-timeout', text: `${address} ${text}` });
    this.#finishFailed();
  }

  /** Begins the next attempt and, where more addresses are left, arms the timer for the one after it. */
  startNext(): void {
    const { addresses, attemptDelayMs } = this.#options;
    const address = addresses[this.#next];
    if (address === undefined) return;
    this.#next += 1;
    this.#attempt(address);
    if (this.#delay !== null) clearTimeout(this.#delay);
    this.#delay = this.#next < addresses.length ? setTimeout(startNext, attemptDelayMs, this) : null;
  }

  #attempt(address: string): void {
    const { port, onread, connect = net.connect } = this.#options;
    let socket: net.Socket;
    try {
      socket = connect({
        host: address,
        port,
        allowHalfOpen: true,
        noDelay: true,
        autoSelectFamily: false,
        ...(onread && { onread: onread() }),
      });
    } catch (error) {
      // No descriptor, no buffer: told later like every failure, since the caller does not hold the Dial yet.
      process.nextTick(() => this.#failed(null, address, error as NodeJS.ErrnoException));
      return;
    }
    const attempt: Attempt = {
      address,
      socket,
      onConnect: () => this.#connected(attempt),
      onError: (error) => this.#failed(attempt, address, error),
    };
    socket.on('error', attempt.onError);
    socket.on('connect', attempt.onConnect);
    this.#pending.push(attempt);
  }

  #connected(winner: Attempt): void {
    this.#settle(winner);
    this.#done({ ok: true, socket: winner.socket, address: winner.address });
  }

  #failed(attempt: Attempt | null, address: string, error: NodeJS.ErrnoException): void {
    if (this.#settled) return;
    if (attempt !== null) {
      letGo(attempt);
      attempt.socket.destroy();
      this.#pending = this.#pending.filter((other) => other !== attempt);
    }
    this.#failures.push({ code: failureCode(error.code), text: `${address} ${error.code ?? error.name}` });
    if (this.#next < this.#options.addresses.length) this.startNext();
    else if (this.#failures.length === this.#options.addresses.length) this.#finishFailed();
  }

  #finishFailed(): void {
    const untried = this.#options.addresses.length - this.#next;
    this.#settle(null);
    this.#done({ ok: false, code: mostTelling(this.#failures), detail: describe(this.#failures, untried) });
  }

  /** Stops the clocks, lets go of every socket, destroys all but the winner. */
  #settle(winner: Attempt | null): void {
    this.#settled = true;
    clearTimeout(this.#deadline);
    if (this.#delay !== null) clearTimeout(this.#delay);
    const attempts = this.#pending;
    this.#pending = [];
    for (const attempt of attempts) {
      letGo(attempt);
      if (attempt !== winner) attempt.socket.destroy();
    }
  }
}

function timeOut(race: Race): void {
  race.timeOut();
}

function startNext(race: Race): void {
  race.startNext();
}

function letGo({ socket, onConnect, onError }: Attempt): void {
  socket.on('error', ignore);
  socket.removeListener('error', onError);
  socket.removeListener('connect', onConnect);
}

function ignore(): void {
  // Whoever holds the socket acts on 'close', which follows every error.
}

function failureCode(errno: string | undefined): DialFailureCode {
  if (errno === 'ECONNREFUSED') return 'connect-refused';
  if (errno === 'ETIMEDOUT') return 'connect-timeout';
  return 'connect-failed';
}

// A host that says no is alive; one that is silent may be; an unroutable address says most often only that this proxy has
// no route for that family (no IPv6 here), and would hide the real cause.
const TELLING: readonly DialFailureCode[] = ['connect-refused', 'connect-timeout'];

function mostTelling(failures: readonly Failure[]): DialFailureCode {
  return TELLING.find((code) => failures.some((failure) => failure.code === code)) ?? 'connect-failed';
}

function describe(failures: readonly Failure[], untried: number): string {
  const told = failures.slice(0, FAILURES_TOLD_MAX).map((failure) => failure.text);
  if (failures.length > told.length) told.push(`${failures.length - told.length} more failed`);
  if (untried > 0) told.push(`${untried} not tried`);
  return told.join(', ');
}
