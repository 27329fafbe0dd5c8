// Connects to the first of some checked ADDRESSES that answers (happy eyeballs, RFC 8305 §5). It never sees a name and never
// resolves: what the policy has checked is what is dialled (DNS rebinding). Every socket has an error listener from the
// moment it exists; of all sockets made, exactly one is handed over or none.
import net from 'node:net';
import './ends.ts';

const PORT_MAX = 65_535;
// A hostile answer may hold many addresses; the audit line needs the first few.
const FAILURES_TOLD_MAX = 4;

export type DialFailureCode = 'connect-refused' | 'connect-failed' | 'connect-timeout';

export type Dialled<S = net.Socket> =
  | { readonly ok: true; readonly socket: S; readonly address: string }
  | { readonly ok: false; readonly code: DialFailureCode; readonly detail: string };

export interface RaceOptions {
  /** Checked addresses in the order to try; at least one. Anything but an IP address throws. */
  readonly addresses: readonly string[];
  /** 1 to 65535. */
  readonly port: number;
  /** Milliseconds for all addresses together. */
  readonly timeoutMs: number;
  /** Milliseconds before the next address is tried beside those that have not answered yet; a failed one is followed at once. */
  readonly attemptDelayMs: number;
}

export interface DialOptions extends RaceOptions {
  /**
   * Reads of the socket go into these buffers instead of streams. Called once for each attempt, since the buffer of a
   * pending attempt must not be lent twice; `callback` never runs for an attempt that loses.
   */
  readonly onread?: (() => net.OnReadOpts) | undefined;
  /** Default `net.connect`; tests prove with it what is dialled and what is not. */
  readonly connect?: ((options: net.NetConnectOpts) => net.Socket) | undefined;
}

/** One attempt of a race. */
export interface Attempt {
  /** Ends an attempt that has told nothing yet; it tells nothing any more. */
  cancel(): void;
}

/** How a race begins an attempt. It tells one of the two, once, and never before it has returned; a throw is a failed attempt. */
export type Begin<S> = (
  address: string,
  port: number,
  tell: { connected(socket: S): void; failed(errno: string): void },
) => Attempt;

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
  return race(options, beginSocket(options), done);
}

/** The same over other sockets than Node's: `begin` makes them, the order, the clocks and the words are these here. */
export function race<S>(options: RaceOptions, begin: Begin<S>, done: (dialled: Dialled<S>) => void): Dial {
  const { addresses, port } = options;
  if (addresses.length === 0) throw new TypeError('dial: no address');
  for (const address of addresses) {
    if (net.isIP(address) === 0) throw new TypeError(`dial: ${JSON.stringify(address)} is not an IP address`);
  }
  if (!Number.isInteger(port) || port < 1 || port > PORT_MAX) throw new TypeError(`dial: ${port} is not a port`);
  return new Race(options, begin, done);
}

function beginSocket({ onread, connect = net.connect }: DialOptions): Begin<net.Socket> {
  return (address, port, tell) => {
    const socket = connect({
      host: address,
      port,
      allowHalfOpen: true,
      noDelay: true,
      autoSelectFamily: false,
      ...(onread && { onread: onread() }),
    });
    const letGo = (): void => {
      socket.on('error', ignore);
      socket.removeListener('error', onError);
      socket.removeListener('connect', onConnect);
    };
    const onConnect = (): void => {
      letGo();
      tell.connected(socket);
    };
    const onError = (error: NodeJS.ErrnoException): void => {
      letGo();
      socket.destroy();
      tell.failed(error.code ?? error.name);
    };
    socket.on('error', onError);
    socket.on('connect', onConnect);
    return {
      cancel: () => {
        letGo();
        socket.destroy();
      },
    };
  };
}

interface Failure {
  readonly code: DialFailureCode;
  readonly text: string;
}

interface Pending {
  readonly address: string;
  readonly attempt: Attempt;
}

class Race<S> implements Dial {
  readonly #options: RaceOptions;
  readonly #begin: Begin<S>;
  readonly #done: (dialled: Dialled<S>) => void;
  #settled = false;
  #pending: Pending[] = [];
  readonly #failures: Failure[] = [];
  #next = 0;
  readonly #deadline: NodeJS.Timeout;
  #delay: NodeJS.Timeout | null = null;

  constructor(options: RaceOptions, begin: Begin<S>, done: (dialled: Dialled<S>) => void) {
    this.#options = options;
    this.#begin = begin;
    this.#done = done;
    this.#deadline = setTimeout(timeOut<S>, options.timeoutMs, this);
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
    this.#delay = this.#next < addresses.length ? setTimeout(startNext<S>, attemptDelayMs, this) : null;
  }

  #attempt(address: string): void {
    let pending: Pending | null = null;
    try {
      const attempt = this.#begin(address, this.#options.port, {
        connected: (socket) => {
          this.#settle(pending);
          this.#done({ ok: true, socket, address });
        },
        failed: (errno) => this.#failed(pending, address, errno),
      });
      pending = { address, attempt };
      this.#pending.push(pending);
    } catch (error) {
      // No descriptor, no buffer: told later like every failure, since the caller does not hold the Dial yet.
      const { code, name } = error as NodeJS.ErrnoException;
      process.nextTick(() => this.#failed(null, address, code ?? name));
    }
  }

  #failed(failed: Pending | null, address: string, errno: string): void {
    if (this.#settled) return;
    if (failed !== null) this.#pending = this.#pending.filter((other) => other !== failed);
    this.#failures.push({ code: failureCode(errno), text: `${address} ${errno}` });
    if (this.#next < this.#options.addresses.length) this.startNext();
    else if (this.#failures.length === this.#options.addresses.length) this.#finishFailed();
  }

  #finishFailed(): void {
    const untried = this.#options.addresses.length - this.#next;
    this.#settle(null);
    this.#done({ ok: false, code: mostTelling(this.#failures), detail: describe(this.#failures, untried) });
  }

  /** Stops the clocks, and every attempt but the winner. */
  #settle(winner: Pending | null): void {
    this.#settled = true;
    clearTimeout(this.#deadline);
    if (this.#delay !== null) clearTimeout(this.#delay);
    const pending = this.#pending;
    this.#pending = [];
    for (const each of pending) if (each !== winner) each.attempt.cancel();
  }
}

function timeOut<S>(race: Race<S>): void {
  race.timeOut();
}

function startNext<S>(race: Race<S>): void {
  race.startNext();
}

function ignore(): void {
  // Whoever holds the socket acts on 'close', which follows every error.
}

function failureCode(errno: string): DialFailureCode {
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
