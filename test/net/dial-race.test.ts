// The dialer with several addresses; those that never answer are sockets that nobody connects.
import { once } from 'node:events';
import type net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type Dialled, dial } from '../../src/net/dial.ts';
import { closeAll, failing, HOUR_MS, listeners, origin, run, script, silent, winner } from './dialling.ts';

afterEach(closeAll);

describe('several addresses', () => {
  test('the first that answers is the only one dialled', async () => {
    const { port } = await origin(() => {});
    const { connect, dialled } = script();
    const ended = await run({ addresses: ['127.0.0.1', '127.0.0.2'], port, connect });
    expect(ended).toMatchObject({ ok: true, address: '127.0.0.1' });
    expect(dialled).toEqual(['127.0.0.1']);
  });

  test('a refused one is followed at once, however long the attempt delay', async () => {
    const { port } = await origin(() => {}, '127.0.0.2');
    const { connect, dialled } = script();
    const ended = await run({ addresses: ['127.0.0.1', '127.0.0.2'], port, connect });
    expect(ended).toMatchObject({ ok: true, address: '127.0.0.2' });
    expect(dialled).toEqual(['127.0.0.1', '127.0.0.2']);
  });

  test('a silent one is overtaken after the attempt delay, and destroyed', async () => {
    const { port } = await origin(() => {}, '127.0.0.2');
    const { connect, sockets } = script({ '192.0.2.1': silent, '192.0.2.2': silent });
    const addresses = ['192.0.2.1', '192.0.2.2', '127.0.0.2', '192.0.2.3'];
    const ended = await run({ addresses, port, attemptDelayMs: 10, connect });
    expect(ended).toMatchObject({ ok: true, address: '127.0.0.2' });
    expect(sockets.slice(0, 3).map((socket) => socket.destroyed)).toEqual([true, true, false]);
    expect(sockets.map(listeners)).toEqual(sockets.map(() => ({ connect: 0, error: 1 })));
  });

  test('the silent one may still win while the next is tried', async () => {
    const { connect, sockets } = script({
      '192.0.2.1': silent,
      '192.0.2.2': () => sockets[0]?.emit('connect'),
    });
    const ended = await run({ addresses: ['192.0.2.1', '192.0.2.2'], port: 443, attemptDelayMs: 10, connect });
    expect(ended).toMatchObject({ ok: true, address: '192.0.2.1' });
  });

  test('two that connect in the same turn give one winner', async () => {
    const { connect, sockets } = script({ '192.0.2.1': silent, '192.0.2.2': silent });
    const results: Dialled[] = [];
    const options = { addresses: ['192.0.2.1', '192.0.2.2'], port: 443, timeoutMs: HOUR_MS, attemptDelayMs: 10 };
    await new Promise<void>((resolve) => {
      const both = (o: net.NetConnectOpts): net.Socket => {
        const socket = connect(o);
        if (sockets.length === 2) setImmediate(resolve);
        return socket;
      };
      dial({ ...options, connect: both }, (dialled) => results.push(dialled));
    });
    for (const socket of sockets) socket.emit('connect');
    expect(results).toMatchObject([{ ok: true, address: '192.0.2.1' }]);
    expect(sockets.map((socket) => socket.destroyed)).toEqual([false, true]);
    sockets[0]?.destroy();
  });

  test('the last one pending does not end the race while an earlier one is silent', async () => {
    const { connect, sockets } = script({
      '192.0.2.1': silent,
      '192.0.2.2': (socket) => {
        failing('ENETUNREACH')(socket);
        socket.once('close', () => sockets[0]?.emit('connect'));
      },
    });
    const ended = await run({ addresses: ['192.0.2.1', '192.0.2.2'], port: 443, attemptDelayMs: 10, connect });
    expect(ended).toMatchObject({ ok: true, address: '192.0.2.1' });
  });

  test.each([
    [['ENETUNREACH', 'ECONNREFUSED'], 'connect-refused'],
    [['ECONNREFUSED', 'EHOSTUNREACH'], 'connect-refused'],
    [['ENETUNREACH', 'ETIMEDOUT'], 'connect-timeout'],
    [['ETIMEDOUT', 'ECONNREFUSED'], 'connect-refused'],
    [['ENETUNREACH', 'EHOSTUNREACH'], 'connect-failed'],
  ] as const)('%j is told as %s', async ([first, second], code) => {
    const { connect } = script({ '192.0.2.1': failing(first), '192.0.2.2': failing(second) });
    const ended = await run({ addresses: ['192.0.2.1', '192.0.2.2'], port: 443, connect });
    expect(ended).toMatchObject({ ok: false, code, detail: `192.0.2.1 ${first}, 192.0.2.2 ${second}` });
  });

  test('the overall time ends all of them; those never tried are counted', async () => {
    const { connect, sockets } = script({ '192.0.2.1': failing('ENETUNREACH'), '192.0.2.2': silent });
    const addresses = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'];
    const ended = await run({ addresses, port: 443, timeoutMs: 100, connect });
    const detail = '192.0.2.1 ENETUNREACH, 192.0.2.2 no answer within 100 ms, 2 not tried';
    expect(ended).toMatchObject({ ok: false, code: 'connect-timeout', detail });
    expect(sockets.every((socket) => socket.destroyed)).toBe(true);
  });

  test('the detail is bounded', async () => {
    const addresses = Array.from({ length: 16 }, (_, i) => `192.0.2.${i + 1}`);
    const { connect } = script(Object.fromEntries(addresses.map((address) => [address, failing('EHOSTUNREACH')])));
    const ended = await run({ addresses, port: 443, connect });
    expect(ended).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/^192\.0\.2\.1 .* 192\.0\.2\.4 \w+, 12 more failed$/),
    });
  });
});

describe('cancel', () => {
  test('destroys every attempt and done is never called', async () => {
    const { connect, sockets } = script({ '192.0.2.1': silent, '192.0.2.2': silent });
    const results: Dialled[] = [];
    await new Promise<void>((resolve) => {
      const options = {
        addresses: ['192.0.2.1', '192.0.2.2', '192.0.2.3'],
        port: 443,
        timeoutMs: HOUR_MS,
        attemptDelayMs: 10,
      };
      const under = dial({ ...options, connect }, (dialled) => results.push(dialled));
      sockets[0]?.once('close', resolve);
      under.cancel();
      under.cancel();
    });
    expect(sockets.map((socket) => socket.destroyed)).toEqual([true]);
    expect(sockets.map(listeners)).toEqual([{ connect: 0, error: 1 }]);
    for (const socket of sockets) socket.emit('connect');
    expect(results).toEqual([]);
  });

  test('a real connection under way is given up', async () => {
    const { port } = await origin(() => {});
    const { connect, sockets } = script();
    const results: Dialled[] = [];
    const under = dial(
      { addresses: ['127.0.0.1'], port, timeoutMs: HOUR_MS, attemptDelayMs: HOUR_MS, connect },
      (dialled) => results.push(dialled),
    );
    const [socket] = sockets as [net.Socket];
    const closed = once(socket, 'close');
    under.cancel();
    await closed;
    expect(results).toEqual([]);
  });

  test('after a success it leaves the socket alone', async () => {
    const { port } = await origin(() => {});
    const ended = await run({ addresses: ['127.0.0.1'], port });
    ended.dial.cancel();
    expect(winner(ended).destroyed).toBe(false);
  });
});

describe('onread', () => {
  test('each attempt has buffers of its own, and the winner’s bytes land in the winner’s', async () => {
    const { port } = await origin((socket) => socket.end('hello'), '127.0.0.2');
    const { connect } = script({ '192.0.2.1': silent });
    const reads: { buffer: Buffer; got: string }[] = [];
    const ended = await run({
      addresses: ['192.0.2.1', '127.0.0.2'],
      port,
      attemptDelayMs: 10,
      connect,
      onread: () => {
        const read = { buffer: Buffer.alloc(64), got: '' };
        reads.push(read);
        return {
          buffer: read.buffer,
          callback: (bytes, buffer) => {
            read.got += Buffer.from(buffer.buffer, buffer.byteOffset, bytes).toString();
            return true;
          },
        };
      },
    });
    await once(winner(ended), 'end');
    expect(reads.map(({ got }) => got)).toEqual(['', 'hello']);
  });

  test('a factory that throws is a failed attempt, and the next address is tried', async () => {
    const { port } = await origin(() => {}, '127.0.0.2');
    let calls = 0;
    const ended = await run({
      addresses: ['127.0.0.1', '127.0.0.2'],
      port,
      onread: () => {
        calls += 1;
        if (calls === 1) throw new RangeError('no buffer');
        return { buffer: Buffer.alloc(64), callback: () => true };
      },
    });
    expect(ended).toMatchObject({ ok: true, address: '127.0.0.2' });
  });
});
