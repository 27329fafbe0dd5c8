// One GET over HTTPS, straight or through a proxy, bounded in time and size. It follows no redirect and trusts what the caller
// says; the answer is whole or an error.
import type http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import { nodeHttp } from '../net/http.ts';
import { parseAuthority } from '../policy/authority.ts';
import { tlsTo } from './client-tls.ts';
import { openTunnel } from './client-tunnel.ts';
import type { ProxyUrl } from './proxy-url.ts';

export interface GetRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** null: straight. */
  readonly proxy: ProxyUrl | null;
  /** Certificates to trust besides the usual ones, as PEM; for the origin and for an https:// proxy. */
  readonly ca: string | null;
  /** For everything, from the dial to the last byte. */
  readonly timeoutMs: number;
  readonly bytesMax: number;
}

export interface GetAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

const HTTPS_PORT = 443;

/** @throws Error whose message says what failed, with the hint of the proxy where it refused */
export async function httpsGet(request: GetRequest): Promise<GetAnswer> {
  const { url, timeoutMs } = request;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const startedMs = performance.now();
  const socket = await connected(request);
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    const left = Math.max(1, timeoutMs - (performance.now() - startedMs));
    const timer = setTimeout(() => fail(new Error(`${url.host} did not answer within ${timeoutMs} ms`)), left);
    const secure = tls.connect({ socket, ...tlsTo(host, request.ca), ALPNProtocols: ['http/1.1'] });
    const asking = nodeHttp.request({
      method: 'GET',
      path: `${url.pathname}${url.search}`,
      headers: { Host: url.host, 'User-Agent': 'sallyport', Connection: 'close', ...request.headers },
      createConnection: () => secure,
    });
    asking.on('error', (error) => fail(new Error(`${url.host}: ${error.message}`)));
    asking.on('response', (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > request.bytesMax) fail(new Error(`${url.host} answers with more than ${request.bytesMax} bytes`));
        else chunks.push(chunk);
      });
      // A body that is shorter than it said ends with this error, never with 'end'.
      response.on('error', (error) => fail(new Error(`${url.host} broke off its answer: ${error.message}`)));
      response.on('end', () => {
        clearTimeout(timer);
        socket.destroy();
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString('utf8'),
        });
      });
    });
    asking.end();
  });
}

async function connected({ url, proxy, ca, timeoutMs }: GetRequest): Promise<net.Socket> {
  const port = url.port === '' ? HTTPS_PORT : Number(url.port);
  const target = parseAuthority(`${url.hostname}:${port}`);
  if (!target.ok) throw new Error(`${url.host} is no host: ${target.problem}`);
  if (proxy === null) return net.connect({ host: target.authority.host, port });
  const opened = await openTunnel({
    proxy,
    target: target.authority,
    credentials: proxy.credentials,
    proxyCa: ca,
    certificate: null,
    timeoutMs,
  });
  if (opened.ok) return opened.socket;
  throw new Error(opened.hint === null ? opened.message : `${opened.message} (${opened.hint})`);
}
