// The walk of an inspected CONNECT from its decided record on (connect.ts has what comes before): dial, 200, hello, the origin's
// handshake with what the client offers, the client's handshake with what the origin has chosen; then HTTP, request by request.
import type tls from 'node:tls';
import type { RequestErrorCode } from '../../errors.ts';
import { type Protocol, spokenOf } from '../../inspect/terminate.ts';
import type { Inspection } from '../../policy/inspect.ts';
import type { ProxyContext } from '../context.ts';
import { ESTABLISHED, type Exchange } from '../engine.ts';
import type { OpenRequest } from '../open-requests.ts';
import { refusalResponse, serialise } from '../respond.ts';
import { recordEnd, refusalOf } from '../route.ts';
import { InspectedConnection } from './connection.ts';

/** Reads requests from a connection whose handshakes are done. */
export interface InspectedReader {
  serve(connection: InspectedConnection, trust: tls.SecureContext): void;
}

/** Takes an inspected CONNECT to the end of its handshakes. */
export async function handleInspected(
  ctx: ProxyContext,
  exchange: Exchange,
  open: OpenRequest,
  parts: { readonly inspection: Inspection; readonly accept: string | undefined; readonly reader: InspectedReader },
): Promise<void> {
  const { inspection, accept, reader } = parts;
  const leaf = ctx.inspector.leaf(open.authority);
  const trust = trusted(ctx, inspection);
  if (leaf === null || trust === null) {
    const code = 'inspection-unavailable';
    recordEnd(ctx, open, { outcome: code, bytesUp: 0, bytesDown: 0 });
    const detail = leaf === null ? null : 'the certificates of `upstream_ca` cannot be used';
    return exchange.refuse(serialise(refusalResponse({ ...refusalOf(ctx, open, code, detail), accept })));
  }
  const raw = exchange.adopt();
  if (raw === null) return recordEnd(ctx, open, { outcome: 'client-gone', bytesUp: 0, bytesDown: 0 });
  const connection = new InspectedConnection(ctx, open, exchange.client, raw, accept);
  open.attach(connection);
  if (open.ended) return;
  try {
    await walk(connection, leaf, { trust, reader });
  } catch (error) {
    // Nobody else knows the connection any more; who called says why.
    connection.end('internal-error');
    raw.destroy();
    throw error;
  }
}

/** From the dial to the first request. */
async function walk(
  connection: InspectedConnection,
  leaf: tls.SecureContext,
  { trust, reader }: { readonly trust: tls.SecureContext; readonly reader: InspectedReader },
): Promise<void> {
  const { open } = connection;
  // 8 dial a checked address, 9 the 200.
  const dialled = await connection.dial();
  if (open.ended || dialled === null) return;
  if (!dialled.ok) {
    connection.end(dialled.code);
    return connection.refuse(dialled.code, dialled.detail);
  }
  open.address = dialled.address;
  open.openedMs = performance.now();
  connection.establish(ESTABLISHED);

  // 10 the client's hello: its name is the host that was asked for.
  const hello = await connection.hello();
  if (open.ended || hello === null) return void dialled.socket.destroy();
  const offers = 'offers' in hello ? understood(hello.offers) : null;
  if (offers === null) {
    dialled.socket.destroy();
    const detail = 'offers' in hello ? `it offers ${hello.offers.join(', ').slice(0, 100)} alone` : hello.detail;
    return closed(connection, 'offers' in hello ? 'client-tls' : hello.reason, detail);
  }

  // 11 the origin's handshake, then the client's.
  const origin = await connection.secure(dialled.socket, offers, trust);
  if (open.ended || origin === null) return void dialled.socket.destroy();
  if (origin.ok) connection.keep(origin.socket, origin.protocol);
  else connection.failure = { code: origin.code, detail: origin.detail };
  const client = await connection.secureClient(leaf, origin.ok ? origin.protocol : answerable(offers));
  if (open.ended || client === null) return;
  if (!client.ok) return closed(connection, client.code, client.detail);
  if (connection.failure) say(connection, connection.failure.code, connection.failure.detail);
  reader.serve(connection, trust);
}

/** Whom to believe about the origin; null where the file of the rule cannot be used. */
function trusted(ctx: ProxyContext, { upstreamCa }: Inspection): tls.SecureContext | null {
  try {
    return ctx.inspector.trust(upstreamCa);
  } catch (error) {
    ctx.log.error({ err: error, file: upstreamCa }, 'the certificates of `upstream_ca` cannot be used');
    return null;
  }
}

/** What of a client's offers is spoken here; none at all is HTTP/1.1. Null where it offers other protocols alone. */
function understood(offers: readonly string[]): readonly Protocol[] | null {
  const spoken = spokenOf(offers);
  return offers.length > 0 && spoken.length === 0 ? null : spoken;
}

/** What a client is told a failure of the origin in. */
function answerable(offers: readonly Protocol[]): Protocol | null {
  return offers.includes('http/1.1') ? 'http/1.1' : (offers[0] ?? null);
}

/** Nothing was asked yet, and nothing can be answered: the connection is closed, and its record says why. */
function closed(connection: InspectedConnection, code: RequestErrorCode, detail: string): void {
  say(connection, code, detail);
  connection.end(code, code);
  connection.raw.destroy();
}

function say({ ctx, open }: InspectedConnection, code: string, detail: string): void {
  const { host } = open.authority;
  ctx.log.warn({ request: open.id, host, code, detail }, `an inspected connection failed: ${code}`);
}
