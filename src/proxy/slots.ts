// Who may hold a connection: totals, one client's share, and its rate of new ones.
// No timer and no clock of its own: the bucket refills by the time it is told.
import type { LimitName, Limits, Meter } from '../limits.ts';

interface Share {
  open: number;
  /** Connections that are tunnels, or ask to be. */
  tunnels: number;
  /** New connections still free in this second. */
  tokens: number;
  refilledAtMs: number;
}

/** Counts connections. admit() and release() must pair for each connection that was admitted. */
export class Slots {
  readonly #limits: Limits;
  readonly #meter: Meter;
  readonly #shares = new Map<string, Share>();
  #open = 0;

  constructor(limits: Limits, meter: Meter) {
    this.#limits = limits;
    this.#meter = meter;
  }

  get open(): number {
    return this.#open;
  }

  /** Takes a slot for `address`; returns the limit that forbids it, or null when it is taken. */
  admit(address: string, nowMs: number): LimitName | null {
    const full = this.enter();
    if (full) return full;
    const refused = this.name(address, nowMs);
    if (refused) this.leave();
    return refused;
  }

  /** Takes a slot for a client that is not known yet; name() or leave() must follow. */
  enter(): LimitName | null {
    if (this.#open >= this.#limits.connections_max) return this.#refused('connections_max');
    this.#open++;
    return null;
  }

  /** Counts the slot that enter() took for `address`; where a limit forbids it, the slot stays to be given back by leave(). */
  name(address: string, nowMs: number): LimitName | null {
    const share = this.#share(address, nowMs);
    if (!share) return this.#refused('clients_tracked_max');
    if (share.open >= this.#limits.client_connections_max) return this.#refused('client_connections_max');
    const elapsedMs = Math.max(0, nowMs - share.refilledAtMs);
    share.tokens = Math.min(
      this.#limits.client_rate_per_s,
      share.tokens + (elapsedMs / 1_000) * this.#limits.client_rate_per_s,
    );
    share.refilledAtMs = nowMs;
    if (share.tokens < 1) return this.#refused('client_rate_per_s');
    share.tokens -= 1;
    share.open++;
    return null;
  }

  leave(): void {
    this.#open--;
  }

  release(address: string): void {
    const share = this.#shares.get(address);
    if (!share) return;
    this.#open--;
    share.open--;
    // The share stays for its rate; the oldest idle ones make room in #share().
  }

  /** Counts a connection of `address` as a tunnel from its CONNECT on, until it is closed. */
  enterTunnel(address: string): void {
    const share = this.#shares.get(address);
    if (share) share.tunnels++;
  }

  leaveTunnel(address: string): void {
    const share = this.#shares.get(address);
    if (share) share.tunnels--;
  }

  /** Whether the tunnel of `address` that was counted last is one too many. */
  tunnelsFull(address: string): boolean {
    if ((this.#shares.get(address)?.tunnels ?? 0) <= this.#limits.client_tunnels_max) return false;
    this.#refused('client_tunnels_max');
    return true;
  }

  #refused(limit: LimitName): LimitName {
    this.#meter.hit(limit);
    return limit;
  }

  #share(address: string, nowMs: number): Share | null {
    const known = this.#shares.get(address);
    if (known) return known;
    if (this.#shares.size >= this.#limits.clients_tracked_max && !this.#forgetIdle()) return null;
    const made: Share = { open: 0, tunnels: 0, tokens: this.#limits.client_rate_per_s, refilledAtMs: nowMs };
    this.#shares.set(address, made);
    return made;
  }

  /** Makes room by forgetting the longest known address without connections; a Map iterates in insertion order. */
  #forgetIdle(): boolean {
    for (const [address, share] of this.#shares) {
      if (share.open > 0) continue;
      this.#shares.delete(address);
      return true;
    }
    return false;
  }
}
