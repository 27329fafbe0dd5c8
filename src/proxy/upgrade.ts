// WebSocket over plain HTTP. Node has detached its parser when it says 'upgrade', so the request gets a response object of its
// own; once the origin has answered 101, both sockets become a tunnel of the engine, counted, listed and drained like any other.
import type http from 'node:http';
import type net from 'node:net';
import { nodeHttp } from '../net/http.ts';
import type { ClientConnection } from './client-connection.ts';
import type { Engine } from './engine.ts';
import { linesText } from './field-lines.ts';
import { responseFields } from './fields.ts';
import type { Upgrade, UpgradeAnswer } from './forward.ts';

/** The response object of an upgrade request, and how to go on when the origin agrees; `upgrade` is null for other protocols. */
export function upgradeRequest(options: {
  engine: Engine;
  id: string;
  req: http.IncomingMessage;
  socket: net.Socket;
  early: Buffer;
  connection: ClientConnection;
}): { res: http.ServerResponse; upgrade: Upgrade | null } {
  const { engine, id, req, socket, early, connection } = options;
  const res = new nodeHttp.ServerResponse(req);
  // No parser reads this connection any more: it ends with this exchange.
  res.shouldKeepAlive = false;
  res.assignSocket(socket);
  res.once('finish', () => socket.destroySoon());
  // It may become a tunnel, so it is counted as one from its head on, like a CONNECT.
  engine.load++;
  const uncount = (): void => void engine.load--;
  res.once('close', uncount);
  const protocol = req.headers.upgrade ?? '';
  if (protocol.toLowerCase() !== 'websocket') return { res, upgrade: null };
  const accept = (answer: UpgradeAnswer): void => {
    res.detachSocket(socket);
    res.removeListener('close', uncount);
    uncount();
    connection.release();
    // What the origin sent right behind its 101 goes back into its socket, so that the tunnel reads it first.
    if (answer.early.length > 0) answer.origin.unshift(answer.early);
    engine.join({
      id,
      client: socket,
      origin: answer.origin,
      early,
      prefix: switchingHead(answer.response),
      done: answer.finish,
    });
  };
  return { res, upgrade: { protocol, accept } };
}

function switchingHead({ statusMessage = 'Switching Protocols', rawHeaders }: http.IncomingMessage): string {
  const fields = ['Connection', 'Upgrade', 'Upgrade', 'websocket', ...responseFields(rawHeaders, { kind: 'none' })];
  return `HTTP/1.1 101 ${statusMessage}\r\n${linesText(fields)}\r\n`;
}
