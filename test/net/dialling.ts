// What the tests of the dialer share: origins on loopback, and a connect that records what is dialled.
import net from 'node:net';
import { type Dial, type Dialled, type DialOptions, dial } from '../../src/net/dial.ts';
import { type Origin, startOrigin } from '../support/origin.ts';

export const HOUR_MS = 3_600_000;
const closers: (() => Promise<void> | void)[] = [];

/** For afterEach: closes whatever the helpers below have opened. */
export async function closeAll(): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close();
}

export async function origin(handler: (socket: net.Socket) => void, host = '127.0.0.1'): Promise<Origin> {
  const started = await startOrigin(handler, { host });
  closers.push(() => started.close());
  return started;
}

/** A port of loopback on which nobody listens. */
export async function closedPort(): Promise<number> {
  const started = await startOrigin(() => {});
  await started.close();
  return started.port;
}

type Ended = Dialled & { readonly dial: Dial };

export function run(options: Partial<DialOptions> & Pick<DialOptions, 'addresses' | 'port'>): Promise<Ended> {
  return new Promise((resolve) => {
    const under = dial({ timeoutMs: HOUR_MS, attemptDelayMs: HOUR_MS, ...options }, (dialled) => {
      if (dialled.ok) closers.push(() => void dialled.socket.destroy());
      resolve({ ...dialled, dial: under });
    });
  });
}

/** A connect that records what is dialled; the addresses of `scripted` get the socket made there, which nobody connects. */
export function script(scripted: Readonly<Record<string, (socket: net.Socket) => void>> = {}) {
  const dialled: string[] = [];
  const sockets: net.Socket[] = [];
  const connect = (options: net.NetConnectOpts): net.Socket => {
    const { host = '' } = options as net.TcpNetConnectOpts;
    dialled.push(host);
    const act = scripted[host];
    const socket = act === undefined ? net.connect(options) : new net.Socket();
    sockets.push(socket);
    act?.(socket);
    return socket;
  };
  return { dialled, sockets, connect };
}

export const silent = (): void => {};
export const failing =
  (code: string) =>
  (socket: net.Socket): void => {
    socket.destroy(Object.assign(new Error(code), { code }));
  };

export function listeners(socket: net.Socket): Record<string, number> {
  return { connect: socket.listenerCount('connect'), error: socket.listenerCount('error') };
}

export function winner(ended: Dialled): net.Socket {
  if (!ended.ok) throw new Error(`${ended.code}: ${ended.detail}`);
  return ended.socket;
}
