// The dialer with one address, over real loopback sockets.
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type Dialled, dial } from '../../src/net/dial.ts';
import { closeAll, closedPort, failing, HOUR_MS, listeners, origin, run, script, silent, winner } from './dialling.ts';

afterEach(closeAll);

describe('one address', () => {
  test('is connected; the socket has one error listener and none of the dialer’s own', async () => {
    const { port } = await origin(() => {});
    const ended = await run({ addresses: ['127.0.0.1'], port });
    expect(ended).toMatchObject({ ok: true, address: '127.0.0.1' });
    expect(winner(ended).remotePort).toBe(port);
    expect(listeners(winner(ended))).toEqual({ connect: 0, error: 1 });
  });

  test('the options are those of a tunnel: no name look-up, no second family, half-open, no delay, keep-alive', async () => {
    const { port } = await origin(() => {});
    let seen: net.NetConnectOpts | undefined;
    await run({
      addresses: ['127.0.0.1'],
      port,
      connect: (options) => {
        seen = options;
        return net.connect(options);
      },
    });
    expect(seen).toEqual({
      host: '127.0.0.1',
      port,
      allowHalfOpen: true,
      noDelay: true,
      autoSelectFamily: false,
    });
  });

  test('a server that speaks first loses no byte when the caller attaches inside done', async () => {
    const { port } = await origin((socket) => socket.end('SSH-2.0-banner\r\n'));
    const text = await new Promise<string>((resolve) => {
      let got = '';
      dial({ addresses: ['127.0.0.1'], port, timeoutMs: HOUR_MS, attemptDelayMs: HOUR_MS }, (dialled) => {
        const socket = winner(dialled).on('data', (chunk) => {
          got += chunk;
        });
        socket.on('end', () => {
          socket.destroy();
          resolve(got);
        });
      });
    });
    expect(text).toBe('SSH-2.0-banner\r\n');
  });

  test('a half-close by the origin leaves the other direction open', async () => {
    const received = new Promise<string>((resolve) => {
      void origin((socket) => {
        let got = '';
        socket.end('bye');
        socket.on('data', (chunk) => {
          got += chunk;
        });
        socket.on('end', () => resolve(got));
      }).then(async ({ port }) => {
        const socket = winner(await run({ addresses: ['127.0.0.1'], port }));
        socket.resume();
        await once(socket, 'end');
        socket.end('still here');
      });
    });
    expect(await received).toBe('still here');
  });

  test('a reset after the connection ends no process and reaches the caller as close', async () => {
    const { port } = await origin((socket) => void socket.once('data', () => socket.resetAndDestroy()));
    const hadError = await new Promise<boolean>((resolve) => {
      dial({ addresses: ['127.0.0.1'], port, timeoutMs: HOUR_MS, attemptDelayMs: HOUR_MS }, (dialled) => {
        winner(dialled).resume().once('close', resolve).write('x');
      });
    });
    expect(hadError).toBe(true);
  });

  test('refused', async () => {
    const port = await closedPort();
    const ended = await run({ addresses: ['127.0.0.1'], port });
    expect(ended).toMatchObject({ ok: false, code: 'connect-refused', detail: '127.0.0.1 ECONNREFUSED' });
  });

  test('never answered', async () => {
    const { connect, sockets } = script({ '192.0.2.1': silent });
    const ended = await run({ addresses: ['192.0.2.1'], port: 443, timeoutMs: 100, connect });
    expect(ended).toMatchObject({ ok: false, code: 'connect-timeout', detail: '192.0.2.1 no answer within 100 ms' });
    expect(sockets.map((socket) => socket.destroyed)).toEqual([true]);
    expect(sockets.map(listeners)).toEqual([{ connect: 0, error: 1 }]);
  });

  test.each([
    ['ECONNREFUSED', 'connect-refused'],
    ['ETIMEDOUT', 'connect-timeout'],
    ['EHOSTUNREACH', 'connect-failed'],
    ['ENETUNREACH', 'connect-failed'],
    ['EADDRNOTAVAIL', 'connect-failed'],
    ['ECONNRESET', 'connect-failed'],
    ['EMFILE', 'connect-failed'],
    ['EACCES', 'connect-failed'],
  ])('%s is %s', async (errno, code) => {
    const { connect } = script({ '192.0.2.1': failing(errno) });
    const ended = await run({ addresses: ['192.0.2.1'], port: 443, connect });
    expect(ended).toMatchObject({ ok: false, code, detail: `192.0.2.1 ${errno}` });
  });

  test('a connect that throws is a failure, told after dial() has returned', async () => {
    let returned = false;
    const ended = await new Promise<Dialled & { late: boolean }>((resolve) => {
      dial(
        {
          addresses: ['192.0.2.1'],
          port: 443,
          timeoutMs: HOUR_MS,
          attemptDelayMs: HOUR_MS,
          connect: () => {
            throw Object.assign(new Error('no descriptor'), { code: 'EMFILE' });
          },
        },
        (dialled) => resolve({ ...dialled, late: returned }),
      );
      returned = true;
    });
    expect(ended).toEqual({ ok: false, code: 'connect-failed', detail: '192.0.2.1 EMFILE', late: true });
  });
});

describe('what is not an address is never dialled', () => {
  test.each([
    'localhost',
    'example.test',
    '127.1',
    '0x7f.0.0.1',
    '2130706433',
    '[::1]',
    '',
    '127.0.0.1 ',
    '127.0.0.1\0.test',
  ])('%j', (host) => {
    const { connect, dialled } = script();
    const options = { port: 443, timeoutMs: HOUR_MS, attemptDelayMs: HOUR_MS, connect };
    const refuse = (addresses: string[]) => () => dial({ ...options, addresses }, () => {});
    expect(refuse([host])).toThrow(TypeError);
    expect(refuse(['127.0.0.1', host])).toThrow(TypeError);
    expect(dialled).toEqual([]);
  });

  test('an empty list', () => {
    expect(() => dial({ addresses: [], port: 443, timeoutMs: 1, attemptDelayMs: 1 }, () => {})).toThrow(TypeError);
  });

  test.each([0, -1, 65_536, 1.5, Number.NaN])('port %s', (port) => {
    const { connect, dialled } = script();
    const options = { addresses: ['127.0.0.1'], port, timeoutMs: HOUR_MS, attemptDelayMs: HOUR_MS, connect };
    expect(() => dial(options, () => {})).toThrow(TypeError);
    expect(dialled).toEqual([]);
  });
});
