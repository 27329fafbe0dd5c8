// The proxy as a client names it: a URL from --proxy or the environment, read once and strictly, with its user information
// decoded. What is shown to people or written to a log is `place`, which never holds credentials.
import { parseAuthority } from '../policy/authority.ts';

export interface ProxyCredentials {
  readonly user: string;
  readonly password: string;
}

export interface ProxyUrl {
  /** True for https://: the connection to the proxy itself is TLS. */
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
  readonly credentials: ProxyCredentials | null;
  /** scheme://host:port, without user information. */
  readonly place: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where a proxy was found: the name of the variable or option, for messages. */
export interface NamedProxy {
  readonly from: string;
  readonly text: string;
}

/** In the order in which they are taken; curl too prefers lower case, Go the other. */
const PROXY_VARIABLES = ['https_proxy', 'HTTPS_PROXY', 'http_proxy', 'HTTP_PROXY'] as const;

const URL_FORM = /^(?:(https?):\/\/)?(?:([^/@\s]*)@)?([^/@\s]+?)\/?$/i;
const DEFAULT_PORTS = { http: 80, https: 443 } as const;

/**
 * Reads `[http[s]://][USER[:PASSWORD]@]HOST[:PORT][/]`. Without a scheme it is http, as curl and Go take it; without a port it
 * is the port of the scheme, as Go and Python take it.
 * @param defaultPort the port where the text names none, instead of the scheme's
 * @returns null where it is anything else
 */
export function parseProxyUrl(text: string, defaultPort?: number): ProxyUrl | null {
  const found = URL_FORM.exec(text);
  if (!found) return null;
  const [, schemeText, userInfo, place = ''] = found;
  const scheme = schemeText?.toLowerCase() === 'https' ? 'https' : 'http';
  const port = defaultPort ?? DEFAULT_PORTS[scheme];
  const parsed = parseAuthority(/:\d+$/.test(place) ? place : `${place}:${port}`);
  if (!parsed.ok) return null;
  const credentials = userInfo === undefined ? null : credentialsOf(userInfo);
  if (credentials === undefined) return null;
  const { authority } = parsed;
  return {
    secure: scheme === 'https',
    host: authority.host,
    port: authority.port,
    credentials,
    place: `${scheme}://${authority.text}`,
  };
}

/** `user[:password]`, percent-decoded (RFC 3986 §3.2.1); undefined where the encoding is broken or hides a control character. */
function credentialsOf(userInfo: string): ProxyCredentials | null | undefined {
  if (userInfo === '') return null;
  const colon = userInfo.indexOf(':');
  const user = decoded(colon < 0 ? userInfo : userInfo.slice(0, colon));
  const password = decoded(colon < 0 ? '' : userInfo.slice(colon + 1));
  // A colon in the user name cannot be said in Basic (RFC 7617 §2).
  if (user === undefined || password === undefined || user.includes(':')) return undefined;
  return { user, password };
}

function decoded(text: string): string | undefined {
  try {
    const plain = decodeURIComponent(text);
    return hasControl(plain) ? undefined : plain;
  } catch {
    return undefined;
  }
}

/** True where text has a control character, which no header field may carry. */
export function hasControl(text: string): boolean {
  return [...text].some((character) => character < ' ' || character === '\u007f');
}

/** The proxy that the environment names for a tunnel; null where none of the variables is set. */
export function proxyOfEnvironment(env: Environment): NamedProxy | null {
  for (const name of PROXY_VARIABLES) {
    const text = env[name]?.trim();
    if (text) return { from: name, text };
  }
  return null;
}

/** The value of Proxy-Authorization (RFC 7617). */
export function basicAuthorization({ user, password }: ProxyCredentials): string {
  return `Basic ${Buffer.from(`${user}:${password}`, 'utf8').toString('base64')}`;
}
