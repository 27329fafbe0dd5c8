// The origin's side of one inspected HTTP/1.1 connection, for Node's client: the connection that was made before the client's
// handshake, and when that has ended another one to the same checked addresses, verified as strictly. It serves one client alone:
// origins that know who asks by the connection (NTLM, Negotiate) must never see two.
import type http from 'node:http';
import type net from 'node:net';
import type tls from 'node:tls';
import { nodeHttp } from '../../net/http.ts';
import { DialError, type OriginOptions } from '../origin-agent.ts';
import type { InspectedConnection } from './connection.ts';

export class InspectedAgent extends nodeHttp.Agent {
  readonly #connection: InspectedConnection;
  readonly #trust: tls.SecureContext;

  constructor(connection: InspectedConnection, trust: tls.SecureContext) {
    super({ keepAlive: true, maxFreeSockets: 1, timeout: connection.ctx.limits.keep_alive_idle_ms });
    this.#connection = connection;
    this.#trust = trust;
  }

  override getName(options?: http.RequestOptions): string {
    return (options as OriginOptions).poolKey;
  }

  override createConnection(
    options: http.ClientRequestArgs,
    callback?: (error: Error | null, socket: net.Socket) => void,
  ): net.Socket | null | undefined {
    const { dialler } = options as OriginOptions;
    let asked = true;
    const fail = (error: DialError): void => {
      asked = false;
      dialler.cancelDial = null;
      // Node reads the error first and never touches the socket argument then.
      callback?.(error, undefined as unknown as net.Socket);
    };
    dialler.cancelDial = () => fail(new DialError('connect-failed', 'the request has ended'));
    void this.#connection.reach(this.#trust).then((reached) => {
      if (!asked) return void (reached.ok && reached.socket.destroy());
      if (!reached.ok) return fail(new DialError(reached.code, reached.detail));
      dialler.cancelDial = null;
      // Where Node sends a head ahead of its body (flushHeaders, Expect) it names no encoding: see origin-agent.ts.
      reached.socket.setDefaultEncoding('latin1');
      callback?.(null, reached.socket);
    });
    return undefined;
  }
}
