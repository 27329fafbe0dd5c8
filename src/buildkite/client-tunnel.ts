// A client's side of CONNECT: dial the proxy (plain or TLS), ask for a tunnel, and say in words what went wrong and at which
// step. Used by `connect` and `doctor`. It dials the proxy and nothing else.
import type http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import '../net/ends.ts';
import { nodeHttp } from '../net/http.ts';
import type { Authority } from '../policy/authority.ts';
import { tlsTo } from './client-tls.ts';
import { basicAuthorization, type ProxyCredentials, type ProxyUrl } from './proxy-url.ts';

/** How a client reaches its proxy, and how it proves itself there. */
export interface ProxyRoad {
  readonly proxy: ProxyUrl;
  readonly credentials: ProxyCredentials | null;
  /** Certificates to trust for an https:// proxy besides the usual ones, as PEM. */
  readonly proxyCa: string | null;
  /** The client's own certificate and key for an https:// proxy that asks for one, as PEM. */
  readonly certificate: { readonly cert: string; readonly key: string } | null;
}

export interface TunnelRequest extends ProxyRoad {
  readonly target: Authority;
  /** From the dial to the answer of the proxy. */
  readonly timeoutMs: number;
}

export interface TunnelRefusal {
  readonly ok: false;
  /** Where it failed: the proxy cannot be reached; its TLS; its answer is not HTTP; it said no. */
  readonly step: 'dial' | 'tls' | 'answer' | 'refused';
  readonly message: string;
  readonly hint: string | null;
  /** Status of the proxy's answer, where there was one. */
  readonly status: number | null;
  /** The proxy's stable code (Sallyport-Code), where it gave one. */
  readonly code: string | null;
}

export interface OpenTunnel {
  readonly ok: true;
  /** Half-open: its end and the end of what is written to it are two things. */
  readonly socket: net.Socket;
}

/** Bytes of the head of the proxy's answer. */
const ANSWER_HEAD_BYTES = 16_384;

/** Asks the proxy for a tunnel. Never rejects; the caller owns the socket and its errors from the moment it resolves. */
export function openTunnel(request: TunnelRequest): Promise<OpenTunnel | TunnelRefusal> {
  const { proxy, target, credentials } = request;
  return new Promise((resolve) => {
    let step: TunnelRefusal['step'] = 'dial';
    const socket = dialProxy(request, (reached) => {
      step = reached;
    });
    const asking = nodeHttp.request({
      method: 'CONNECT',
      path: target.text,
      headers: {
        Host: target.text,
        'User-Agent': 'sallyport',
        ...(credentials === null ? {} : { 'Proxy-Authorization': basicAuthorization(credentials) }),
      },
      maxHeaderSize: ANSWER_HEAD_BYTES,
      createConnection: () => socket,
    });
    let settled = false;
    const settle = (outcome: OpenTunnel | TunnelRefusal): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      if (!outcome.ok) socket.destroy();
      resolve(outcome);
    };
    const fail = (message: string, hint: string | null): void =>
      settle({ ok: false, step, message, hint, status: null, code: null });
    const timer = setTimeout(
      () => fail(`${proxy.place} ${WAITED_FOR[step]} within ${request.timeoutMs} ms`, HINTS[step]),
      request.timeoutMs,
    );
    asking.on('error', (error: NodeJS.ErrnoException & { readonly reason?: string }) => {
      // With TLS 1.3 a proxy refuses a certificate, or the lack of one, after the client's side of the handshake is over.
      if (error.code?.startsWith('ERR_SSL')) step = 'tls';
      fail(`${proxy.place} ${FAILED_AT[step]}: ${error.reason ?? error.message}`, HINTS[step]);
    });
    // Any answer to CONNECT comes here, a refusal too.
    asking.on('connect', (response, _socket, head: Buffer) => {
      if (response.statusCode !== 200) return settle(refusalOf(proxy.place, target, response));
      socket.on('error', () => {});
      if (head.length > 0) socket.unshift(head);
      settle({ ok: true, socket });
    });
    asking.end();
  });
}

function dialProxy(
  { proxy, proxyCa, certificate }: TunnelRequest,
  reached: (step: TunnelRefusal['step']) => void,
): net.Socket {
  const to = { host: proxy.host, port: proxy.port, allowHalfOpen: true };
  if (!proxy.secure) return net.connect(to, () => reached('answer'));
  const socket = tls.connect({
    ...to,
    ...tlsTo(proxy.host, proxyCa),
    ALPNProtocols: ['http/1.1'],
    ...certificate,
  });
  socket.once('connect', () => reached('tls'));
  socket.once('secureConnect', () => reached('answer'));
  return socket;
}

const WAITED_FOR: Readonly<Record<TunnelRefusal['step'], string>> = {
  dial: 'did not accept the connection',
  tls: 'did not complete its TLS handshake',
  answer: 'did not answer the CONNECT',
  refused: 'did not answer the CONNECT',
};

const FAILED_AT: Readonly<Record<TunnelRefusal['step'], string>> = {
  dial: 'cannot be reached',
  tls: 'failed in its TLS handshake',
  answer: 'gave no usable answer',
  refused: 'gave no usable answer',
};

const HINTS: Readonly<Record<TunnelRefusal['step'], string>> = {
  dial: 'Check the host and port of the proxy URL, and that this machine may reach them.',
  tls: 'Is it an https:// proxy, and is its certificate trusted here? --proxy-ca FILE or NODE_EXTRA_CA_CERTS adds an authority; --cert and --key are for one that asks for a certificate.',
  answer: 'Is it an HTTP proxy? One that speaks TLS to its clients needs https:// in its URL.',
  refused: '',
};

function refusalOf(place: string, target: Authority, response: http.IncomingMessage): TunnelRefusal {
  const status = response.statusCode ?? 0;
  const code = single(response, 'sallyport-code');
  const id = single(response, 'sallyport-request-id');
  const statusLine = `HTTP/${response.httpVersion} ${status} ${response.statusMessage ?? ''}`.trimEnd();
  const asked = id === null ? '' : ` (request id ${id})`;
  return {
    ok: false,
    step: 'refused',
    message: `${place} refused ${target.text}: ${statusLine}${asked}`,
    hint: single(response, 'sallyport-hint') ?? (status === 407 ? CREDENTIALS_HINT : null),
    status,
    code,
  };
}

const CREDENTIALS_HINT =
  'The proxy wants credentials: put them into its URL, or into a file named by --credentials-file.';

function single(response: http.IncomingMessage, name: string): string | null {
  const value = response.headers[name];
  return typeof value === 'string' && value !== '' ? value : null;
}
