// Talks to the admin listener of the proxy that runs with this policy file, on this host: its address and token come from there.
// Where it speaks TLS, that very certificate is expected and no other: the token must not go to somebody else.
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type http from 'node:http';
import https from 'node:https';
import { readToken } from '../admin/token.ts';
import type { AdminSettings, Settings } from '../config/config.ts';
import { OPERATOR_ERRORS, type OperatorErrorCode, SallyportError } from '../errors.ts';
import { nodeHttp } from '../net/http.ts';

const ANSWER_BYTES_MAX = 65_536;
const ANSWER_MS = 10_000;

export interface AdminTarget {
  readonly admin: AdminSettings;
  readonly token: string;
}

/** @throws SallyportError `admin-token`, `admin-unreachable` where the policy has no listener with a port of its own */
export function adminTarget({ admin }: Pick<Settings, 'admin'>): AdminTarget {
  if (admin === null) throw unreachable('`admin` is off in the policy');
  if (admin.port === 0 && admin.path === null)
    throw unreachable('`admin` has port 0 in the policy: only the kernel knows where it is');
  return { admin, token: readToken(admin.tokenFile) };
}

/**
 * Asks for a page with the token and gives its answer as a stream.
 * @throws SallyportError `admin-unreachable`, or the code that the listener answers
 */
export async function askAdmin(
  { admin, token }: AdminTarget,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<http.IncomingMessage> {
  let response: http.IncomingMessage;
  try {
    response = await requestAdmin(admin, path, { ...headers, Authorization: `Bearer ${token}` }, ANSWER_MS);
  } catch (error) {
    throw unreachable((error as Error).message, error);
  }
  if (response.statusCode === 200) return response;
  throw await refusal(response);
}

/** A listener on every address is asked on loopback. */
const LOOPBACK: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/**
 * Asks the listener, over TLS where it speaks that; rejects with Node's error.
 * @param answerMs time for the head of the answer
 */
export function requestAdmin(
  admin: AdminSettings,
  path: string,
  headers: Readonly<Record<string, string>>,
  answerMs: number,
): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const to =
      admin.path === null ? { host: LOOPBACK[admin.host] ?? admin.host, port: admin.port } : { socketPath: admin.path };
    const options = { ...to, path, headers: { Host: 'localhost', ...headers }, agent: false };
    const request =
      admin.tls === null ? nodeHttp.request(options) : https.request({ ...options, ...pinned(admin.tls.cert) });
    request.setTimeout(answerMs, () => request.destroy(new Error('it does not answer')));
    request.once('response', (answer) => {
      request.setTimeout(0);
      resolve(answer);
    });
    request.on('error', reject);
    request.end();
  });
}

/** No authority is asked: it must be the certificate of the file. */
function pinned(file: string): https.RequestOptions {
  const own = new X509Certificate(readFileSync(file));
  return {
    ca: own.toString(),
    allowPartialTrustChain: true,
    checkServerIdentity: (_, peer) =>
      peer.fingerprint256 === own.fingerprint256 ? undefined : new Error('it has another certificate'),
  } as https.RequestOptions;
}

async function refusal(response: http.IncomingMessage): Promise<SallyportError> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) {
    text += chunk;
    if (text.length > ANSWER_BYTES_MAX) break;
  }
  try {
    const { code, message, hint } = JSON.parse(text).error as { code: string; message: string; hint: string };
    if (Object.hasOwn(OPERATOR_ERRORS, code))
      return new SallyportError(
        code as OperatorErrorCode,
        `the admin listener answers ${response.statusCode}: ${message}`,
        {
          hint,
        },
      );
  } catch {
    // Something else has the port.
  }
  return unreachable(`something else answers there, with ${response.statusCode}`);
}

function unreachable(why: string, cause?: unknown): SallyportError {
  return new SallyportError('admin-unreachable', `the admin listener cannot be reached: ${why}`, { cause });
}
