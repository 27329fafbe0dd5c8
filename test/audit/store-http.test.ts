// What comes back from an object store is bounded, whatever it says of itself.
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { expect, it } from 'vitest';
import { sendToStore } from '../../src/audit/store-http.ts';
import { tempDir } from '../support/temp.ts';

it('takes as much of a file as it may have, and ends a longer one that says nothing of its length', async () => {
  let sent = 0;
  function* endless(): Generator<Buffer> {
    for (; sent < 1_000_000_000; sent += 65_536) yield Buffer.alloc(65_536);
  }
  const server = http.createServer((request, response) => {
    if (request.url === '/1000') response.end(Buffer.alloc(1_000));
    else pipeline(Readable.from(endless()), response).catch(() => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const file = join(tempDir('store'), 'object');
  const get = (path: string, bytesMax: number) => {
    const url = new URL(path, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    return sendToStore({ method: 'GET', url, headers: {}, into: { file, bytesMax } }, { timeoutMs: 10_000 });
  };
  try {
    await expect(get('/1000', 1_000)).resolves.toMatchObject({ status: 200 });
    expect(fs.statSync(file).size).toBe(1_000);
    await expect(get('/1000', 999)).rejects.toThrow('the answer has more than 999 bytes');
    await expect(get('/endless', 100_000)).rejects.toThrow('the answer has more than 100000 bytes');
    expect(fs.statSync(file).size).toBeLessThanOrEqual(100_000);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  // Far less than all: what the buffers on the way take.
  expect(sent).toBeLessThan(1_000_000_000);
});
