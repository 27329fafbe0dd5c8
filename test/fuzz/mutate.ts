// Damage to bytes, drawn by fast-check so that it shrinks: what is put in comes from a list of what parsers stumble over.
import fc from '../support/property.ts';

export interface Edit {
  readonly kind: 'insert' | 'replace' | 'delete' | 'double';
  /** Where, as a part of the length. */
  readonly at: number;
  readonly length: number;
  readonly bytes: Buffer;
}

/** Edits whose inserted bytes come from `pieces` (Latin-1 texts) or are arbitrary. */
export function edits(pieces: readonly string[], most: number): fc.Arbitrary<Edit[]> {
  const bytes = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...pieces).map((text) => Buffer.from(text, 'latin1')) },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 3 }).map((array) => Buffer.from(array)) },
  );
  const edit = fc.record<Edit>({
    kind: fc.constantFrom('insert', 'insert', 'replace', 'replace', 'delete', 'double'),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 60 })),
    bytes,
  });
  return fc.array(edit, { maxLength: most });
}

/** The bytes after the edits, one after the other. */
export function damaged(bytes: Buffer, list: readonly Edit[]): Buffer {
  let result = bytes;
  for (const { kind, at, length, bytes: piece } of list) {
    const start = Math.floor(at * result.length);
    const before = result.subarray(0, start);
    const after = result.subarray(start);
    if (kind === 'insert') result = Buffer.concat([before, piece, after]);
    else if (kind === 'replace') result = Buffer.concat([before, piece, after.subarray(piece.length)]);
    else if (kind === 'delete') result = Buffer.concat([before, after.subarray(length)]);
    else result = Buffer.concat([before, after.subarray(0, length), after]);
  }
  return result;
}
