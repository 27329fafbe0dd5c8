// The end of a proxy in order: nothing new is accepted, what is open may finish for limits.drain_timeout_ms, then it is cut.
// Agents hold one stream for as long as they live: waiting for these would be waiting in vain, and cutting all of them at once
// would bring a thousand agents back in one second. So they are cut last, one after another, over limits.drain_spread_ms.
import type { Logger } from 'pino';
import type { ProxyContext } from '../proxy/context.ts';
import type { OpenRequest } from '../proxy/open-requests.ts';
import type { ProxyServer } from '../proxy/server.ts';

// How often it is looked at what is still open.
const CHECK_MS = 25;
/** The catalog group of the streams that never end by themselves. */
const AGENTS = 'buildkite-agent';

interface Parts {
  readonly ctx: Pick<ProxyContext, 'open' | 'limits' | 'meter' | 'closing' | 'draining'>;
  readonly proxy: Pick<ProxyServer, 'stopListening' | 'closeIdle' | 'connections' | 'idle'>;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export class Drain {
  /** Resolves when nothing is open any more, or its time is over: then the caller cuts what is left. */
  readonly done: Promise<void>;
  readonly #parts: Parts;
  readonly #timer: NodeJS.Timeout;
  readonly #startedMs = performance.now();
  readonly #endsMs: number;
  readonly #spreadMs: number;
  /** When the next agent's stream is cut and when the last one is; null before their turn. */
  #spread: { nextMs: number; readonly endsMs: number } | null = null;
  #finish: () => void = () => {};

  /**
   * Begins at once.
   * @param after `stop`: further requests on old connections are refused (503 draining). `upgrade`: another process accepts, and
   * what was accepted here before it did is still served
   */
  constructor(parts: Parts, after: 'stop' | 'upgrade') {
    this.#parts = parts;
    const { ctx, proxy, log } = parts;
    this.#endsMs = this.#startedMs + ctx.limits.drain_timeout_ms;
    this.#spreadMs = Math.min(ctx.limits.drain_spread_ms, ctx.limits.drain_timeout_ms);
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#timer = setInterval(() => this.#step(performance.now()), CHECK_MS);
    ctx.closing = true;
    proxy.stopListening();
    if (after === 'stop') this.refuse();
    log.info({ requests: ctx.open.size, connections: proxy.connections }, 'draining');
    this.#step(this.#startedMs);
  }

  /** From now on further requests are refused; the time goes on. */
  refuse(): void {
    this.#parts.ctx.draining = true;
  }

  /** Stops waiting. */
  now(): void {
    clearInterval(this.#timer);
    this.#finish();
  }

  #step(nowMs: number): void {
    const { ctx, proxy, log } = this.#parts;
    proxy.closeIdle();
    if (this.#empty(nowMs)) return this.now();
    if (nowMs >= this.#endsMs) {
      ctx.meter.hit('drain_timeout_ms');
      log.warn({ requests: ctx.open.size }, 'the time to drain is over: what is open is cut');
      return this.now();
    }
    if (!this.#spread && (nowMs >= this.#endsMs - this.#spreadMs || onlyAgents(ctx.open.values()))) {
      this.#spread = { nextMs: nowMs, endsMs: nowMs + Math.min(this.#spreadMs, this.#endsMs - nowMs) };
    }
    if (this.#spread) this.#cutAgents(this.#spread, nowMs);
  }

  /** A connection on which nothing was asked yet is waited for no longer than it has for a head. */
  #empty(nowMs: number): boolean {
    const { ctx, proxy } = this.#parts;
    if (!proxy.idle || ctx.open.size > 0) return false;
    return proxy.connections === 0 || nowMs - this.#startedMs >= ctx.limits.head_timeout_ms;
  }

  /** The rest of the time is divided evenly among those that are left, so that late ones and those that end by themselves fit in. */
  #cutAgents(spread: { nextMs: number; readonly endsMs: number }, nowMs: number): void {
    if (nowMs < spread.nextMs) return;
    const agents = [...this.#parts.ctx.open.values()].filter(isAgent);
    for (let left = agents.length; left > 0 && nowMs >= spread.nextMs; left--) {
      agents[agents.length - left]?.cut('drained');
      spread.nextMs += Math.max(0, spread.endsMs - spread.nextMs) / left;
    }
  }
}

function isAgent(request: OpenRequest): boolean {
  return request.facts.group === AGENTS;
}

function onlyAgents(requests: Iterable<OpenRequest>): boolean {
  for (const request of requests) if (!isAgent(request)) return false;
  return true;
}
