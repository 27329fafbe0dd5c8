// One GET over HTTPS for the proxy itself, on the road that requests take too: our own resolver, the address guard, a dial of a checked
// address. Nothing here follows a redirect, speaks without TLS, or waits or reads without a bound.
import type http from 'node:http';
import type net from 'node:net';
import tls from 'node:tls';
import type { LimitName, Limits, Meter } from '../limits.ts';
import type { Cidr } from '../policy/address.ts';
import type { Authority } from '../policy/authority.ts';
import { type Dialled, dial } from './dial.ts';
import { nodeHttp } from './http.ts';
import type { Resolver } from './resolve.ts';

export interface GuardedPlace {
  readonly authority: Authority;
  /** Path and query. */
  readonly path: string;
  /** Ranges that the host may resolve into besides public addresses. */
  readonly addresses: readonly Cidr[];
}

export interface GuardedRoad {
  readonly resolver: Resolver;
  /** Whether the proxy may dial this address for it. */
  readonly admits: (authority: Authority, address: string, ranges: readonly Cidr[]) => boolean;
  readonly limits: Limits;
  readonly meter: Meter;
  /** Further trusted certificates, beside those of the system. */
  readonly ca?: string;
}

export interface GuardedAsk {
  readonly headers: Readonly<Record<string, string>>;
  /** The limits of the time for all of it, and of the bytes of the body. */
  readonly timeout: LimitName;
  readonly bytes: LimitName;
  /** Answers that are taken; any other is an error. */
  readonly statuses: readonly number[];
}

export interface GuardedAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/** Rejects with an Error whose message says what failed. */
export async function guardedGet(place: GuardedPlace, road: GuardedRoad, ask: GuardedAsk): Promise<GuardedAnswer> {
  const { resolver, limits, admits, meter } = road;
  const { authority } = place;
  const found = await resolver.resolve(authority.host);
  if (!found.ok) throw new Error(`${authority.host}: ${found.code}, ${found.detail}`);
  const addresses = found.addresses.filter((address) => admits(authority, address, place.addresses));
  if (addresses.length === 0)
    throw new Error(
      `${authority.host} resolves only to addresses that may not be dialled: ${found.addresses.join(', ')}`,
    );
  const timeoutMs = limits[ask.timeout];
  const socket = await connected(addresses, authority.port, timeoutMs, limits);
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    return await answered(place, road, ask, socket, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    meter.hit(ask.timeout);
    throw new Error(`${authority.host} did not answer within ${timeoutMs} ms`);
  } finally {
    socket.destroy();
  }
}

async function connected(
  addresses: readonly string[],
  port: number,
  timeoutMs: number,
  { connect_attempt_delay_ms: attemptDelayMs }: Limits,
): Promise<net.Socket> {
  const dialled = await new Promise<Dialled>(
    (resolve) => void dial({ addresses, port, timeoutMs, attemptDelayMs }, resolve),
  );
  if (dialled.ok) return dialled.socket;
  throw new Error(`${dialled.code}, ${dialled.detail}`);
}

function answered(
  { authority, path }: GuardedPlace,
  { limits, meter, ca }: GuardedRoad,
  { headers, bytes, statuses }: GuardedAsk,
  socket: net.Socket,
  signal: AbortSignal,
): Promise<GuardedAnswer> {
  return new Promise((resolve, reject) => {
    const secure = tls.connect({
      socket,
      ALPNProtocols: ['http/1.1'],
      minVersion: 'TLSv1.2',
      // SNI has names only (RFC 6066 §3); the certificate of an address is checked against the address.
      ...(authority.kind === 'name' ? { servername: authority.host } : { host: authority.host }),
      ...(ca === undefined ? {} : { ca: [...tls.rootCertificates, ca] }),
    });
    secure.once('error', reject);
    const request = nodeHttp.request({
      createConnection: () => secure,
      path,
      signal,
      setDefaultHeaders: false,
      headers: { Host: authority.text, 'User-Agent': 'sallyport', Connection: 'close', ...headers },
    });
    request.once('error', reject);
    request.once('response', (response) => {
      const status = response.statusCode ?? 0;
      if (!statuses.includes(status)) return reject(new Error(`${authority.host} answers ${status}`));
      const chunks: Buffer[] = [];
      let size = 0;
      response.once('error', reject);
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size <= limits[bytes]) return void chunks.push(chunk);
        meter.hit(bytes);
        reject(new Error(`the answer is larger than ${limits[bytes]} bytes`));
        socket.destroy();
      });
      response.once('end', () => {
        if (response.complete)
          resolve({ status, headers: response.headers, body: Buffer.concat(chunks).toString('utf8') });
        else reject(new Error('the answer is cut short'));
      });
    });
    request.end();
  });
}
