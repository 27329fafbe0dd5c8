// CONNECT as a test speaks it: a tunnel that carries bytes, or the status line of the refusal.
import { expect } from 'vitest';
import { RawClient } from './raw-client.ts';

type Proxy = Parameters<typeof RawClient.connect>[0];

async function connect(proxy: Proxy, host: string, port: number): Promise<{ client: RawClient; status: string }> {
  const client = await RawClient.connect(proxy);
  client.send(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`);
  const { status, reason } = await client.readHead();
  return { client, status: `${status} ${reason}` };
}

/** Opens a tunnel to an echo and proves that it carries bytes. */
export async function openTunnel(proxy: Proxy, host: string, port: number): Promise<RawClient> {
  const { client, status } = await connect(proxy, host, port);
  expect(status).toMatch(/^200 /);
  await ping(client);
  return client;
}

/** Four bytes there and back. */
export async function ping(client: RawClient): Promise<void> {
  client.send('ping');
  expect((await client.read(4)).toString()).toBe('ping');
}

/** Status and reason of one CONNECT. */
export async function askedFor(proxy: Proxy, host: string, port: number): Promise<string> {
  const { client, status } = await connect(proxy, host, port);
  client.close();
  return status;
}
