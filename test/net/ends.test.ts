// A reset right behind the last bytes is a reset, and an end is an end, whatever comes behind it: on each Node.js that is supported.
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, expect, it } from 'vitest';
import '../../src/net/ends.ts';

const open: { close(): unknown }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

type Leaves = 'with a reset' | 'with an end' | 'with an end and a reset';

/** A connection whose peer has said something and is gone, before anything of it is read. */
async function left(leaves: Leaves, before: (socket: net.Socket) => void = () => {}): Promise<net.Socket> {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1');
  open.push(server);
  await once(server, 'listening');
  const peer = net.connect({ port: (server.address() as net.AddressInfo).port, allowHalfOpen: true });
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  open.push({ close: () => socket.destroy() });
  before(socket);
  await new Promise<void>((resolve) => void peer.write('last words', () => resolve()));
  if (leaves !== 'with a reset') {
    peer.end();
    await once(peer, 'finish');
  }
  if (leaves === 'with an end') open.push({ close: () => peer.destroy() });
  else {
    peer.resetAndDestroy();
    await once(peer, 'close');
  }
  return socket;
}

/** All that is heard of it. */
function heard(socket: net.Socket, by: 'data' | 'readable'): Promise<string[]> {
  const said: string[] = [];
  return new Promise((resolve) => {
    const last = (word: string): void => {
      said.push(word);
      resolve(said);
    };
    socket.on('error', (error: NodeJS.ErrnoException) => last(error.code ?? error.name));
    socket.on('end', () => last('end'));
    if (by === 'data') socket.on('data', (bytes) => said.push(bytes.toString()));
    else {
      socket.on('readable', () => {
        for (let bytes = socket.read() as Buffer | null; bytes !== null; bytes = socket.read() as Buffer | null) {
          said.push(bytes.toString());
        }
      });
    }
    socket.resume();
  });
}

it.each<[Leaves, 'data' | 'readable', string]>([
  ['with a reset', 'data', 'ECONNRESET'],
  ['with a reset', 'readable', 'ECONNRESET'],
  ['with an end', 'data', 'end'],
  ['with an end', 'readable', 'end'],
  ['with an end and a reset', 'data', 'end'],
])('who leaves %s is heard so by %s: %s', async (leaves, by, word) => {
  expect(await heard(await left(leaves), by)).toEqual(['last words', word]);
});

it('a reset is heard by who has ended its own side', async () => {
  const socket = await left('with a reset', (own) => own.end());
  expect(await heard(socket, 'data')).toEqual(['last words', 'ECONNRESET']);
});

it('a reset is heard by who reads into a buffer of its own', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  open.push(server);
  await once(server, 'listening');
  const came = once(server, 'connection');
  const said: string[] = [];
  const socket = net.connect({
    port: (server.address() as net.AddressInfo).port,
    onread: {
      buffer: Buffer.alloc(1_024),
      callback: (count, bytes) => said.push(Buffer.from(bytes).toString('utf8', 0, count)) > 0,
    },
  });
  open.push({ close: () => socket.destroy() });
  await once(socket, 'connect');
  socket.pause();
  const [peer] = (await came) as [net.Socket];
  peer.write('last words', () => peer.resetAndDestroy());
  await once(peer, 'close');
  const last = new Promise<string>((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.name));
    socket.on('end', () => resolve('end'));
  });
  socket.resume();
  expect(await last).toBe('ECONNRESET');
  expect(said).toEqual(['last words']);
});
