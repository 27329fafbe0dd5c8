// What every TLS client here gives to tls.connect: the name that the certificate must have, and whom to trust besides the usual ones.
import net from 'node:net';
import tls from 'node:tls';

/** Options for a host as it was asked for; `ca` is PEM. An address is no server name (RFC 6066 §3), and is still checked. */
export function tlsTo(host: string, ca: string | null): tls.ConnectionOptions {
  return {
    host,
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === null ? {} : { ca: [...tls.rootCertificates, ca] }),
  };
}
