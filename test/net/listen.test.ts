// Sources of a listening socket. The descriptor that a service manager passes is tested over a real process boundary in e2e.
import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { handleOf, listen } from '../../src/net/listen.ts';

const open: net.Server[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

function server(answer: string): net.Server {
  const made = net.createServer((socket) => socket.end(answer));
  open.push(made);
  return made;
}

/** All that a fresh connection to the port is sent. */
async function said(port: number): Promise<string> {
  let text = '';
  for await (const chunk of net.connect(port, '127.0.0.1')) text += String(chunk);
  return text;
}

it('binds, and says which port the kernel gave', async () => {
  const { address } = await listen(server('bound'), { host: '127.0.0.1', port: 0 }, 16);
  expect(address).toMatchObject({ address: '127.0.0.1', family: 'IPv4' });
  expect(await said(address.port)).toBe('bound');
});

it('takes over the socket of another server', async () => {
  const first = server('first');
  const {
    address: { port },
  } = await listen(first, { host: '127.0.0.1', port: 0 }, 16);
  const { address } = await listen(server('second'), { handle: handleOf(first) }, 16);
  expect(address.port).toBe(port);
  expect(await said(port)).toBe('second');
});

it('rejects an address that is taken', async () => {
  const {
    address: { port },
  } = await listen(server('first'), { host: '127.0.0.1', port: 0 }, 16);
  await expect(listen(server('second'), { host: '127.0.0.1', port }, 16)).rejects.toThrow(/EADDRINUSE/);
});

it('rejects a descriptor that is no socket', async () => {
  const fd = openSync('/dev/null', 'r');
  await expect(listen(server('none'), { fd }, 16)).rejects.toThrow(/EINVAL/);
  closeSync(fd);
});
