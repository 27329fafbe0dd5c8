// A CONNECT in the native engine's hands, and then its tunnel: dials by the same race as the JS engine, shows the first message to
// the same check, and tells the walk the same ends.
import { Buffer } from 'node:buffer';
import type net from 'node:net';
import type { OutcomeCode, RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import { type Dial, race } from '../net/dial.ts';
import {
  type ConnectHead,
  type DialOrder,
  type DialResult,
  type Exchange,
  NO_HEAD,
  type OpenTunnel,
  type TunnelEnd,
} from './engine.ts';
import type { NativeConnection, NativeEngine } from './engine-native.ts';
import { type Finding, FirstCheck, type FirstMessage } from './first-message.ts';
import { LINGER_MS } from './refuse.ts';

/** How the compiled half says that a tunnel has ended (Outcome in engine.h). */
export type Outcome = 0 | 1 | 2;
const OUTCOMES = ['closed', 'client-reset', 'upstream-reset'] as const;
const CHECK = { none: 0, enforce: 1, observe: 2 } as const;

const counts = new Float64Array(2);

export class NativeExchange implements Exchange, OpenTunnel {
  readonly id: string;
  readonly client: Client;
  head: ConnectHead;
  readonly #engine: NativeEngine;
  readonly #connection: NativeConnection;
  #early: Buffer | null;
  #dial: Dial | null = null;
  #gone: (() => void) | null = null;
  /** The origin that has answered. */
  #origin: number | null = null;
  #counted = true;
  #first: FirstCheck | null = null;
  /** Of the first message, or of a refusal's goodbye. */
  #timer: NodeJS.Timeout | null = null;
  #finding: Finding | null = null;
  #done: ((end: TunnelEnd) => void) | null = null;
  #idleSinceMs = 0;

  constructor(
    engine: NativeEngine,
    connection: NativeConnection,
    options: { id: string; early: Buffer; head: ConnectHead; client: Client },
  ) {
    this.id = options.id;
    this.client = options.client;
    this.head = options.head;
    this.#engine = engine;
    this.#connection = connection;
    this.#early = options.early.length > 0 ? Buffer.from(options.early) : null;
  }

  refuse(response: string): void {
    this.#release();
    this.#dial?.cancel();
    this.#dropOrigin();
    // Into an open tunnel the proxy never writes: whatever failed after the 200, both ends see it broken.
    if (this.#done) return this.cut('internal-error');
    const connection = this.#connection;
    if (!connection.open) return;
    if (!this.#engine.core.refuse(connection.handle, response)) return connection.close(true);
    this.#timer = setTimeout(closeConnection, LINGER_MS, connection);
  }

  dial(order: DialOrder): Promise<DialResult> {
    this.head = NO_HEAD;
    return new Promise((resolve) => {
      if (!this.#connection.open) return resolve({ ok: false, code: 'client-gone', detail: 'closed before the dial' });
      const { limits } = this.#engine;
      this.#gone = () => {
        this.#dial?.cancel();
        resolve({ ok: false, code: 'client-gone', detail: 'closed during the dial' });
      };
      const options = {
        addresses: order.addresses,
        port: order.port,
        timeoutMs: limits.connect_timeout_ms,
        attemptDelayMs: limits.connect_attempt_delay_ms,
      };
      this.#dial = race(options, this.#engine.begin, (dialled) => {
        this.#dial = null;
        this.#gone = null;
        if (!dialled.ok) return resolve(dialled);
        this.#origin = dialled.socket;
        resolve({ ok: true, address: dialled.address });
      });
    });
  }

  open(first: FirstMessage | null, done: (end: TunnelEnd) => void): void {
    const { core, limits, meter, tunnels } = this.#engine;
    const connection = this.#connection;
    const origin = this.#origin;
    const early = this.#early;
    this.#early = null;
    this.#origin = null;
    this.#done = done;
    if (first) this.#first = new FirstCheck(first, limits, meter);
    const verdict = this.#first && early ? this.#first.take(early) : 'more';
    if (verdict === 'ok') this.#first = null;
    const enforced = this.#first?.mode === 'enforce';
    const check = this.#first ? CHECK[this.#first.mode] : CHECK.none;
    const hold = enforced && !first?.serverFirst;
    if (origin === null || !connection.open || !core.open(connection.handle, origin, check, hold, early)) {
      if (origin !== null) core.close(origin, false);
      this.#finish(connection.open ? 'upstream-reset' : 'client-gone', 0, 0);
      return connection.close();
    }
    tunnels.set(this.id, this);
    if (verdict !== 'more' && verdict !== 'ok') return this.#found(verdict);
    if (enforced) this.#timer = setTimeout(helloTimedOut, limits.hello_timeout_ms, this);
  }

  adopt(): net.Socket | null {
    const early = this.#early;
    this.#early = null;
    this.head = NO_HEAD;
    if (!this.#connection.open) {
      this.#release();
      return null;
    }
    const socket = this.#connection.handOver(early);
    socket.once('close', () => this.#release());
    return socket;
  }

  /** What the client of a checked tunnel sent next; the bytes are only lent. */
  heard(bytes: Buffer, end: boolean): void {
    const { core } = this.#engine;
    const { handle } = this.#connection;
    const first = this.#first;
    if (!first) return core.pass(handle);
    if (end) return this.#found(first.ended());
    const verdict = first.take(bytes);
    if (verdict === 'more') {
      first.own();
      return core.more(handle);
    }
    if (verdict !== 'ok') return this.#found(verdict);
    this.#endCheck();
    core.pass(handle);
  }

  helloTimedOut(): void {
    if (this.#first) this.#found(this.#first.timedOut());
  }

  #found({ reason, detail }: Finding): void {
    const enforced = this.#first?.mode === 'enforce';
    this.#finding = { reason, detail };
    this.#endCheck();
    if (!enforced) return this.#engine.core.pass(this.#connection.handle);
    const [up, down] = this.#counts();
    this.#finish(reason, up, down);
    this.#connection.close();
  }

  #endCheck(): void {
    this.#first = null;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  get bytesUp(): number {
    return this.#counts()[0];
  }

  get bytesDown(): number {
    return this.#counts()[1];
  }

  #counts(): [number, number] {
    this.#engine.core.counts(this.#connection.handle, counts);
    return [counts[0] ?? 0, counts[1] ?? 0];
  }

  cut(outcome: OutcomeCode | 'internal-error'): void {
    const [up, down] = this.#counts();
    this.#finish(outcome, up, down);
    this.#connection.close(true);
  }

  idleMs(nowMs: number): number {
    if (this.#engine.core.active(this.#connection.handle)) this.#idleSinceMs = nowMs;
    return nowMs - this.#idleSinceMs;
  }

  /** The compiled half has ended the tunnel. */
  ended(outcome: Outcome, bytesUp: number, bytesDown: number): void {
    this.#finish(OUTCOMES[outcome], bytesUp, bytesDown);
  }

  /** The client's descriptor is closed. */
  gone(): void {
    this.#endCheck();
    this.#gone?.();
    this.#gone = null;
  }

  #finish(outcome: OutcomeCode | RequestErrorCode, bytesUp: number, bytesDown: number): void {
    const done = this.#done;
    if (!done) return;
    this.#done = null;
    this.#endCheck();
    this.#engine.tunnels.delete(this.id);
    this.#release();
    done({ outcome, bytesUp, bytesDown, finding: this.#finding });
  }

  #dropOrigin(): void {
    if (this.#origin !== null) this.#engine.core.close(this.#origin, false);
    this.#origin = null;
  }

  #release(): void {
    if (this.#counted) this.#engine.load--;
    this.#counted = false;
  }
}

function closeConnection(connection: NativeConnection): void {
  connection.close();
}

function helloTimedOut(exchange: NativeExchange): void {
  exchange.helloTimedOut();
}
