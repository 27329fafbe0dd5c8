// Options that the commands of an agent's host share: which proxy, a file's text, a time in seconds.
import { readFileSync } from 'node:fs';
import type { ProxyRoad } from '../buildkite/client-tunnel.ts';
import {
  type Environment,
  hasControl,
  type ProxyCredentials,
  type ProxyUrl,
  parseProxyUrl,
  proxyOfEnvironment,
} from '../buildkite/proxy-url.ts';
import { SallyportError } from '../errors.ts';
import { type Input, usage } from './input.ts';

const CREDENTIALS_VARIABLE = 'SALLYPORT_PROXY_CREDENTIALS';
const MS_PER_S = 1_000;
const TIMEOUT_MAX_S = 600;

/** --proxy, else what the environment names for https; null where neither does. */
export function proxyOption(input: Input, env: Environment): ProxyUrl | null {
  const given = input.text('proxy');
  const named = given === null ? proxyOfEnvironment(env) : { from: '--proxy', text: given };
  if (named === null) return null;
  const proxy = parseProxyUrl(named.text);
  if (proxy !== null) return proxy;
  // The value may hold a password: it is not repeated.
  throw usage(
    `${named.from} is not http[s]://[USER[:PASSWORD]@]HOST[:PORT]`,
    'Percent-encode @ : / in user and password.',
  );
}

/** All that reaching the proxy takes; null where none is named. `ca` is the option with the certificates to trust. */
export function roadOption(input: Input, env: Environment, ca: 'ca' | 'proxy-ca'): ProxyRoad | null {
  const proxy = proxyOption(input, env);
  if (proxy === null) return null;
  return {
    proxy,
    credentials: credentialsOption(input, env) ?? proxy.credentials,
    proxyCa: fileOption(input, ca),
    certificate: certificateOption(input),
  };
}

function certificateOption(input: Input): ProxyRoad['certificate'] {
  const cert = fileOption(input, 'cert');
  const key = fileOption(input, 'key');
  if (cert !== null && key !== null) return { cert, key };
  if (cert === null && key === null) return null;
  throw usage(`--${cert === null ? 'cert' : 'key'} FILE is missing`, 'A certificate needs its key: give both.');
}

/** The text of the file that an option names; null where it is not given. */
export function fileOption(input: Input, option: string): string | null {
  const path = input.text(option);
  if (path === null) return null;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new SallyportError('config-unreadable', `--${option} ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** --timeout in milliseconds. */
export function timeoutOption(input: Input, defaultS: number): number {
  const text = input.text('timeout');
  if (text === null) return defaultS * MS_PER_S;
  const seconds = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (seconds >= 1 && seconds <= TIMEOUT_MAX_S) return seconds * MS_PER_S;
  throw usage(`--timeout ${JSON.stringify(text)} is not a whole number of seconds from 1 to ${TIMEOUT_MAX_S}`);
}

/** USER:PASSWORD from a file, then from the environment: both stay out of the process list. */
function credentialsOption(input: Input, env: Environment): ProxyCredentials | null {
  const file = fileOption(input, 'credentials-file');
  const text = file?.replace(/\r?\n$/, '') ?? env[CREDENTIALS_VARIABLE];
  if (text === undefined || text === '') return null;
  const colon = text.indexOf(':');
  if (colon < 0 || hasControl(text)) {
    const where = file === null ? CREDENTIALS_VARIABLE : '--credentials-file';
    throw usage(`${where} does not hold one line USER:PASSWORD`, 'The password may be empty: USER:');
  }
  return { user: text.slice(0, colon), password: text.slice(colon + 1) };
}
