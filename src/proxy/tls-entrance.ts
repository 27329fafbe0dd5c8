// The way into the proxy over TLS (1.2 or later, ALPN http/1.1 alone): a connection that has a slot shakes hands here, in bounded time,
// and then goes the way of every other. A client certificate, where there is one, is its identity. Another certificate of ours
// counts for the next handshake; what is open is not touched.
import type net from 'node:net';
import tls from 'node:tls';
import type { CertificateSettings } from '../config/identity.ts';
import { certificateIdentity, namesOf } from '../identity/certificates.ts';
import type { Client } from '../identity/identify.ts';
import type { ProxyContext } from './context.ts';
import { carriedBy } from './tunnel.ts';

export interface TlsMaterial {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** Who issues the certificates of clients; null where none are asked for. */
  readonly clientCa: string | null;
}

export interface TlsRules {
  /** Whether a client must have a certificate. */
  readonly required: boolean;
  readonly certificates: readonly CertificateSettings[];
}

/** Takes a connection whose handshake is done. */
type Arrived = (socket: net.Socket, client: Client) => void;

const ALPN = 'http/1.1';
/** OpenSSL's code for a client without a certificate where one is required. */
const WITHOUT_CERTIFICATE = 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE';

interface Shaking {
  readonly raw: net.Socket;
  readonly client: Client;
  readonly arrived: Arrived;
}

export class TlsEntrance {
  readonly #ctx: ProxyContext;
  readonly #server: tls.Server;
  readonly #shaking = new Map<string, Shaking>();
  #rules: TlsRules;

  /** @throws Error where certificate and key are none, or do not belong together */
  constructor(ctx: ProxyContext, material: TlsMaterial, rules: TlsRules) {
    this.#ctx = ctx;
    this.#rules = rules;
    // It never listens: connections are given to it.
    this.#server = tls.createServer({
      ...contextOf(material),
      ALPNProtocols: [ALPN],
      handshakeTimeout: ctx.limits.tls_handshake_timeout_ms,
      requestCert: material.clientCa !== null,
      rejectUnauthorized: material.clientCa !== null && rules.required,
    });
    this.#server.on('secureConnection', (socket) => this.#done(socket));
    this.#server.on('tlsClientError', (error, socket) => this.#failed(error, socket));
  }

  /** For the next handshakes. @throws Error as the constructor does; then the material before goes on */
  renew(material: TlsMaterial): void {
    this.#server.setSecureContext(contextOf(material));
  }

  /** What certificates prove from now on. Whether one is required is a matter of the start. */
  use(rules: TlsRules): void {
    this.#rules = rules;
  }

  /** Shakes hands. `arrived` is called once, or never: then the socket is closed. */
  shake(raw: net.Socket, client: Client, arrived: Arrived): void {
    const key = keyOf(raw);
    if (key === null) return void raw.destroy();
    this.#shaking.set(key, { raw, client, arrived });
    raw.once('close', () => void this.#shaking.delete(key));
    raw.on('error', ignore);
    this.#server.emit('connection', raw);
  }

  #done(socket: tls.TLSSocket): void {
    const key = keyOf(socket);
    const shaking = key === null ? undefined : this.#shaking.get(key);
    if (shaking === undefined) return void socket.destroy();
    socket.on('error', ignore);
    const identified = this.#identified(socket, shaking.client);
    if (identified === null) return void socket.destroy();
    carriedBy(socket, shaking.raw);
    // Who takes it over listens for errors from the first moment on.
    shaking.arrived(socket, identified);
    socket.removeListener('error', ignore);
  }

  /** Null where a certificate was sent that nobody we trust has issued. */
  #identified(socket: tls.TLSSocket, client: Client): Client | null {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return this.#rules.required ? null : client;
    if (!socket.authorized) {
      const code = String(socket.authorizationError);
      this.#ctx.log.warn({ client: client.address, code }, 'a client certificate was refused');
      return null;
    }
    const identity = certificateIdentity(namesOf(certificate), this.#rules.certificates, client.identity);
    return { ...client, identity };
  }

  #failed(error: NodeJS.ErrnoException, socket: tls.TLSSocket): void {
    const key = keyOf(socket);
    const client = key === null ? undefined : this.#shaking.get(key)?.client.address;
    socket.destroy();
    // Health checks and port scans end so.
    if (error.code === 'ECONNRESET') return;
    if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') this.#ctx.meter.hit('tls_handshake_timeout_ms');
    const code = error.code ?? 'unknown';
    const what = code === WITHOUT_CERTIFICATE ? 'a client without a certificate was refused' : 'a TLS handshake failed';
    this.#ctx.log.warn({ client, code }, what);
  }
}

export function contextOf({ cert, key, clientCa }: TlsMaterial): tls.SecureContextOptions {
  return { cert, key, minVersion: 'TLSv1.2', ...(clientCa === null ? {} : { ca: clientCa }) };
}

/** The connection by its ends: a TLS socket has those of the one that carries it. */
function keyOf({ remoteAddress, remotePort, localAddress, localPort }: net.Socket): string | null {
  return remoteAddress === undefined ? null : `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

function ignore(): void {
  // The 'close' that follows every error is what is acted on.
}
