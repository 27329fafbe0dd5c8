// Reads line after line of our own log without parsing each: the projection and the replay look at every line
// ever written. It judges exactly as parseLine does. LineWriter's two most frequent lines (let through, and its end) have a
// fixed shape; what is alike in them is parsed once and remembered by its text, the rest is scanned character by character.
// Whatever differs from that shape in anything (another key, an escape, damage) is given to parseLine.
import type { EndedLine } from '../policy/record.ts';
import { isCode, parseFacts, parseLine, type StoredLine } from './parse.ts';

/** What both lines of a request say. The same text gives the same object, so it can be a key. */
export type Facts = Pick<
  EndedLine,
  'node' | 'identity' | 'client' | 'host' | 'port' | 'method' | 'verdict' | 'reason' | 'group' | 'rule' | 'policy'
>;

interface Read {
  readonly seq: number;
  /** The line's time, milliseconds since 1970. */
  readonly ms: number;
}

/** A decided line that let the request through: it will have an ended line. */
export interface OpenedRead extends Read {
  readonly kind: 'opened';
  readonly id: string;
  readonly facts: Facts;
}

export interface EndedRead extends Read {
  readonly kind: 'ended';
  readonly id: string;
  readonly facts: Facts;
  readonly outcome: EndedLine['outcome'];
  readonly bytes_up: number;
  readonly bytes_down: number;
}

/** Any other line, and these two where they are not in the expected shape. */
interface ParsedRead extends Read {
  readonly kind: 'parsed';
  readonly line: StoredLine;
}

export type ReadLine = OpenedRead | EndedRead | ParsedRead;

/** Distinct facts that are remembered, some 1 KB each: hosts times askers of the lines at hand. */
const FACTS_MAX = 8_192;
/** Texts whose keys are alike by chance or by somebody's wish; the newest are kept. */
const ALIKE_MAX = 16;

// `{"time":"2026-01-31T12:00:00.000Z","seq":` is 41 characters in every line; the first 29 change once a second.
const SECOND = /^\{"time":"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)\.$/;
const SECOND_END = 29;
const MILLIS_END = 32;
const SEQ = 'Z","seq":';
/** So many digits are a safe integer. */
const DIGITS_MAX = 15;
const DECIDED = ',"event":"decided","id":"';
const ENDED = ',"event":"ended","id":"';
const NODE = ',"node":';
const ADDRESSES = ',"addresses":[';
const OUTCOME = ',"outcome":"';
const BYTES_UP = ',"bytes_up":';
const BYTES_DOWN = ',"bytes_down":';
const DURATION = ',"duration_ms":';

// Printable ASCII without quote and backslash: a JSON string of these is itself.
const TEXT = '"[ !#-\\[\\]-~]*"';
const LIST = `\\[(?:${TEXT}(?:,${TEXT})*)?\\]`;
const COUNT = '(?:0|[1-9][0-9]{0,14})';
const PREV = ',"prev":"[0-9a-f]{64}"\\}$';
const DECIDED_REST = new RegExp(`,"addresses":${LIST}(?:,"dropped":${LIST})?(?:,"user_agent":${TEXT})?${PREV}`, 'y');
const ENDED_REST = new RegExp(`(?:,"address":${TEXT})?(?:,"status":${COUNT})?${PREV}`, 'y');

export class LineReader {
  /** By key of the text. */
  readonly #known = new Map<number, readonly { readonly text: string; readonly facts: Facts }[]>();
  #size = 0;
  /** The first 29 characters of the last line, and what they mean. */
  #second = '\n';
  #secondMs = 0;
  #at = 0;

  /** How many facts are held, at most FACTS_MAX. */
  get remembered(): number {
    return this.#size;
  }

  /** @returns the line (its text as Latin-1), or null where parseLine gives null */
  read(text: string): ReadLine | null {
    const expected = this.#expected(text);
    if (expected !== null) return expected;
    const line = parseLine(text);
    return line === null ? null : { kind: 'parsed', seq: line.seq, ms: Date.parse(line.time), line };
  }

  /** The line where it has the expected shape to the last character. */
  #expected(text: string): OpenedRead | EndedRead | null {
    const ms = this.#ms(text);
    if (ms === null) return null;
    this.#at = MILLIS_END;
    const seq = this.#count(text, SEQ);
    if (seq < 1) return null;
    const comma = this.#at;
    const ended = text.startsWith(ENDED, comma);
    if (!ended && !text.startsWith(DECIDED, comma)) return null;
    const idAt = comma + (ended ? ENDED.length : DECIDED.length);
    const idEnd = endOfText(text, idAt);
    if (idEnd < 0 || !text.startsWith(NODE, idEnd + 1)) return null;
    const factsEnd = text.indexOf(ended ? OUTCOME : ADDRESSES, idEnd + 1);
    if (factsEnd < 0) return null;
    const facts = this.#factsOf(text, idEnd + 1, factsEnd);
    if (facts === null) return null;
    const id = text.slice(idAt, idEnd);
    if (!ended) {
      DECIDED_REST.lastIndex = factsEnd;
      return facts.verdict === 'allow' && DECIDED_REST.test(text) ? { kind: 'opened', seq, ms, id, facts } : null;
    }
    const outcomeAt = factsEnd + OUTCOME.length;
    const outcomeEnd = text.indexOf('"', outcomeAt);
    const outcome = text.slice(outcomeAt, outcomeEnd) as EndedLine['outcome'];
    if (outcome !== 'closed' && !isCode(outcome)) return null;
    this.#at = outcomeEnd + 1;
    const bytes_up = this.#count(text, BYTES_UP);
    const bytes_down = this.#count(text, BYTES_DOWN);
    const duration = this.#count(text, DURATION);
    if (bytes_up < 0 || bytes_down < 0 || duration < 0) return null;
    ENDED_REST.lastIndex = this.#at;
    return ENDED_REST.test(text) ? { kind: 'ended', seq, ms, id, facts, outcome, bytes_up, bytes_down } : null;
  }

  /** The number after `key` at #at, which moves behind it; -1 where there is none in JSON's spelling. */
  #count(text: string, key: string): number {
    if (!text.startsWith(key, this.#at)) return -1;
    const from = this.#at + key.length;
    let at = from;
    let value = 0;
    for (let digit = text.charCodeAt(at) - ZERO; digit >= 0 && digit <= 9; digit = text.charCodeAt(++at) - ZERO)
      value = value * 10 + digit;
    this.#at = at;
    const sound = at > from && at - from <= DIGITS_MAX && (at - from === 1 || text.charCodeAt(from) !== ZERO);
    return sound ? value : -1;
  }

  #ms(text: string): number | null {
    if (!text.startsWith(this.#second)) {
      const start = text.slice(0, SECOND_END);
      const second = SECOND.exec(start)?.[1];
      const ms = second === undefined ? Number.NaN : Date.parse(`${second}Z`);
      if (!Number.isFinite(ms)) return null;
      this.#second = own(start);
      this.#secondMs = ms;
    }
    let millis = 0;
    for (let at = SECOND_END; at < MILLIS_END; at++) {
      const digit = text.charCodeAt(at) - ZERO;
      if (digit < 0 || digit > 9) return null;
      millis = millis * 10 + digit;
    }
    return this.#secondMs + millis;
  }

  #factsOf(text: string, from: number, to: number): Facts | null {
    const key = keyOf(text, from, to);
    const piece = text.slice(from, to);
    const alike = this.#known.get(key) ?? [];
    for (const known of alike) if (known.text === piece) return known.facts;
    const facts = parseFacts(piece);
    if (facts === null) return null;
    if (this.#size >= FACTS_MAX) {
      this.#known.clear();
      this.#size = 0;
    }
    this.#size++;
    this.#known.set(key, [{ text: own(piece), facts }, ...alike.slice(0, ALIKE_MAX - 1)]);
    return facts;
  }
}

const ZERO = 0x30;

/** Index of the quote that ends a string of plain characters, or -1. */
function endOfText(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) return at;
    if (code < 0x20 || code > 0x7e || code === 0x5c) return -1;
  }
  return -1;
}

/** A key of a piece of text. All of it counts: askers and hosts may differ in one character anywhere. */
function keyOf(text: string, from: number, to: number): number {
  let key = to - from;
  for (let at = from; at < to; at++) key = (Math.imul(key, 31) + text.charCodeAt(at)) | 0;
  return key;
}

/** A copy: a slice would keep the whole chunk of the file in memory. */
function own(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
