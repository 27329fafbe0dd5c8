// One inspected CONNECT after its decided record: the client's connection, the one to its origin, and the handshakes on both. It
// carries the CONNECT's entry in the registry: whoever ends that ends all that is asked on the connection.
import { Buffer } from 'node:buffer';
import type net from 'node:net';
import type tls from 'node:tls';
import type { OutcomeCode, RequestErrorCode } from '../../errors.ts';
import type { Client } from '../../identity/identify.ts';
import { type Handshake, type Protocol, type Secured, secureClient, secureOrigin } from '../../inspect/terminate.ts';
import { offeredProtocols } from '../../net/client-hello.ts';
import { type Dial, dial } from '../../net/dial.ts';
import type { Ended } from '../../policy/record.ts';
import type { ProxyContext } from '../context.ts';
import { type Finding, FirstCheck, firstMessage } from '../first-message.ts';
import type { Carrier, CutOutcome, OpenRequest } from '../open-requests.ts';
import { refuseSocket } from '../refuse.ts';
import { refusalResponse, serialise } from '../respond.ts';
import { recordEnd, refusalOf } from '../route.ts';
import { carriedBy, resetSocket } from '../tunnel.ts';

/** Why requests on a connection cannot be served: the origin failed after the 200, and the client is told on its own protocol. */
export interface Failure {
  readonly code: RequestErrorCode;
  readonly detail: string;
}

export type Reached = { readonly ok: true; readonly socket: tls.TLSSocket } | ({ readonly ok: false } & Failure);

// What an origin of HTTP/2 may say before it is asked, in reads: SETTINGS, a window, a PING.
const EARLY_READS_MAX = 16;

export class InspectedConnection implements Carrier {
  readonly ctx: ProxyContext;
  readonly open: OpenRequest;
  readonly client: Client;
  readonly raw: net.Socket;
  /** The client's side, decrypted; null until its handshake is done. */
  stream: tls.TLSSocket | null = null;
  /** What both sides speak. */
  protocol: Protocol | null = null;
  failure: Failure | null = null;
  /** Requests under way on it. */
  readonly requests = new Set<OpenRequest>();
  readonly #accept: string | undefined;
  readonly #readBefore: number;
  readonly #writtenBefore: number;
  /** The connection to it that nobody has taken yet. */
  #dialled: net.Socket | null = null;
  #kept: (() => tls.TLSSocket | null) | null = null;
  #cancel: (() => void) | null = null;
  #established = false;

  constructor(ctx: ProxyContext, open: OpenRequest, client: Client, raw: net.Socket, accept: string | undefined) {
    this.ctx = ctx;
    this.open = open;
    this.client = client;
    this.raw = raw;
    this.#accept = accept;
    // What waits in the socket was sent behind the head, and counts.
    this.#readBefore = raw.bytesRead - raw.readableLength;
    this.#writtenBefore = raw.bytesWritten;
    raw.on('error', ignore);
    raw.once('close', () => this.end('closed'));
  }

  /** Of the TLS connection, as in a tunnel. */
  get bytesUp(): number {
    return this.#established ? Math.max(0, this.raw.bytesRead - this.#readBefore) : 0;
  }

  get bytesDown(): number {
    return this.#established ? Math.max(0, this.raw.bytesWritten - this.#writtenBefore) : 0;
  }

  /** Connects to one of the checked addresses, for the first time or again; null where the connection has ended meanwhile. */
  dial(): Promise<{ ok: true; socket: net.Socket; address: string } | ({ ok: false } & Failure) | null> {
    const { limits } = this.ctx;
    return new Promise((resolve) => {
      const race: Dial = dial(
        {
          addresses: this.open.addresses,
          port: this.open.authority.port,
          timeoutMs: limits.connect_timeout_ms,
          attemptDelayMs: limits.connect_attempt_delay_ms,
        },
        (dialled) => {
          this.#cancel = null;
          if (!dialled.ok) return resolve(dialled);
          // An origin that ends a kept connection must be gone with it.
          dialled.socket.allowHalfOpen = false;
          this.#dialled = dialled.socket;
          resolve({ ok: true, socket: dialled.socket, address: dialled.address });
        },
      );
      this.#cancel = () => {
        race.cancel();
        resolve(null);
      };
    });
  }

  /** The 200. From here on the client is told what goes wrong on its own protocol, or not at all. */
  establish(response: string): void {
    this.#established = true;
    this.raw.write(response, 'latin1');
  }

  /** The client's hello, which stands in the socket again when it is good. */
  hello(): Promise<{ offers: string[] } | Finding | null> {
    const { ctx, raw, open } = this;
    const wanted = firstMessage('tls', open.authority, 'enforce');
    if (wanted === null) throw new TypeError('TLS has a first message');
    const check = new FirstCheck(wanted, ctx.limits, ctx.meter);
    return new Promise((resolve) => {
      const over = (found: { offers: string[] } | Finding | null): void => {
        this.#cancel = null;
        clearTimeout(timer);
        raw.removeListener('data', onData);
        raw.removeListener('end', onEnd);
        raw.pause();
        resolve(found);
      };
      const onData = (chunk: Buffer): void => {
        const verdict = check.take(chunk);
        if (verdict === 'more') return;
        const { held } = check;
        over(verdict === 'ok' && held ? { offers: offeredProtocols(held) } : (verdict as Finding));
        if (verdict === 'ok' && held) raw.unshift(held);
      };
      const onEnd = (): void => over(check.ended());
      const timer = setTimeout(() => over(check.timedOut()), ctx.limits.hello_timeout_ms);
      this.#cancel = () => over(null);
      raw.on('data', onData);
      raw.on('end', onEnd);
      raw.resume();
    });
  }

  /** Shakes hands with the origin, offering what the client has offered. */
  async secure(socket: net.Socket, offers: readonly Protocol[], trust: tls.SecureContext): Promise<Secured | null> {
    const order = { authority: this.open.authority, offers, context: trust, ...this.#patience };
    return this.#handshake(socket, (done) => secureOrigin(socket, order, done));
  }

  /** Shakes hands with the client in the name of the host. */
  async secureClient(leaf: tls.SecureContext, protocol: Protocol | null): Promise<Secured | null> {
    const order = { context: leaf, protocol, ...this.#patience };
    const secured = await this.#handshake(this.raw, (done) => secureClient(this.raw, order, done));
    if (!secured?.ok) return secured;
    carriedBy(secured.socket, this.raw);
    this.stream = secured.socket;
    this.protocol = protocol;
    return secured;
  }

  get #patience() {
    const { limits, meter } = this.ctx;
    return { timeoutMs: limits.tls_handshake_timeout_ms, meter };
  }

  #handshake(raw: net.Socket, begin: (done: (secured: Secured) => void) => Handshake): Promise<Secured | null> {
    return new Promise((resolve) => {
      const { cancel } = begin((secured) => {
        this.#cancel = null;
        if (secured.ok && raw !== this.raw) carriedBy(secured.socket, raw);
        resolve(secured);
      });
      this.#cancel = () => {
        cancel();
        resolve(null);
      };
    });
  }

  /**
   * Keeps the origin's connection until a request wants it, and sees its end. What HTTP/1.1 sends before it is asked is no answer to
   * anything; HTTP/2 begins with its SETTINGS, which are kept too.
   */
  keep(origin: tls.TLSSocket, protocol: Protocol | null): void {
    const early: Buffer[] = [];
    const onData = (chunk: Buffer): void => {
      early.push(chunk);
      if (protocol !== 'h2' || early.length > EARLY_READS_MAX) origin.destroy();
    };
    const onEnd = (): void => void origin.destroy();
    origin.on('error', ignore);
    origin.on('data', onData);
    origin.once('end', onEnd);
    this.#kept = () => {
      origin.removeListener('data', onData);
      origin.removeListener('end', onEnd);
      if (origin.destroyed) return null;
      if (early.length > 0) origin.pause().unshift(Buffer.concat(early));
      return origin;
    };
  }

  /** The kept one, once; null where it is gone. Where it was silent it goes on flowing: Node's client does not resume a paused one. */
  take(): tls.TLSSocket | null {
    const kept = this.#kept;
    this.#kept = null;
    this.#dialled = null;
    return kept?.() ?? null;
  }

  /** A connection to the origin: the kept one, or one more, which must agree on the same protocol. */
  async reach(trust: tls.SecureContext): Promise<Reached> {
    const kept = this.take();
    if (kept) return { ok: true, socket: kept };
    const gone: Reached = { ok: false, code: 'connect-failed', detail: 'the request has ended' };
    const dialled = await this.dial();
    if (!dialled?.ok) return dialled ?? gone;
    const { protocol } = this;
    const secured = await this.secure(dialled.socket, protocol === null ? [] : [protocol], trust);
    this.#dialled = null;
    if (!secured) return gone;
    if (!secured.ok) return secured;
    if (secured.protocol === protocol) return { ok: true, socket: secured.socket };
    secured.socket.destroy();
    return { ok: false, code: 'upstream-tls', detail: 'the origin speaks another protocol than it did before' };
  }

  cut(outcome: CutOutcome, refusal: RequestErrorCode | null): void {
    for (const request of [...this.requests]) request.cut(outcome, null);
    this.end(outcome);
    if (refusal !== null && !this.#established) return this.refuse(refusal, null);
    resetSocket(this.stream ?? this.raw);
  }

  /** Before the 200. */
  refuse(code: RequestErrorCode, detail: string | null): void {
    const refusal = refusalOf(this.ctx, this.open, code, detail);
    refuseSocket(this.raw, serialise(refusalResponse({ ...refusal, accept: this.#accept })));
  }

  /** The CONNECT's ended record, of which only the first counts; its origin is let go whoever wrote that. */
  end(outcome: RequestErrorCode | OutcomeCode, denied?: Ended['reason']): void {
    const { bytesUp, bytesDown } = this;
    const told = denied === undefined ? {} : ({ verdict: 'deny', reason: denied } as const);
    recordEnd(this.ctx, this.open, { outcome, bytesUp, bytesDown, ...told });
    this.#cancel?.();
    this.#dialled?.destroy();
  }
}

function ignore(): void {
  // The 'close' that follows every error is what is acted on.
}
