// Reads requests from inspected connections in whichever HTTP both sides speak, and keeps what all of these connections share.
import type tls from 'node:tls';
import { UploadBudgets } from '../../inspect/upload-budgets.ts';
import type { ProxyContext } from '../context.ts';
import type { Engine } from '../engine.ts';
import type { InspectedConnection } from './connection.ts';
import { InspectedHttp1 } from './http1.ts';
import { InspectedHttp2 } from './http2.ts';
import type { InspectedReader } from './walk.ts';

export class InspectedHttp implements InspectedReader {
  readonly #ctx: ProxyContext;
  readonly #http1: InspectedHttp1;
  readonly #http2: InspectedHttp2;

  constructor(ctx: ProxyContext, engine: Engine) {
    this.#ctx = ctx;
    const uploads = new UploadBudgets(ctx.limits, ctx.meter);
    this.#http1 = new InspectedHttp1(ctx, engine, uploads);
    this.#http2 = new InspectedHttp2(ctx, uploads);
  }

  serve(connection: InspectedConnection, trust: tls.SecureContext): void {
    if (connection.protocol === 'h2') this.#http2.serve(connection, trust);
    else this.#http1.serve(connection, trust);
  }

  /** Closes the connections between two requests. */
  closeIdle(): void {
    this.#http1.closeIdle();
    if (this.#ctx.closing) this.#http2.closeIdle();
  }

  close(): void {
    this.#http1.close();
    this.#http2.close();
  }
}
