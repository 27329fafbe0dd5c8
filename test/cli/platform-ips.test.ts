// `sallyport platform-ips` against a stand-in Meta API on loopback: the list, its change, its ETag and file, and every answer that is none.
import { readFileSync, writeFileSync } from 'node:fs';
import type http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Origin, startHttpOrigin, startOrigin } from '../support/origin.ts';
import { tempDir } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { type, typeJson } from './console.ts';

let origin: Origin;
let answer: http.RequestListener;
let asked: http.IncomingHttpHeaders[] = [];
let cache = '';

const list = (...ips: readonly string[]): http.RequestListener => {
  return (request, response) => {
    const etag = `"${ips.join()}"`;
    if (request.headers['if-none-match'] === etag) return response.writeHead(304).end();
    return response
      .writeHead(200, { ETag: etag, 'Content-Type': 'application/json' })
      .end(JSON.stringify({ webhook_ips: ips }));
  };
};

beforeAll(async () => {
  origin = await startHttpOrigin(
    (request, response) => {
      asked.push(request.headers);
      answer(request, response);
    },
    { tls: certificateFor(['127.0.0.1', 'api.allowed.test']) },
  );
});
afterAll(() => origin.close());
beforeEach(() => {
  answer = list('100.24.182.113', '35.172.45.249');
  asked = [];
  cache = join(tempDir('meta'), 'deep', 'platform-ips.json');
});

const args = (...more: readonly string[]) => [
  'platform-ips',
  '--url',
  `https://127.0.0.1:${origin.port}/v2/meta`,
  '--ca',
  testCa().caFile,
  '--cache',
  cache,
  ...more,
];

describe('the list', () => {
  it('is printed, and kept with its ETag', async () => {
    expect(await type(args())).toMatchObject({ code: 0, out: '35.172.45.249/32\n100.24.182.113/32\n', err: '' });
    expect(JSON.parse(readFileSync(cache, 'utf8'))).toEqual({
      url: `https://127.0.0.1:${origin.port}/v2/meta`,
      etag: '"100.24.182.113,35.172.45.249"',
      fetched_at: '2026-11-24T12:00:00.000Z',
      webhook_ips: ['35.172.45.249/32', '100.24.182.113/32'],
    });
  });

  it('is asked for with the ETag the next time, and comes from the file where it has not changed', async () => {
    await type(args());
    const { json } = await typeJson(args());
    expect(asked.at(-1)?.['if-none-match']).toBe('"100.24.182.113,35.172.45.249"');
    expect(json).toMatchObject({
      fresh: false,
      changed: false,
      webhook_ips: ['35.172.45.249/32', '100.24.182.113/32'],
    });
  });

  it('of another address is not compared with this one', async () => {
    await type(args());
    const other = args().map((arg) => arg.replace('/v2/meta', '/v3/meta'));
    expect((await type([...other, '--watch'])).code).toBe(0);
    expect(asked.at(-1)?.['if-none-match']).toBeUndefined();
  });

  it('comes in each format', async () => {
    for (const [format, text] of [
      ['nginx', 'allow 100.24.182.113/32;'],
      ['iptables', '-s 100.24.182.113/32 -j ACCEPT'],
      ['nft', '{ 35.172.45.249/32, 100.24.182.113/32 }'],
      ['terraform', '"100.24.182.113/32",'],
      ['json', '"100.24.182.113/32"'],
    ] as const)
      expect((await type(args('--format', format))).out).toContain(text);
  });
});

describe('--watch', () => {
  it('the first answer is no change; a later one prints what came and went, and exits 3 once', async () => {
    const first = await type(args('--watch'));
    expect([first.code, first.out]).toEqual([0, '']);
    expect(first.err).toContain('the first answer');
    expect(await type(args('--watch'))).toMatchObject({ code: 0, out: '', err: '' });
    answer = list('100.24.182.113', '44.0.0.0/24');
    expect(await type(args('--watch'))).toMatchObject({ code: 3, out: '+ 44.0.0.0/24\n- 35.172.45.249/32\n', err: '' });
    expect((await type(args('--watch'))).code).toBe(0);
  });

  it('the same addresses in another order are no change', async () => {
    await type(args('--watch'));
    answer = list('35.172.45.249/32', '100.24.182.113');
    expect(await type(args('--watch'))).toMatchObject({ code: 0, out: '', err: '' });
  });

  it('says the same as JSON', async () => {
    await type(args());
    answer = list('44.0.0.0/24');
    const { code, json } = await typeJson(args('--watch'));
    expect([code, json]).toMatchObject([
      3,
      { changed: true, added: ['44.0.0.0/24'], removed: ['35.172.45.249/32', '100.24.182.113/32'] },
    ]);
  });
});

describe('an answer that cannot be believed changes nothing', () => {
  it.each<[string, http.RequestListener, string, string]>([
    ['no JSON', (_, response) => response.end('<html>'), 'meta-invalid', 'is not JSON'],
    ['an empty list', list(), 'meta-invalid', 'webhook_ips'],
    ['everybody', list('0.0.0.0/0'), 'meta-invalid', 'wider than /8'],
    ['an error', (_, response) => response.writeHead(500).end(), 'meta-unreachable', 'answers 500'],
    [
      'a redirect',
      (_, response) => response.writeHead(302, { Location: 'https://evil.example/' }).end(),
      'meta-unreachable',
      'to https://evil.example/, which is not followed',
    ],
    [
      'unchanged, which nobody asked',
      (_, response) => response.writeHead(304).end(),
      'meta-unreachable',
      'answers 304',
    ],
    [
      'shorter than it says',
      (_, response) => {
        response.writeHead(200, { 'Content-Length': 1_000 });
        response.write('{"webhook_ips":["100.24.182.113"]}', () => response.destroy());
      },
      'meta-unreachable',
      '',
    ],
    [
      'without end',
      (_, response) => void response.write(`{"webhook_ips":["${'x'.repeat(1_100_000)}`),
      'meta-unreachable',
      'more than 1048576 bytes',
    ],
    ['never complete', (_, response) => void response.write('{'), 'meta-unreachable', 'within 1000 ms'],
  ])('%s', async (name, listener, code, text) => {
    if (!name.startsWith('unchanged')) await type(args());
    const kept = name.startsWith('unchanged') ? null : readFileSync(cache, 'utf8');
    answer = listener;
    // Of an answer that comes, however late on a busy machine, something else is said.
    const done = await type(args(...(name === 'never complete' ? ['--timeout', '1'] : [])));
    expect([done.code, done.out]).toEqual([1, '']);
    expect(done.err).toContain(code);
    expect(done.err).toContain(text);
    if (kept !== null) expect(readFileSync(cache, 'utf8')).toBe(kept);
  });

  it('a certificate that is not trusted', async () => {
    const done = await type(args().filter((arg) => arg !== '--ca' && arg !== testCa().caFile));
    expect(done.code).toBe(1);
    expect(done.err).toMatch(/cannot be asked: .*(?:self-signed|unable to)/);
  });

  it.each(['{', '{"url":1}', '[]'])('a damaged file %j: a change would go unseen', async (text) => {
    await type(args());
    writeFileSync(cache, text);
    const done = await type(args('--watch'));
    expect([done.code, done.out]).toEqual([1, '']);
    expect(done.err).toContain('meta-cache');
  });

  it('a file that cannot be written', async () => {
    await type(args());
    const done = await type([...args(), '--cache', join(cache, 'below-a-file')]);
    expect(done.code).toBe(1);
    expect(done.err).toContain('meta-cache');
  });

  it.each(['http://127.0.0.1/v2/meta', 'https://user:pass@api.example/', 'api.example'])(
    'the address %s',
    async (url) => {
      expect((await type(['platform-ips', '--url', url])).code).toBe(2);
    },
  );
});

describe('through a proxy', () => {
  const seen: string[] = [];
  let proxy: Origin;
  beforeAll(async () => {
    proxy = await startOrigin((client) => {
      client.once('data', (head: Buffer) => {
        seen.push(head.toString().split('\r\n')[0] ?? '');
        if (head.includes('refused.test'))
          return void client.end('HTTP/1.1 403 host-not-allowed\r\nSallyport-Hint: ask\r\n\r\n');
        const upstream = net.connect({ host: '127.0.0.1', port: origin.port, allowHalfOpen: true });
        upstream.on('error', () => {});
        client.write('HTTP/1.1 200 OK\r\n\r\n');
        return void client.pipe(upstream).pipe(client);
      });
    });
  });
  afterAll(() => proxy.close());
  const named = (host: string) => args().map((arg) => arg.replace('127.0.0.1', host));

  it('of the environment, unless NO_PROXY names the host', async () => {
    const env = { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}` };
    expect((await type(named('api.allowed.test'), { env })).code).toBe(0);
    expect(seen.at(-1)).toBe(`CONNECT api.allowed.test:${origin.port} HTTP/1.1`);
    const before = seen.length;
    expect((await type(args(), { env: { ...env, NO_PROXY: '127.0.0.1' } })).code).toBe(0);
    expect(seen).toHaveLength(before);
  });

  it('of the option, whatever NO_PROXY says; its refusal is told', async () => {
    const done = await type([...named('refused.test'), '--proxy', `http://127.0.0.1:${proxy.port}`], {
      env: { NO_PROXY: '*' },
    });
    expect(done.code).toBe(1);
    expect(done.err).toContain('HTTP/1.1 403 host-not-allowed');
    expect(done.err).toContain('(ask)');
  });
});
