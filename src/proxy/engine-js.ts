// The portable engine: Node's sockets. It turns a CONNECT that the http server has parsed into an Exchange, keeps the open
// tunnels, and sweeps the idle ones. It decides nothing.
import type { Buffer } from 'node:buffer';
import type http from 'node:http';
import net from 'node:net';
import { ChurnMap } from '../churn-map.ts';
import type { Client } from '../identity/identify.ts';
import type { Limits, Meter } from '../limits.ts';
import { type Dial, dial } from '../net/dial.ts';
import { type Listening, type ListenSource, listen } from '../net/listen.ts';
import {
  type ArrivedHead,
  type ConnectHead,
  type DialOrder,
  type DialResult,
  type Engine,
  ESTABLISHED,
  type Exchange,
  type Joined,
  NO_HEAD,
  type OpenTunnel,
  type TunnelEnd,
} from './engine.ts';
import type { FirstMessage } from './first-message.ts';
import { refuseSocket } from './refuse.ts';
import { ORIGIN_ONREAD, resetSocket, Tunnel } from './tunnel.ts';

// The sweep looks at every tunnel; a tunnel is cut at most one period after its limit.
const IDLE_SWEEP_MS = 30_000;

export class JsEngine implements Engine {
  readonly kind = 'js';
  readonly limits: Limits;
  readonly meter: Meter;
  readonly tunnels = new ChurnMap<string, OpenTunnel>();
  load = 0;
  readonly #sweep: NodeJS.Timeout;

  /** @param sweep what is done every so often; of an engine that has this one inside, its own */
  constructor(limits: Limits, meter: Meter, sweep: Engine['cutIdle'] = (nowMs) => this.cutIdle(nowMs)) {
    this.limits = limits;
    this.meter = meter;
    this.#sweep = setInterval(() => sweep(Date.now()), IDLE_SWEEP_MS);
    this.#sweep.unref();
  }

  listen(server: http.Server, on: ListenSource, backlog: number): Promise<Listening> {
    return listen(server, on, backlog);
  }

  stopListening(): void {
    // The servers are closed by who has made them.
  }

  exchange(options: ArrivedHead): Exchange {
    const { source } = options;
    if (!(source instanceof net.Socket)) throw new TypeError('the JS engine accepts nothing by itself');
    this.load++;
    return new JsExchange(this, { ...options, socket: source });
  }

  join(options: Joined): void {
    this.load++;
    const { tunnels, limits, meter } = this;
    // The origin's socket comes from the pool of plain HTTP, which has it close with its peer.
    options.origin.allowHalfOpen = true;
    for (const socket of [options.client, options.origin]) {
      socket.removeAllListeners('timeout');
      socket.setTimeout(0);
    }
    const tunnel = new Tunnel({
      ...options,
      originReads: 'chunks',
      first: null,
      limits,
      meter,
      done: (end) => {
        tunnels.delete(options.id);
        this.load--;
        options.done(end);
      },
    });
    if (!tunnel.ended) tunnels.set(options.id, tunnel);
  }

  close(): void {
    clearInterval(this.#sweep);
    for (const tunnel of [...this.tunnels.values()]) tunnel.cut('drained');
  }

  cutIdle(nowMs: number): void {
    for (const tunnel of this.tunnels.values()) {
      if (tunnel.idleMs(nowMs) < this.limits.tunnel_idle_ms) continue;
      this.meter.hit('tunnel_idle_ms');
      tunnel.cut('idle');
    }
  }
}

class JsExchange implements Exchange {
  readonly id: string;
  readonly client: Client;
  head: ConnectHead;
  readonly #engine: JsEngine;
  readonly #socket: net.Socket;
  #early: Buffer | null;
  #origin: net.Socket | null = null;
  #dial: Dial | null = null;
  #counted = true;
  #opened = false;

  constructor(
    engine: JsEngine,
    options: { id: string; socket: net.Socket; early: Buffer; head: ConnectHead; client: Client },
  ) {
    this.id = options.id;
    this.client = options.client;
    this.head = options.head;
    this.#engine = engine;
    this.#socket = options.socket;
    this.#early = options.early.length > 0 ? options.early : null;
    this.#socket.on('error', ignore);
  }

  refuse(response: string): void {
    this.#release();
    this.#dial?.cancel();
    this.#origin?.destroy();
    if (!this.#opened) return refuseSocket(this.#socket, response);
    // Into an open tunnel the proxy never writes: whatever failed after the 200, both ends see it broken.
    this.#engine.tunnels.get(this.id)?.cut('internal-error');
    if (!this.#socket.destroyed) resetSocket(this.#socket);
  }

  dial(order: DialOrder): Promise<DialResult> {
    this.head = NO_HEAD;
    return new Promise((resolve) => {
      const socket = this.#socket;
      if (socket.destroyed) return resolve({ ok: false, code: 'client-gone', detail: 'closed before the dial' });
      const gone = () => {
        this.#dial?.cancel();
        resolve({ ok: false, code: 'client-gone', detail: 'closed during the dial' });
      };
      socket.once('close', gone);
      this.#dial = dial(
        {
          addresses: order.addresses,
          port: order.port,
          timeoutMs: this.#engine.limits.connect_timeout_ms,
          attemptDelayMs: this.#engine.limits.connect_attempt_delay_ms,
          onread: originOnread,
        },
        (dialled) => {
          this.#dial = null;
          socket.removeListener('close', gone);
          if (!dialled.ok) return resolve(dialled);
          // Nothing is read inside the connect event, and the walk builds the tunnel before this turn is over.
          this.#origin = dialled.socket;
          resolve({ ok: true, address: dialled.address });
        },
      );
    });
  }

  open(first: FirstMessage | null, done: (end: TunnelEnd) => void): void {
    this.#opened = true;
    const origin = this.#origin;
    const early = this.#early;
    this.#origin = null;
    this.#early = null;
    if (!origin || this.#socket.destroyed || origin.destroyed) {
      this.#release();
      origin?.destroy();
      this.#socket.destroy();
      return done({
        outcome: origin?.destroyed ? 'upstream-reset' : 'client-gone',
        bytesUp: 0,
        bytesDown: 0,
        finding: null,
      });
    }
    const { tunnels, limits, meter } = this.#engine;
    const id = this.id;
    const tunnel = new Tunnel({
      client: this.#socket,
      origin,
      originReads: 'buffers',
      first,
      early,
      prefix: ESTABLISHED,
      limits,
      meter,
      done: (end) => {
        tunnels.delete(id);
        this.#release();
        done(end);
      },
    });
    if (!tunnel.ended) tunnels.set(id, tunnel);
  }

  adopt(): net.Socket | null {
    const socket = this.#socket;
    const early = this.#early;
    this.#opened = true;
    this.#early = null;
    this.head = NO_HEAD;
    if (socket.destroyed) {
      this.#release();
      return null;
    }
    if (early) socket.unshift(early);
    socket.once('close', () => this.#release());
    return socket;
  }

  #release(): void {
    if (this.#counted) this.#engine.load--;
    this.#counted = false;
  }
}

const originOnread = (): net.OnReadOpts => ORIGIN_ONREAD;

function ignore(): void {
  // The 'close' that follows every error is what is acted on.
}
