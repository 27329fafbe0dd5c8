import { describe, expect, it } from 'vitest';
import { LineWriter } from '../../src/audit/line.ts';
import { asRead, LineReader, type ReadLine } from '../../src/audit/line-reader.ts';
import { parseLine } from '../../src/audit/parse.ts';
import type { Decided, Ended } from '../../src/policy/record.ts';
import { Recent } from '../../src/usage/recent.ts';
import { addLine, createTally, type HourNames, type Tally } from '../../src/usage/tally.ts';
import fc from '../support/property.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { PREV, spoiltLines } from './spoilt-lines.ts';

const STAMP = { time: '2026-01-31T12:00:00.274Z', seq: 7, node: '"n"' };
const writer = new LineWriter(64);
const decided = (over: Partial<Decided> = {}) => writer.decided(STAMP, decidedRecord({ id: 'r1', ...over })) + PREV;
const ended = (over: Partial<Ended> = {}) => writer.ended(STAMP, endedRecord({ id: 'r1', ...over })) + PREV;

const parsed = (text: string): ReadLine | null => {
  const line = parseLine(text);
  return line === null ? null : asRead(line);
};

/** What a reader makes of the lines, the seq of each included; the text alone tells two open requests apart. */
function tallyOf(lines: readonly string[], read: (text: string) => ReadLine | null) {
  const tally: Tally = createTally();
  const hours = new Map<number, HourNames>();
  const names = (hour: number): HourNames => {
    const known = hours.get(hour) ?? { targets: new Set(), actors: new Set(), claimed: new Set() };
    hours.set(hour, known);
    return known;
  };
  const recent = new Recent();
  const seqs = lines.map((text) => {
    const line = read(text);
    if (line !== null)
      addLine(tally, line, text, { names, namesPerHour: 5, paths: () => new Map(), pathsPerDay: 5, recent });
    return line?.seq ?? null;
  });
  const { latest: _, ...told } = tally;
  return { seqs, ...told };
}

const NEAREST = { pattern: '*.example', rule: null, why: 'x is not below "example"', fix: 'x.example' };
const factsOf = (read: ReadLine | null): unknown => (read === null || read.kind === 'note' ? null : read.facts);

describe('LineReader', () => {
  it('knows the two lines of a request that was let through without parsing them', () => {
    const reader = new LineReader();
    const opened = reader.read(decided({ user_agent: 'curl/8', dropped: ['10.0.0.1 private'] }));
    const closed = reader.read(ended({ status: 200 }));
    const ms = Date.parse(STAMP.time);
    expect(opened).toMatchObject({ kind: 'decided', seq: 7, ms, id: 'r1', facts: { host: 'github.com', node: 'n' } });
    expect(closed).toMatchObject({ kind: 'ended', seq: 7, ms, id: 'r1', outcome: 'closed', bytes_down: 2_000 });
    const { prev: _, ...line } = JSON.parse(ended());
    expect(line).toMatchObject({ ...(closed?.kind === 'ended' ? closed.facts : {}) });
    // The same facts are the same object: the tally counts them by it.
    expect(factsOf(opened)).toBe(factsOf(closed));
  });

  it.each<[string, object]>([
    ['a refusal', { verdict: 'deny', reason: 'host-not-allowed', addresses: undefined, nearest: NEAREST }],
    ['a refusal without a user agent', { verdict: 'deny', reason: 'host-denied', user_agent: undefined }],
    ['an observed request', { verdict: 'observe', reason: 'host-not-allowed', nearest: NEAREST }],
    ['a failure before the dial', { addresses: undefined, outcome: 'dns-failed' }],
    [
      'forbidden answers',
      { verdict: 'deny', reason: 'address-prohibited', addresses: undefined, dropped: ['10.0.0.1'] },
    ],
  ])('knows %s by what stands in the line before', (_what, over) => {
    const reader = new LineReader();
    const first = reader.read(decided({ user_agent: 'curl/8', ...over }));
    const second = reader.read(decided({ user_agent: 'curl/9', ...over, id: 'r2' }));
    expect(second).toMatchObject({ kind: 'decided', id: 'r2' });
    expect(factsOf(second)).toBe(factsOf(first));
    const record = { ...decidedRecord({ id: '' }), ...over, node: 'n', user_agent: undefined };
    const { addresses: _1, id: _2, ...facts } = JSON.parse(JSON.stringify(record));
    expect(factsOf(first)).toEqual(facts);
  });

  it.each([
    ['a target that could not be parsed', decided({ host: null, port: null, target: '@', verdict: 'deny' })],
    ['an outcome after addresses', decided({ outcome: 'dns-failed' })],
    ['an escape in the id', ended({ id: 'r"1' })],
    ['an escape in the user agent', decided({ user_agent: 'a"b' })],
    ['another order', ended().replace(/(,"bytes_up":\d+)(,"bytes_down":\d+)/, '$2$1')],
    ['a key of a later version', ended().replace(',"prev"', ',"later":1,"prev"')],
    ['a key of a later version among the facts', ended().replace(',"host"', ',"later":1,"host"')],
  ])('leaves %s to the parser', (_what, text) => {
    expect(parsed(text)).not.toBeNull();
    expect(new LineReader().read(text)).toEqual(parsed(text));
  });

  it.each([
    ['a key that stands twice', ended().replace(',"outcome"', ',"bytes_up":5,"outcome"')],
    ['a leading zero', ended().replace('"bytes_up":100', '"bytes_up":0100')],
    ['a number too large', ended().replace('"bytes_up":100', '"bytes_up":9007199254740993')],
    ['an hour that is none', ended().replace('T12:', 'T24:')],
    ['a time without milliseconds', ended().replace('.274Z', 'Z')],
    ['a time with a remark', ended().replace('T12:00:00.274Z', ' 12:00 (a remark)')],
    ['seq 0', ended().replace('"seq":7', '"seq":0')],
    ['a control character in prev', ended().replace('0a0a"}', '0a0\u0001"}')],
    ['a control character in the id', ended().replace('"r1"', '"r\u0001"')],
    ['a broken identity', decided().replace('"kind":"anonymous"', '"kind":"king"')],
    ['text after the end', `${decided()} `],
    ['a line cut short', ended().slice(0, -1)],
    ['a second id among the facts', decided({ verdict: 'deny' }).replace(',"host"', ',"id":"r9","host"')],
    ['a broken outcome', decided({ addresses: [], outcome: 'dns-failed' }).replace('dns-failed', 'DNS!')],
    ['facts that close the object', ended().replace('"port":443', '"port":443},"x":{"y":1')],
  ])('judges %s as the parser does', (_what, text) => {
    const reader = new LineReader();
    // Once fresh, and once with the sound line's facts at hand.
    for (const before of [null, ended(), decided()]) {
      if (before !== null) reader.read(before);
      expect(tallyOf([text], (line) => reader.read(line))).toEqual(tallyOf([text], parsed));
    }
  });

  it('remembers no more than it may, and forgets without harm', () => {
    const reader = new LineReader();
    for (let n = 0; n < 9_000; n++) {
      const host = `h${n}.example`;
      expect(reader.read(ended({ host }))).toMatchObject({ kind: 'ended', facts: { host } });
    }
    expect(reader.remembered).toBeLessThanOrEqual(8_192);
  });

  it('gives the sums of the parser for whatever is recorded, and for whatever becomes of it', () => {
    const reader = new LineReader();
    let known = 0;
    fc.assert(
      fc.property(spoiltLines(), (texts) => {
        for (const one of texts) {
          const facts = factsOf(reader.read(one));
          if (facts !== null && !('prev' in (facts as object))) known++;
        }
        expect(tallyOf(texts, (one) => reader.read(one))).toEqual(tallyOf(texts, parsed));
      }),
      { numRuns: 200 },
    );
    expect(known).toBeGreaterThan(100);
  });
});
