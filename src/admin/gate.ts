// Who may ask the admin listener for anything: by the Host that was asked for, the site that asks, and the token. A page of
// another site may send requests from the operator's own browser (CSRF), and may make its own name point here (DNS rebinding):
// both are seen by their Host and Origin, and neither has the token, which is in no cookie. RFC 6454 (Origin), RFC 6750 (Bearer).
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { AdminError } from './admin-error.ts';
import type { Token } from './token.ts';

export interface GateOptions {
  readonly token: Token;
  readonly scheme: 'http' | 'https';
  /** Whether the certificate is for that name; null without one. */
  readonly certified: ((name: string) => boolean) | null;
}

export class Gate {
  readonly #options: GateOptions;

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /** @throws AdminError 403 where a page of another site asks, or the name is not ours */
  checkSource(req: IncomingMessage): void {
    const hosts = req.headersDistinct['host'] ?? [];
    const [host = ''] = hosts;
    if (hosts.length !== 1 || !this.#isOurs(host))
      throw new AdminError(403, 'admin-origin', 'the Host is no address, and no name of this listener');
    const { origin } = req.headers;
    if (origin !== undefined && origin.toLowerCase() !== `${this.#options.scheme}://${host.toLowerCase()}`)
      throw new AdminError(403, 'admin-origin', 'the Origin is another site');
    const site = req.headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin' && site !== 'none' && !isVisit(req))
      throw new AdminError(403, 'admin-origin', 'the request was made by a page of another site');
  }

  /** @throws AdminError 401 */
  checkToken(req: IncomingMessage): void {
    const [, given] = /^bearer +(\S+) *$/i.exec(req.headers.authorization ?? '') ?? [];
    if (given === undefined) throw new AdminError(401, 'admin-unauthorized', 'the request carries no token');
    if (!this.#options.token.is(given)) throw new AdminError(401, 'admin-unauthorized', 'the token is another one');
  }

  /** Rebinding needs a name: an address is ours because the request came here. */
  #isOurs(host: string): boolean {
    const name = host.replace(/:\d{1,5}$/, '').toLowerCase();
    if (name === 'localhost' || isIP(name) === 4) return true;
    if (name.startsWith('[') && name.endsWith(']') && isIP(name.slice(1, -1)) === 6) return true;
    return /^[a-z0-9.-]{1,253}$/.test(name) && (this.#options.certified?.(name) ?? false);
  }
}

/** Somebody followed a link to here: the browser leaves the other page and shows it nothing of the answer. */
function isVisit({ headers, method }: IncomingMessage): boolean {
  return method === 'GET' && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';
}
