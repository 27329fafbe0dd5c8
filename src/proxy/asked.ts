// A plain-HTTP request that the short road has sent, and whose answer Node's parsers and streams must read (short-forward.ts). Between the
// two it belongs to nobody who reads it: this is then what a reload, a drain or an operator cut, and what ends with its client.
import type net from 'node:net';
import type { Authority } from '../policy/authority.ts';
import type { ProxyContext } from './context.ts';
import type { Framing } from './fields.ts';
import type { Carrier, CutOutcome, OpenRequest } from './open-requests.ts';
import { recordEnd } from './route.ts';

export interface Asked {
  readonly id: string;
  /** What is written to it goes nowhere: it has the request. What it has answered so far stands in it, unread. */
  readonly origin: net.Socket;
  readonly open: OpenRequest;
  readonly authority: Authority;
  readonly path: string;
  readonly framing: Framing;
}

/** Holds it until Node has read the request's head again. */
export class AskedRequest implements Carrier {
  readonly bytesUp = 0;
  readonly bytesDown = 0;
  readonly #ctx: ProxyContext;
  readonly #client: net.Socket;
  #asked: Asked | null;

  constructor(ctx: ProxyContext, client: net.Socket, asked: Asked) {
    this.#ctx = ctx;
    this.#client = client;
    this.#asked = asked;
    asked.open.attach(this);
    client.once('close', () => this.#end('client-gone'));
  }

  /** Whoever takes it attaches himself to its entry in the same turn. */
  take(): Asked | null {
    const asked = this.#asked;
    this.#asked = null;
    return asked;
  }

  cut(outcome: CutOutcome): void {
    this.#end(outcome);
    this.#client.destroy();
  }

  #end(outcome: CutOutcome | 'client-gone'): void {
    const asked = this.take();
    if (!asked) return;
    asked.origin.destroy();
    recordEnd(this.#ctx, asked.open, { outcome, bytesUp: 0, bytesDown: 0 });
  }
}
