// Which fields go on: hop-by-hop ones never do, however they are written; others do in order and as they came, unless Connection names them.
import { describe, expect, it } from 'vitest';
import { ENDS_HERE, readFraming, requestFields, responseFields } from '../../src/proxy/fields.ts';

const HOP_BY_HOP = [...ENDS_HERE, 'te', 'trailer', 'content-length'];
const written = (name: string): string[] => [
  name,
  name.toUpperCase(),
  name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()),
];
const passed = (raw: readonly string[]): string[] => responseFields(raw, { kind: 'none' }).slice(0, -2);

describe('a field', () => {
  it.each(HOP_BY_HOP.flatMap(written))('ends here: %s', (name) => {
    const raw = ['A', '1', name, 'x', 'B', '2'];
    expect(passed(raw)).toEqual(['A', '1', 'B', '2']);
    const none = requestFields(raw, 'h', { kind: 'none' }, null, 'GET');
    expect(none).toEqual(['Host', 'h', 'A', '1', 'B', '2', 'Via', '1.1 sallyport']);
  });

  it.each(HOP_BY_HOP)('goes on where it only is as long as %s', (name) => {
    const raw = ['x'.repeat(name.length), '1', `X${name.slice(1)}`, '2'];
    expect(passed(raw)).toEqual(raw);
  });

  it.each(['close, X-One ,y', 'X-ONE,Y', 'x-one, y'])('ends here where Connection names it: %s', (names) => {
    const raw = ['Y', '1', 'X-One', '2', 'CONNECTION', names, 'x-ONE', '3', 'X-Two', '4'];
    expect(passed(raw)).toEqual(['X-Two', '4']);
  });
});

describe('framing', () => {
  it.each(written('content-length'))('is read of %s', (name) => {
    expect(readFraming([name, '5'], '1.1')).toEqual({ ok: true, framing: { kind: 'length', length: '5' } });
    expect(readFraming([name, '5', 'Content-Length', '5'], '1.1').ok).toBe(false);
  });

  it.each(written('transfer-encoding'))('is read of %s', (name) => {
    expect(readFraming([name, 'Chunked'], '1.1')).toEqual({ ok: true, framing: { kind: 'chunked' } });
    expect(readFraming([name, 'chunked', 'Content-Length', '5'], '1.1').ok).toBe(false);
  });
});
