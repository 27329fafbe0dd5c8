// Reads requests from inspected connections in whichever HTTP both sides speak, and keeps what all of these connections share.
import type tls from 'node:tls';
import { UploadBudgets } from '../inspect/upload-budgets.ts';
import type { ProxyContext } from './context.ts';
import type { Engine } from './engine.ts';
import type { InspectedReader } from './inspected.ts';
import type { InspectedConnection } from './inspected-connection.ts';
import { InspectedHttp1 } from './inspected-http1.ts';

export class InspectedHttp implements InspectedReader {
  readonly #http1: InspectedHttp1;

  constructor(ctx: ProxyContext, engine: Engine) {
    const uploads = new UploadBudgets(ctx.limits, ctx.meter);
    this.#http1 = new InspectedHttp1(ctx, engine, uploads);
  }

  serve(connection: InspectedConnection, trust: tls.SecureContext): void {
    this.#http1.serve(connection, trust);
  }

  /** Closes the connections between two requests. */
  closeIdle(): void {
    this.#http1.closeIdle();
  }

  close(): void {
    this.#http1.close();
  }
}
