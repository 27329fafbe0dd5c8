// Where the usage store is: a file, or a PostgreSQL database by its URL. PURE.
// A URL may hold a password: no message made here repeats any part of one but the names of its parameters, and showStore is
// the only text of a place that may be printed.

import { classifyAddress } from '../policy/address.ts';
import { hostText } from '../policy/authority.ts';

const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full'] as const;

/** A PostgreSQL database. Null where the environment of libpq decides (PGUSER, PGPASSWORD, PGPASSFILE). */
export interface PostgresPlace {
  /** A name, an address without brackets, or the folder of a Unix socket (begins with /). */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string | null;
  readonly password: string | null;
  /** Read at each connection, so that a changed password needs no restart. */
  readonly passwordFile: string | null;
  readonly ssl: (typeof SSL_MODES)[number];
  /** PEM files: authorities instead of the system's, and the client's own certificate with its key. */
  readonly rootCert: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

/** The path of a SQLite file, or a PostgreSQL database. */
export type StorePlace = string | PostgresPlace;

/** The place without its password: for every log, note, error and output. */
export function showStore(place: StorePlace): string {
  if (typeof place === 'string') return place;
  const { host, port, database, user } = place;
  const who = user === null ? '' : `${encodeURIComponent(user)}@`;
  const where = host.startsWith('/') ? encodeURIComponent(host) : hostText(host);
  return `postgres://${who}${where}:${port}/${encodeURIComponent(database)}`;
}

type Parsed = { readonly place: PostgresPlace } | { readonly problem: string; readonly hint?: string };

const EXAMPLE =
  'Write postgres://USER@HOST:PORT/DATABASE, or postgres:///DATABASE?host=/run/postgresql for a Unix socket.';
const PARAMETERS = ['host', 'port', 'user', 'sslmode', 'sslrootcert', 'sslcert', 'sslkey'] as const;

/** Reads a postgres:// URL as libpq does; what libpq knows and we do not is refused, never ignored. */
export function parsePostgresUrl(text: string): Parsed {
  // A URL with a user and no host is not one for the WHATWG parser; libpq takes it.
  const url = URL.parse(text);
  if (url === null) return { problem: 'the URL of the PostgreSQL store is malformed', hint: EXAMPLE };
  if (url.hash !== '')
    return { problem: 'the URL of the PostgreSQL store has a fragment (#)', hint: `Write # as %23. ${EXAMPLE}` };
  const unknown = [...url.searchParams.keys()].find((key) => !PARAMETERS.some((known) => known === key));
  if (unknown !== undefined)
    return {
      problem: `the URL parameter ${JSON.stringify(unknown.slice(0, 40))} is not supported`,
      hint: `Known are ${PARAMETERS.join(', ')}.`,
    };
  const parameter = (name: (typeof PARAMETERS)[number]): string | null => url.searchParams.get(name) || null;
  const host = parameter('host') ?? unbracketed(decoded(url.hostname));
  const database = decoded(url.pathname.slice(1));
  const port = Number(parameter('port') ?? (url.port || '5432'));
  if (host === null || host === '') return { problem: 'the URL of the PostgreSQL store names no host', hint: EXAMPLE };
  if (database === null || database === '' || database.includes('/'))
    return { problem: 'the URL of the PostgreSQL store names no database', hint: EXAMPLE };
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    return { problem: 'the port of the PostgreSQL store is not from 1 to 65535', hint: EXAMPLE };
  const user = parameter('user') ?? decoded(url.username);
  const password = decoded(url.password);
  if (user === null || password === null)
    return { problem: 'the user or password of the URL is badly escaped', hint: 'Write % as %25.' };
  const local = host.startsWith('/');
  const mode =
    parameter('sslmode') ??
    (local || host === 'localhost' || classifyAddress(host) === 'loopback' ? 'disable' : 'verify-full');
  const ssl = SSL_MODES.find((known) => known === mode);
  if (ssl === undefined)
    return {
      problem: 'sslmode is not one that is supported',
      hint: `Known are ${SSL_MODES.join(', ')}; prefer and allow would fall back to clear text.`,
    };
  if (local && ssl !== 'disable') return { problem: 'a Unix socket has no TLS', hint: 'Remove sslmode.' };
  const [rootCert, cert, key] = [parameter('sslrootcert'), parameter('sslcert'), parameter('sslkey')];
  if ((cert === null) !== (key === null)) return { problem: 'sslcert and sslkey belong together' };
  const credentials = { user: user || null, password: password || null, passwordFile: null };
  return { place: { host, port, database, ...credentials, ssl, rootCert, cert, key } };
}

function unbracketed(host: string | null): string | null {
  return host?.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
}

/** Null where the escapes are malformed. */
function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
