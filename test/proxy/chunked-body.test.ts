// The short road's reader of chunks beside Node's parser, llhttp: what the one takes the other takes, they end at the same byte, and what
// goes on of each read is what Node's server would write of it.
import http from 'node:http';
import type net from 'node:net';
import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { ChunkedBody } from '../../src/proxy/chunked-body.ts';
import fc from '../support/property.ts';
import { HOSTILE_CHUNKS, SOUND_CHUNKS } from './chunk-cases.ts';
import { turns } from './support.ts';

const BYTES_MAX = 16_384;
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

interface Read {
  /** What went on of each read. */
  readonly sent: readonly string[];
  readonly end: 'open' | 'whole' | 'spoilt' | 'malformed';
}

function ours(reads: readonly string[], bytesMax = BYTES_MAX): Read & { readonly count: number } {
  const body = new ChunkedBody(bytesMax);
  const sent: string[] = [];
  for (const read of reads) {
    const more = body.take(bytes(read));
    if (more === null) return { sent, end: 'malformed', count: body.count };
    sent.push(more.toString('latin1'));
    // Nobody reads on behind it.
    if (body.whole) break;
  }
  return { sent, end: body.whole ? (body.spoilt ? 'spoilt' : 'whole') : 'open', count: body.count };
}

/** As the long road does it: Node's client reads, and each piece of data is a chunk of Node's server. */
async function theirs(reads: readonly string[]): Promise<Read> {
  const wire = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() });
  const request = http.request({ createConnection: () => wire as net.Socket, maxHeaderSize: BYTES_MAX });
  let pieces = '';
  let complete: () => boolean = () => false;
  let failed = false;
  request.on('response', (response) => {
    complete = () => response.complete;
    response.on('data', (chunk: Buffer) => {
      pieces += `${chunk.length.toString(16)}\r\n${chunk.toString('latin1')}\r\n`;
    });
    response.on('error', () => {});
  });
  request.on('error', () => {
    failed = true;
  });
  wire.on('error', () => {});
  request.end();
  wire.push('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
  await turns(4);
  const sent: string[] = [];
  for (const read of reads) {
    pieces = '';
    wire.push(bytes(read));
    await turns(4);
    if (wire.destroyed && !complete()) failed = true;
    if (complete() || !failed) sent.push(pieces + (complete() ? '0\r\n\r\n' : ''));
    if (complete() || failed) break;
  }
  const end = complete() ? (failed ? 'spoilt' : 'whole') : failed ? 'malformed' : 'open';
  wire.destroy();
  return { sent, end };
}

const each = (text: string): string[] => [...text];

describe('a chunked body', () => {
  it.each(SOUND_CHUNKS)('is taken: %s', (_, text, data) => {
    for (const reads of [[text], each(text)])
      expect(ours(reads)).toMatchObject({ end: expect.stringMatching(/^(?:whole|spoilt)$/), count: data.length });
  });

  it.each(SOUND_CHUNKS)('goes on as it came, or as Node would write it, wherever it is split: %s', async (_, text) => {
    for (let at = 1; at < Math.min(text.length, 40); at++) {
      const reads = [text.slice(0, at), text.slice(at)];
      const { sent } = ours(reads);
      expect(sent).toEqual((await theirs(reads)).sent);
    }
  });

  it.each(HOSTILE_CHUNKS)('is malformed, in one piece and byte by byte: %s', (_, text) => {
    expect(ours([text]).end).toBe('malformed');
    expect(ours(each(text)).end).toBe('malformed');
  });

  it('passes the very bytes on where they are what Node would write', () => {
    const text = bytes('2\r\nok\r\n1f\r\n0123456789012345678901234567890\r\n0\r\n\r\n');
    expect(new ChunkedBody(BYTES_MAX).take(text)?.buffer).toBe(text.buffer);
  });

  it('ends at its last byte; what stands behind it is not read, and is said', () => {
    expect(ours(['2\r\nok\r\n0\r\n\r\n'])).toEqual({ sent: ['2\r\nok\r\n0\r\n\r\n'], end: 'whole', count: 2 });
    expect(ours(['2\r\nok\r\n0\r\n\r\nHTTP'])).toEqual({ sent: ['2\r\nok\r\n0\r\n\r\n'], end: 'spoilt', count: 2 });
    expect(ours(['0\r\nX: y\r\n\r\n'])).toEqual({ sent: ['0\r\n\r\n'], end: 'spoilt', count: 0 });
  });

  it('may say as much beside its data as the limit, and no more', () => {
    // Of each chunk anew: a CRLF behind the data before it, the size, the extension, the CRLF.
    const extended = (spent: number): string => `1;${'a'.repeat(spent - 6)}\r\n-\r\n`;
    expect(ours([extended(100), extended(100), extended(100)], 100).end).toBe('open');
    expect(ours([extended(100), extended(101)], 100).end).toBe('malformed');
    const ended = (spent: number): string => `0\r\nX:${'a'.repeat(spent - 9)}\r\n\r\n`;
    expect(ours([ended(100)], 100).end).toBe('spoilt');
    expect(ours([ended(101)], 100).end).toBe('malformed');
    expect(ours([`${'0'.repeat(98)}1\r\n`], 100).end).toBe('malformed');
  });

  it('has chunks as large as a number is exact', () => {
    expect(ours(['1fffffffffffff\r\n']).end).toBe('open');
    expect(ours(['20000000000000\r\n']).end).toBe('malformed');
  });
});

const text = fc.stringMatching(/^[ -~\r\n\t]{0,12}$/);
const extension = fc.constantFrom('', '', '', ';a', ';a=b', ';a="b;c\\"\xe9"', ';a=', ';=b', ';a=b"c"', ';;a', ';');
const chunk = fc
  .record({ zeros: fc.constantFrom('', '', '0', '000'), capitals: fc.boolean(), extension, data: text })
  .map((one) => {
    const size = one.data.length.toString(16);
    return `${one.zeros}${one.capitals ? size.toUpperCase() : size}${one.extension}\r\n${one.data}\r\n`;
  });
const trailers = fc.constantFrom(
  '',
  '',
  'X: y\r\n',
  'X:\r\nY:\t\xe9\r\n',
  'Content-Length: 1\r\n',
  'Connection: close\r\n',
);
const behind = fc.constantFrom('', '', '', 'HTTP/1.1 200 OK\r\n\r\n', '\r\n', 'x');
const piece = fc.constantFrom(
  ...[
    '\r',
    '\n',
    '\r\n',
    '0',
    '0\r\n\r\n',
    ';',
    '=',
    '"',
    '\\',
    ' ',
    '\t',
    '\0',
    '\x7f',
    '\xff',
    ':',
    'a',
    'A',
    'g',
    '+',
    '-',
    'x',
  ],
);
const body = fc
  .record({ chunks: fc.array(chunk, { maxLength: 4 }), extension, trailers, behind })
  .map((one) => `${one.chunks.join('')}0${one.extension}\r\n${one.trailers}\r\n${one.behind}`);
const damage = fc.record({ at: fc.nat(60), drop: fc.nat(2), insert: fc.oneof(fc.constant(''), piece) });
const until = fc.option(fc.nat(40), { freq: 4, nil: Number.POSITIVE_INFINITY });
const reads = fc
  .record({ body, until, damages: fc.array(damage, { maxLength: 2 }), cuts: fc.array(fc.nat(60), { maxLength: 4 }) })
  .map((one) => {
    let made = one.body;
    for (const { at, drop, insert } of one.damages) made = made.slice(0, at) + insert + made.slice(at + drop);
    made = made.slice(0, one.until);
    const cuts = [0, ...one.cuts.sort((a, b) => a - b), made.length];
    return cuts.slice(1).map((to, nth) => made.slice(cuts[nth], to));
  })
  .map((made) => made.filter((read) => read.length > 0));

describe('beside llhttp', () => {
  it('a body is taken where it is taken there, ends where it ends there, and goes on in the same bytes', async () => {
    const ends: Record<string, number> = {};
    await fc.assert(
      fc.asyncProperty(reads, async (made) => {
        const { sent, end } = ours(made);
        ends[end] = (ends[end] ?? 0) + 1;
        const there = await theirs(made);
        expect(sent).toEqual(there.sent);
        // That there were trailers alone Node does not say.
        if (end === 'spoilt') expect(there.end).toMatch(/^(?:spoilt|whole)$/);
        else expect(end).toBe(there.end);
      }),
      { numRuns: 1_000 },
    );
    for (const end of ['open', 'whole', 'spoilt', 'malformed']) expect(ends[end]).toBeGreaterThan(20);
  });
});
