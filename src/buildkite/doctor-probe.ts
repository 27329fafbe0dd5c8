// One host asked for through the proxy, as a job would: CONNECT (the proxy resolves the name), TLS with its whole chain, and HTTP/2
// where the host speaks it. Each step is bounded, and its failure says what mends it. It sends no request to the host.
import type { EventEmitter } from 'node:events';
import http2 from 'node:http2';
import tls from 'node:tls';
import type { Authority } from '../policy/authority.ts';
import { tlsTo } from './client-tls.ts';
import { openTunnel, type ProxyRoad, type TunnelRefusal } from './client-tunnel.ts';
import { bad, type Check, ok } from './doctor-check.ts';

export interface Probe extends ProxyRoad {
  /** For each step. */
  readonly timeoutMs: number;
}

const MS_PER_S = 1_000;

type TlsOutcome =
  | { readonly ok: true; readonly socket: tls.TLSSocket; readonly issuer: string; readonly alpn: string }
  | { readonly ok: false; readonly check: Check };

/** A tunnel to the host and TLS in it, and how long both took. */
async function reach(probe: Probe, target: Authority): Promise<TlsOutcome & { readonly ms: number }> {
  const at = { area: 'host', subject: target.text } as const;
  const startedMs = performance.now();
  const took = (): number => Math.round(performance.now() - startedMs);
  const opened = await openTunnel({ ...probe, target });
  if (!opened.ok) {
    const { message, fix } = refusalText(opened, target);
    return { ok: false, check: bad('fail', at, message, fix, took()), ms: took() };
  }
  return new Promise((resolve) => {
    const socket = tls.connect({
      socket: opened.socket,
      ...tlsTo(target.host, probe.proxyCa),
      ALPNProtocols: ['h2', 'http/1.1'],
    });
    const fail = (message: string, fix: string): void => {
      clearTimeout(timer);
      socket.destroy();
      opened.socket.destroy();
      resolve({ ok: false, check: bad('fail', at, message, fix, took()), ms: took() });
    };
    const timer = setTimeout(
      () => fail(`the tunnel opens, TLS does not complete within ${probe.timeoutMs} ms`, TLS_FIX),
      probe.timeoutMs,
    );
    socket.once('error', (error: NodeJS.ErrnoException) =>
      fail(`the tunnel opens, TLS fails: ${error.message}`, tlsFix(error)),
    );
    socket.once('close', () => fail('the tunnel is closed during the TLS handshake', TLS_FIX));
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      socket.removeAllListeners('close');
      socket.removeAllListeners('error');
      socket.on('error', () => {});
      resolve({ ok: true, socket, issuer: issuerOf(socket), alpn: socket.alpnProtocol || 'http/1.1', ms: took() });
    });
  });
}

const TLS_FIX = 'Look for the host in the audit log: the proxy may have cut it (sni-mismatch, not-tls), or the origin.';

function tlsFix(error: NodeJS.ErrnoException): string {
  if (/EXPIRED|NOT_YET_VALID/.test(error.code ?? '')) return 'Look at the clock of this host, then at the certificate.';
  if (/certificate|self-signed|CERT_|altname/i.test(`${error.code} ${error.message}`))
    return 'If TLS is inspected on the way, this host must trust that authority: --ca FILE here, NODE_EXTRA_CA_CERTS and the like for jobs.';
  return TLS_FIX;
}

function issuerOf(socket: tls.TLSSocket): string {
  const { issuer } = socket.getPeerCertificate();
  // Node gives a list where a part stands several times.
  const name = issuer?.O ?? issuer?.CN ?? 'an unnamed authority';
  return Array.isArray(name) ? name.join(', ') : name;
}

function refusalText(refusal: TunnelRefusal, target: Authority): { message: string; fix: string } {
  const fix = refusal.hint ?? 'The status line says why.';
  switch (refusal.code) {
    case 'dns-failed':
    case 'dns-timeout':
      return { message: `the proxy cannot resolve ${target.host} (${refusal.code})`, fix };
    case null:
      return { message: refusal.message, fix };
    default:
      return { message: `the proxy refuses it: ${refusal.status} ${refusal.code}`, fix };
  }
}

/** CONNECT, TLS and, where the host speaks it, an HTTP/2 ping; one line. */
export async function probeHost(probe: Probe, target: Authority): Promise<Check> {
  const at = { area: 'host', subject: target.text } as const;
  const reached = await reach(probe, target);
  if (!reached.ok) return reached.check;
  const { socket, issuer, alpn, ms } = reached;
  if (alpn !== 'h2') {
    socket.destroy();
    return ok(at, `CONNECT, TLS (certificate by ${issuer}), ${alpn}`, ms);
  }
  const pinged = await pingOver(socket, probe.timeoutMs);
  socket.destroy();
  if (pinged === null) return ok(at, `CONNECT, TLS (certificate by ${issuer}), HTTP/2 answers a ping`, ms);
  return bad(
    'warn',
    at,
    `CONNECT and TLS, but HTTP/2 does not: ${pinged}`,
    'Agents from 3.122 stream over HTTP/2; look at what is between the proxy and the host.',
    ms,
  );
}

/** An HTTP/2 session in the tunnel; it opens no stream. */
function sessionOver(socket: tls.TLSSocket): http2.ClientHttp2Session {
  const session = http2.connect('https://host.invalid', { createConnection: () => socket });
  session.on('error', () => {});
  return session;
}

/** A ping on a new session; null where it was answered, else what happened. */
async function pingOver(socket: tls.TLSSocket, timeoutMs: number): Promise<string | null> {
  const session = sessionOver(socket);
  const outcome = await answersPing(session, timeoutMs);
  session.destroy();
  return outcome;
}

function answersPing(session: http2.ClientHttp2Session, timeoutMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    const settle = (outcome: string | null): void => {
      clearTimeout(timer);
      resolve(outcome);
    };
    const timer = setTimeout(() => settle(`no answer to a ping within ${timeoutMs} ms`), timeoutMs);
    session.once('error', (error) => settle(error.message));
    session.once('close', () => settle('the connection was closed'));
    session.ping((error) => settle(error === null ? null : error.message));
  });
}

/** Any answer to a HEAD; null where there was one. */
function answersHead(socket: tls.TLSSocket, target: Authority, timeoutMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    const settle = (outcome: string | null): void => {
      clearTimeout(timer);
      resolve(outcome);
    };
    const timer = setTimeout(() => settle(`no answer to a request within ${timeoutMs} ms`), timeoutMs);
    socket.once('data', () => settle(null));
    socket.once('close', () => settle('the connection was closed'));
    socket.write(`HEAD / HTTP/1.1\r\nHost: ${target.text}\r\nConnection: close\r\n\r\n`);
  });
}

/** Whether one of the events came within the time. */
function cameWithin(emitter: EventEmitter, events: readonly string[], ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), ms);
    for (const event of events) {
      emitter.once(event, () => {
        clearTimeout(timer);
        resolve(true);
      });
    }
  });
}

/** A tunnel that nobody uses for so long, and is asked to carry something then. Agents' streams are quiet for up to 30 s. */
export async function probeIdle(probe: Probe, target: Authority, idleMs: number): Promise<Check> {
  const at = { area: 'stream', subject: target.text } as const;
  const reached = await reach(probe, target);
  if (!reached.ok) return { ...reached.check, area: 'stream' };
  const { socket, alpn } = reached;
  const startedMs = performance.now();
  // The session is there from the beginning, or what the host sends first would be lost to it.
  const session = alpn === 'h2' ? sessionOver(socket) : null;
  if (session === null) socket.resume();
  const closed = await cameWithin(session ?? socket, ['end', 'close'], idleMs);
  const seconds = Math.round((performance.now() - startedMs) / MS_PER_S);
  const dead = closed
    ? null
    : session === null
      ? await answersHead(socket, target, probe.timeoutMs)
      : await answersPing(session, probe.timeoutMs);
  session?.destroy();
  socket.destroy();
  if (closed) return bad('warn', at, `an idle tunnel was closed after ${seconds} s`, CLOSED_FIX);
  if (dead === null) return ok(at, `a tunnel that was idle for ${seconds} s still carries`);
  return bad('fail', at, `a tunnel that was idle for ${seconds} s is open and dead: ${dead}`, DEAD_FIX);
}

const CLOSED_FIX =
  'Its ended record says by whom; see limits.tunnel_idle_ms, and balancers between here and the proxy. Hosts close idle connections too.';
const DEAD_FIX =
  'Something on the way forgets idle connections without closing them: a NAT or a balancer with a short time-out.';
