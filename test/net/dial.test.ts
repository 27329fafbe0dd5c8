// The dialer over real loopback sockets; addresses that never answer are sockets that nobody connects.
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type Dial, type Dialled, type DialOptions, dial } from '../../src/net/dial.ts';
import { type Origin, startOrigin } from '../support/origin.ts';

const HOUR_MS = 3_600_000;
const closers: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function origin(handler: (socket: net.Socket) => void, host = '127.0.0.1'): Promise<Origin> {
  const started = await startOrigin(handler, { host });
  closers.push(() => started.close());
  return started;
}

/** A port of loopback on which nobody listens. */
async function closedPort(): Promise<number> {
  const started = await startOrigin(() => {});
  await started.close();
  return started.port;
}

type Ended = Dialled & { readonly dial: Dial };

function run(options: Partial<DialOptions> & Pick<DialOptions, 'addresses' | 'port'>): Promise<Ended> {
  return new Promise((resolve) => {
    const under = dial({ timeoutMs: HOUR_MS, attemptDelayMs: HOUR_MS, ...options }, (dialled) => {
      if (dialled.ok) closers.push(() => void dialled.socket.destroy());
      resolve({ ...dialled, dial: under });
    });
  });
}

/** A connect that records what is dialled; the addresses of `scripted` get the socket made there, which nobody connects. */
function script(scripted: Readonly<Record<string, (socket: net.Socket) => void>> = {}) {
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

const silent = (): void => {};
const failing =
  (code: string) =>
  (socket: net.Socket): void => {
    socket.destroy(Object.assign(new Error(code), { code }));
  };

function listeners(socket: net.Socket): Record<string, number> {
  return { connect: socket.listenerCount('connect'), error: socket.listenerCount('error') };
}

function winner(ended: Dialled): net.Socket {
  if (!ended.ok) throw new Error(`${ended.code}: ${ended.detail}`);
  return ended.socket;
}

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
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
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
