// Reads a log for what was asked and decided, as the replay does: of a request's second line nothing is needed but its number. So
// that line stays bytes: its beginning and its end are looked at, not what stands between; every other line is read as always.
// The log's numbers tell where a line was swallowed by another one that a crash had cut short.
import { chunksOf } from './history.ts';
import { LINE_BYTES_MAX } from './line.ts';
import { type DecidedRead, LineReader, type NoteRead } from './line-reader.ts';

/** A request's second line. */
export interface EndedNumber {
  readonly kind: 'ended';
  readonly seq: number;
}

export type RequestRead = DecidedRead | NoteRead | EndedNumber;

/** Told of each line that has its newline; null where it is damaged. */
export type TakeLine = (read: RequestRead | null) => void;

const EMPTY = Buffer.alloc(0);
const QUOTE = 0x22;
const ZERO = 0x30;
const NEWLINE = 0x0a;
const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');

/** `{"time":"2026-01-31T12:00:00.`: the same in all lines of a second; then three digits. */
const SECOND_BYTES = 29;
const MILLIS_END = 32;
const SEQ = bytesOf('Z","seq":');
const ENDED = bytesOf(',"event":"ended","id":"');
/** So many digits are a safe integer. */
const DIGITS_MAX = 15;
const PREV = bytesOf(',"prev":"');
const PREV_BYTES = PREV.length + 64 + 2;
const BRACE = 0x7d;

export class RequestReader {
  readonly #reader = new LineReader();
  /** The first bytes of a line that was found sound. */
  readonly #second = Buffer.alloc(SECOND_BYTES);

  /**
   * Reads a file to its end. A last line without its newline is being written now, or was cut short: it is left out.
   * @throws SallyportError `audit-damaged` where the file cannot be read to its end: a damaged archive, a bad disk
   */
  async file(path: string, take: TakeLine): Promise<void> {
    // What has no newline yet, and whether it is too long to be a line already.
    let carry: Buffer = EMPTY;
    let oversize = false;
    for await (const chunk of chunksOf(path)) {
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        if (oversize || carry.length + end - start > LINE_BYTES_MAX) take(null);
        else if (carry.length === 0) take(this.line(chunk, start, end));
        else take(this.line(Buffer.concat([carry, chunk.subarray(start, end)]), 0, carry.length + end - start));
        carry = EMPTY;
        oversize = false;
        start = end + 1;
      }
      carry = oversize ? EMPTY : Buffer.concat([carry, chunk.subarray(start)]);
      oversize ||= carry.length > LINE_BYTES_MAX;
    }
    if (oversize) take(null);
  }

  /** @returns the line between two places, or null where it is damaged */
  line(bytes: Buffer, start: number, end: number): RequestRead | null {
    const seq = this.#endedSeq(bytes, start, end);
    if (seq > 0) return { kind: 'ended', seq };
    const read = this.#reader.read(bytes.toString('latin1', start, end));
    if (read === null) return null;
    if (!holds(bytes, start, this.#second)) bytes.copy(this.#second, 0, start, start + SECOND_BYTES);
    return read.kind === 'ended' ? { kind: 'ended', seq: read.seq } : read;
  }

  /** The number of a request's second line in the shape in which we write it; 0 for any other line. */
  #endedSeq(bytes: Buffer, start: number, end: number): number {
    if (!holds(bytes, start, this.#second)) return 0;
    for (let at = start + SECOND_BYTES; at < start + MILLIS_END; at++) if (!isDigit(bytes[at])) return 0;
    if (!holds(bytes, start + MILLIS_END, SEQ)) return 0;
    const from = start + MILLIS_END + SEQ.length;
    let at = from;
    let seq = 0;
    for (; isDigit(bytes[at]); at++) seq = seq * 10 + ((bytes[at] as number) - ZERO);
    if (at - from > DIGITS_MAX || bytes[from] === ZERO || !holds(bytes, at, ENDED)) return 0;
    const prev = end - PREV_BYTES;
    if (prev < at + ENDED.length || !holds(bytes, prev, PREV)) return 0;
    for (let hex = prev + PREV.length; hex < end - 2; hex++) if (!isHex(bytes[hex])) return 0;
    return bytes[end - 2] === QUOTE && bytes[end - 1] === BRACE ? seq : 0;
  }
}

function holds(bytes: Buffer, at: number, text: Buffer): boolean {
  for (let n = 0; n < text.length; n++) if (bytes[at + n] !== text[n]) return false;
  return true;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= 0x39;
}

function isHex(byte: number | undefined): boolean {
  return byte !== undefined && ((byte >= ZERO && byte <= 0x39) || (byte >= 0x61 && byte <= 0x66));
}
