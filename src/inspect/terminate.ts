// The two handshakes of an inspected connection: ours with the origin, verified strictly, and the client's with us. Each gives a
// decrypted stream and the protocol that was agreed on, or says why there is none. HTTP is not understood here.
import type net from 'node:net';
import tls from 'node:tls';
import type { RequestErrorCode } from '../errors.ts';
import type { Meter } from '../limits.ts';
import type { Authority } from '../policy/authority.ts';

export type Protocol = 'h2' | 'http/1.1';
const SPOKEN: readonly string[] = ['h2', 'http/1.1'] satisfies Protocol[];

/** What of a client's offers is understood here, in its order. */
export function spokenOf(offers: readonly string[]): Protocol[] {
  return offers.filter((offer): offer is Protocol => SPOKEN.includes(offer));
}

/** Why there is no decrypted stream. */
export interface HandshakeFailure {
  readonly code: RequestErrorCode;
  readonly detail: string;
}

export type Secured =
  /** `protocol` is null where none was negotiated: that is HTTP/1.1. */
  | { readonly ok: true; readonly socket: tls.TLSSocket; readonly protocol: Protocol | null }
  | ({ readonly ok: false } & HandshakeFailure);

/** A handshake under way; does nothing once it is over. */
export interface Handshake {
  cancel(): void;
}

/** Chain, name and version are checked by OpenSSL and Node; what fails is never used. `done` is called once, unless it is cancelled. */
export function secureOrigin(
  raw: net.Socket,
  order: {
    readonly authority: Authority;
    readonly offers: readonly Protocol[];
    /** Who is trusted. */
    readonly context: tls.SecureContext;
    /** limits.tls_handshake_timeout_ms, and who counts it. */
    readonly timeoutMs: number;
    readonly meter: Meter;
  },
  done: (secured: Secured) => void,
): Handshake {
  const { authority, offers, context, timeoutMs } = order;
  const socket = tls.connect({
    socket: raw,
    // RFC 6066 §3: an address never stands in the SNI; it is compared with the certificate all the same.
    host: authority.host,
    servername: authority.kind === 'name' ? authority.host : '',
    secureContext: context,
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
    ...(offers.length > 0 ? { ALPNProtocols: [...offers] } : {}),
  });
  return shake(socket, raw, 'secureConnect', order, done, {
    agreed: () => agreed(socket),
    failed: (error) => {
      // Node sets it where the chain or the name is not as it should be, and nowhere else.
      const certificate = socket.authorizationError;
      if (certificate) return { code: 'upstream-certificate', detail: `${error?.message ?? certificate}` };
      return { code: 'upstream-tls', detail: error ? detailOf(error) : 'it closed during the handshake' };
    },
    late: { code: 'upstream-tls', detail: `the handshake was not over within ${timeoutMs} ms` },
  });
}

/** Alerts by which a client says that it does not take our certificate (RFC 8446 §6.2). */
const REJECTIONS =
  /ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_\w+|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED|ECH_REQUIRED)$/;

/** `protocol` is what the origin has chosen. `done` is called once, unless it is cancelled. */
export function secureClient(
  raw: net.Socket,
  order: {
    /** The certificate that stands for the host. */
    readonly context: tls.SecureContext;
    readonly protocol: Protocol | null;
    /** limits.tls_handshake_timeout_ms, and who counts it. */
    readonly timeoutMs: number;
    readonly meter: Meter;
  },
  done: (secured: Secured) => void,
): Handshake {
  const { context, protocol, timeoutMs } = order;
  const socket = new tls.TLSSocket(raw, {
    isServer: true,
    secureContext: context,
    ...(protocol === null ? {} : { ALPNProtocols: [protocol] }),
  });
  return shake(socket, raw, 'secure', order, done, {
    agreed: () => {
      // As tls.Server does on sockets of its own; HTTP/2 waits for it.
      Object.assign(socket, { secureConnecting: false });
      return protocol;
    },
    failed: (error) => {
      if (error?.code && REJECTIONS.test(error.code)) return { code: 'client-rejected-ca', detail: error.code };
      // It has sent a hello that was good, has seen our certificate and has left without a word, as Node does.
      if (!error || error.code === 'ECONNRESET')
        return { code: 'client-rejected-ca', detail: 'it closed when it had seen the certificate' };
      return { code: 'client-tls', detail: detailOf(error) };
    },
    late: { code: 'client-tls', detail: `the handshake was not over within ${timeoutMs} ms` },
  });
}

function shake(
  socket: tls.TLSSocket,
  raw: net.Socket,
  success: 'secure' | 'secureConnect',
  { timeoutMs, meter }: { readonly timeoutMs: number; readonly meter: Meter },
  done: (secured: Secured) => void,
  words: {
    readonly agreed: () => Protocol | null;
    readonly failed: (error: NodeJS.ErrnoException | null) => HandshakeFailure;
    readonly late: HandshakeFailure;
  },
): Handshake {
  let over = false;
  const end = (failure: HandshakeFailure | null): void => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    socket.removeListener('end', onEnd);
    socket.removeListener('close', onEnd);
    raw.removeListener('close', onEnd);
    // The listener for errors stays: whoever takes the socket has one from the first moment on.
    if (failure === null) return done({ ok: true, socket, protocol: words.agreed() });
    socket.destroy();
    raw.destroy();
    done({ ok: false, ...failure });
  };
  const onEnd = (): void => end(words.failed(null));
  const timer = setTimeout(() => {
    meter.hit('tls_handshake_timeout_ms');
    end(words.late);
  }, timeoutMs);
  socket.on('error', (error: NodeJS.ErrnoException) => end(words.failed(error)));
  socket.on('end', onEnd);
  socket.on('close', onEnd);
  raw.on('close', onEnd);
  // One that has gone before it could be spoken to says nothing any more.
  if (raw.destroyed || !raw.writable) process.nextTick(onEnd);
  socket.once(success, () => end(null));
  return {
    cancel: () => {
      over = true;
      clearTimeout(timer);
      socket.destroy();
      raw.destroy();
    },
  };
}

function agreed({ alpnProtocol }: tls.TLSSocket): Protocol | null {
  return spokenOf(typeof alpnProtocol === 'string' ? [alpnProtocol] : [])[0] ?? null;
}

function detailOf({ code, message }: NodeJS.ErrnoException): string {
  return code ?? message;
}
