import fs from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { LineWriter } from '../../src/audit/line.ts';
import { asRead } from '../../src/audit/line-reader.ts';
import { parseLine } from '../../src/audit/parse.ts';
import { type RequestRead, RequestReader } from '../../src/audit/request-reader.ts';
import fc from '../support/property.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { tempDir } from '../support/temp.ts';
import { PREV, spoiltLines } from './spoilt-lines.ts';

const writer = new LineWriter(64);
const STAMP = { time: '2026-01-31T12:00:00.274Z', seq: 7, node: '"n"' };
const ended = writer.ended(STAMP, endedRecord({ id: 'r1' })) + PREV;

/** What the parser says of a line, as far as the replay asks. */
function parsed(text: string): RequestRead | null {
  const line = parseLine(text);
  if (line === null) return null;
  const read = asRead(line);
  return read.kind === 'ended' ? { kind: 'ended', seq: read.seq } : read;
}

/** Both without what a decided line has beside its facts: the parser keeps it there. */
function told(read: RequestRead | null): unknown {
  if (read?.kind !== 'decided') return read;
  const { node, identity, client, host, port, method, verdict, reason, group, rule, policy, nearest } = read.facts;
  return {
    ...read,
    facts: { node, identity, client, host, port, method, verdict, reason, group, rule, policy, nearest },
  };
}

function lineOf(reader: RequestReader, text: string): RequestRead | null {
  const bytes = Buffer.from(text, 'latin1');
  return reader.line(bytes, 0, bytes.length);
}

async function linesOf(file: string): Promise<(RequestRead | null)[]> {
  const found: (RequestRead | null)[] = [];
  await new RequestReader().file(file, (read) => found.push(read));
  return found;
}

describe('RequestReader', () => {
  it('reads as the parser does, but for what stands within a second line', () => {
    const reader = new RequestReader();
    let seen = 0;
    fc.assert(
      fc.property(spoiltLines(), (texts) => {
        for (const text of texts) {
          const [read, expected] = [lineOf(reader, text), parsed(Buffer.from(text, 'latin1').toString('latin1'))];
          if (expected === null && read?.kind === 'ended') expect(text).toContain(',"event":"ended","id":"');
          else expect(told(read)).toEqual(told(expected));
          if (read !== null) seen++;
        }
      }),
      { numRuns: 300 },
    );
    expect(seen).toBeGreaterThan(1_000);
  });

  it.each([
    ['an hour that is none', ended.replace('T12:', 'T24:')],
    ['a zero before the number', ended.replace('"seq":7', '"seq":07')],
    ['number 0', ended.replace('"seq":7', '"seq":0')],
    ['no number', ended.replace('"seq":7', '"seq":')],
    ['a number too large', ended.replace('"seq":7', '"seq":9007199254740993')],
    ['a hash cut short', ended.replace('0a0a"}', '0a"}')],
    ['a control character in the hash', ended.replace('0a0a"}', '0a0\u0001"}')],
    ['a line cut short', ended.slice(0, -1)],
    ['text after the end', `${ended}x`],
    ['nothing', ''],
  ])('calls a second line with %s damaged', (_what, text) => {
    const reader = new RequestReader();
    expect(lineOf(reader, text)).toBeNull();
    // With the second of a sound line at hand too.
    expect(lineOf(reader, ended)).toEqual({ kind: 'ended', seq: 7 });
    expect(lineOf(reader, text)).toBeNull();
  });

  it('gives the parser what has another shape', () => {
    const other = ended.replace('{', '{ ').replace(',"prev"', ',"later":1,"prev"');
    expect(lineOf(new RequestReader(), other)).toEqual({ kind: 'ended', seq: 7 });
    const note = `{"time":"2026-01-31T12:00:00.000Z","seq":9,"event":"start","node":"n","policy":"p","detail":{}${PREV}`;
    expect(lineOf(new RequestReader(), note)).toMatchObject({ kind: 'note', seq: 9 });
  });

  it('reads a file over the ends of its pieces, and packed, as line by line', async () => {
    const texts: string[] = [];
    // Some 3 MB, in lines of many lengths; a piece is 1 MiB.
    for (let seq = 1; seq < 5_000; seq++) {
      const stamp = { ...STAMP, seq };
      const user_agent = 'x'.repeat((seq * 7) % 60);
      texts.push(writer.decided(stamp, decidedRecord({ id: `r${seq}`, user_agent })) + PREV);
      texts.push(seq % 50 === 0 ? 'x'.repeat(seq) : writer.ended(stamp, endedRecord({ id: `r${seq}` })) + PREV);
    }
    const file = path.join(tempDir('requests'), 'audit.jsonl');
    fs.writeFileSync(file, `${texts.join('\n')}\n{"time":"2026-01-31T12:0`);
    fs.writeFileSync(`${file}.gz`, gzipSync(fs.readFileSync(file)));
    const expected = texts.map((text) => told(parsed(text)));
    expect((await linesOf(file)).map(told)).toEqual(expected);
    expect((await linesOf(`${file}.gz`)).map(told)).toEqual(expected);
  });

  it('calls a line longer than any that is written damaged, wherever it ends, and holds no more of it than that', async () => {
    const file = path.join(tempDir('requests'), 'audit.jsonl');
    const long = ended.replace('"id":"r1"', `"id":"${'r'.repeat(1_048_576)}"`);
    fs.writeFileSync(file, [ended, long, `${long}${'x'.repeat(3_000_000)}`, ended, ''].join('\n'));
    const sound = { kind: 'ended', seq: 7 };
    expect(await linesOf(file)).toEqual([sound, null, null, sound]);
    fs.appendFileSync(file, 'x'.repeat(1_048_577));
    expect(await linesOf(file)).toEqual([sound, null, null, sound, null]);
  });
});
