// Fetches the issuer's keys over HTTPS on the road that requests take too: our own resolver, the address guard, a dial of a
// checked address. Nothing here follows a redirect, speaks without TLS, or waits or reads without a bound.
import http from 'node:http';
import type net from 'node:net';
import tls from 'node:tls';
import type { Limits, Meter } from '../limits.ts';
import { type Dialled, dial } from '../net/dial.ts';
import type { Resolver } from '../net/resolve.ts';
import type { Cidr } from '../policy/address.ts';
import type { Authority } from '../policy/authority.ts';

export interface KeyPlace {
  readonly authority: Authority;
  /** Path and query. */
  readonly path: string;
  /** Ranges that the host may resolve into besides public addresses. */
  readonly addresses: readonly Cidr[];
}

export interface KeyRoad {
  readonly resolver: Resolver;
  /** Whether the proxy may dial this address for it. */
  readonly admits: (authority: Authority, address: string, ranges: readonly Cidr[]) => boolean;
  readonly limits: Limits;
  readonly meter: Meter;
  /** Further trusted certificates, beside those of the system. */
  readonly ca?: string;
}

/** @returns the body of a 200. Rejects with an Error whose message says what failed */
export async function fetchKeys(place: KeyPlace, road: KeyRoad): Promise<string> {
  const { resolver, limits, admits, meter } = road;
  const { authority } = place;
  const found = await resolver.resolve(authority.host);
  if (!found.ok) throw new Error(`${authority.host}: ${found.code}, ${found.detail}`);
  const addresses = found.addresses.filter((address) => admits(authority, address, place.addresses));
  if (addresses.length === 0)
    throw new Error(
      `${authority.host} resolves only to addresses that may not be dialled: ${found.addresses.join(', ')}`,
    );
  const socket = await connected(addresses, authority.port, limits);
  const signal = AbortSignal.timeout(limits.jwks_timeout_ms);
  try {
    return await ask(place, road, socket, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    meter.hit('jwks_timeout_ms');
    throw new Error(`${authority.host} did not answer within ${limits.jwks_timeout_ms} ms`);
  } finally {
    socket.destroy();
  }
}

async function connected(addresses: readonly string[], port: number, limits: Limits): Promise<net.Socket> {
  const { jwks_timeout_ms: timeoutMs, connect_attempt_delay_ms: attemptDelayMs } = limits;
  const dialled = await new Promise<Dialled>(
    (resolve) => void dial({ addresses, port, timeoutMs, attemptDelayMs }, resolve),
  );
  if (dialled.ok) return dialled.socket;
  throw new Error(`${dialled.code}, ${dialled.detail}`);
}

function ask(
  { authority, path }: KeyPlace,
  { limits, meter, ca }: KeyRoad,
  socket: net.Socket,
  signal: AbortSignal,
): Promise<string> {
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
    const request = http.request({
      createConnection: () => secure,
      path,
      signal,
      setDefaultHeaders: false,
      headers: { Host: authority.text, Accept: 'application/json', 'User-Agent': 'sallyport', Connection: 'close' },
    });
    request.once('error', reject);
    request.once('response', (response) => {
      if (response.statusCode !== 200) return reject(new Error(`${authority.host} answers ${response.statusCode}`));
      const chunks: Buffer[] = [];
      let size = 0;
      response.once('error', reject);
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size <= limits.jwks_bytes) return void chunks.push(chunk);
        meter.hit('jwks_bytes');
        reject(new Error(`the answer is larger than ${limits.jwks_bytes} bytes`));
        socket.destroy();
      });
      response.once('end', () => {
        if (response.complete) resolve(Buffer.concat(chunks).toString('utf8'));
        else reject(new Error('the answer is cut short'));
      });
    });
    request.end();
  });
}
