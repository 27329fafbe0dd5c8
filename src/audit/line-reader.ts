// Reads line after line of our own log without parsing each: the projection and the replay look at every line
// ever written. It judges exactly as parseLine does. LineWriter's lines of a request have a fixed shape; what is alike in many
// of them is parsed once and remembered by its text, the rest is scanned character by character. Whatever differs from that
// shape in anything (another key, an escape, damage) is given to parseLine.
import type { Below, DecidedLine, EndedLine, NoteLine } from '../policy/record.ts';
import { isCode, parseFacts, parseLine, type StoredLine } from './parse.ts';

/** What both lines of a request say. The same text gives the same object, so it can be a key. */
export type Facts = Pick<
  EndedLine,
  'node' | 'identity' | 'client' | 'host' | 'port' | 'method' | 'verdict' | 'reason' | 'group' | 'rule' | 'policy'
> &
  Below;

/** What a decided line says besides: the nearest miss, and how the request ended where it ended with this line. */
export type DecidedFacts = Facts & Pick<DecidedLine, 'nearest' | 'outcome'>;

interface Read {
  readonly seq: number;
  /** The line's time, milliseconds since 1970. */
  readonly ms: number;
}

export interface DecidedRead extends Read {
  readonly kind: 'decided';
  readonly id: string;
  readonly facts: DecidedFacts;
}

export interface EndedRead extends Read {
  readonly kind: 'ended';
  readonly id: string;
  readonly facts: Facts;
  readonly outcome: EndedLine['outcome'];
  readonly bytes_up: number;
  readonly bytes_down: number;
}

export interface NoteRead extends Read {
  readonly kind: 'note';
  readonly line: NoteLine;
}

export type ReadLine = DecidedRead | EndedRead | NoteRead;

/** Distinct facts that are remembered, some 1 KB each: hosts times askers of the lines at hand. */
const FACTS_MAX = 8_192;

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
const USER_AGENT = ',"user_agent":';
const OUTCOME = ',"outcome":"';
const BYTES_UP = ',"bytes_up":';
const BYTES_DOWN = ',"bytes_down":';
const DURATION = ',"duration_ms":';

// Printable ASCII without quote and backslash: a JSON string of these is itself.
const TEXT = '"[ !#-\\[\\]-~]*"';
const LIST = `\\[(?:${TEXT}(?:,${TEXT})*)?\\]`;
const COUNT = '(?:0|[1-9][0-9]{0,14})';
const PREV = ',"prev":"[0-9a-f]{64}"\\}$';
const PREV_LENGTH = 75;
const ADDRESSES_REST = `(?:,"addresses":${LIST}(?:,"dropped":${LIST})?)?`;
const DECIDED_REST = new RegExp(`${ADDRESSES_REST}(?:,"user_agent":${TEXT})?${PREV}`, 'y');
const ENDED_REST = new RegExp(`(?:,"address":${TEXT})?(?:,"status":${COUNT})?${PREV}`, 'y');

/** A parsed line as the reader gives it. */
export function asRead(line: StoredLine): ReadLine {
  const { seq } = line;
  const ms = Date.parse(line.time);
  if (line.event === 'decided') return { kind: 'decided', seq, ms, id: line.id, facts: line };
  if (line.event !== 'ended') return { kind: 'note', seq, ms, line };
  const { id, outcome, bytes_up, bytes_down } = line;
  return { kind: 'ended', seq, ms, id, facts: line, outcome, bytes_up, bytes_down };
}

export class LineReader {
  /** By their text in the line. */
  readonly #known = new Map<string, DecidedFacts>();
  /** The first 29 characters of the last line, and what they mean. */
  #second = '\n';
  #secondMs = 0;
  #at = 0;

  /** How many facts are held, at most FACTS_MAX. */
  get remembered(): number {
    return this.#known.size;
  }

  /** @returns the line (its text as Latin-1), or null where parseLine gives null */
  read(text: string): ReadLine | null {
    const expected = this.#expected(text);
    if (expected !== null) return expected;
    const line = parseLine(text);
    return line === null ? null : asRead(line);
  }

  /** The line where it has the expected shape to the last character. */
  #expected(text: string): DecidedRead | EndedRead | null {
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
    const factsEnd = ended ? text.indexOf(OUTCOME, idEnd) : endOfFacts(text, idEnd);
    if (factsEnd < idEnd) return null;
    const facts = this.#factsOf(text.slice(idEnd + 1, factsEnd));
    if (facts === null) return null;
    const id = text.slice(idAt, idEnd);
    if (!ended) {
      DECIDED_REST.lastIndex = factsEnd;
      return DECIDED_REST.test(text) ? { kind: 'decided', seq, ms, id, facts } : null;
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

  #factsOf(piece: string): DecidedFacts | null {
    const known = this.#known.get(piece);
    if (known !== undefined) return known;
    const facts = parseFacts(piece);
    if (facts === null) return null;
    if (this.#known.size >= FACTS_MAX) this.#known.clear();
    this.#known.set(own(piece), facts);
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

/** Where the facts of a decided line end: before what each such line has of its own. */
function endOfFacts(text: string, from: number): number {
  const addresses = text.indexOf(ADDRESSES, from);
  if (addresses >= 0) return addresses;
  const agent = text.indexOf(USER_AGENT, from);
  return agent >= 0 ? agent : text.length - PREV_LENGTH;
}

/** A copy: a slice would keep the whole chunk of the file in memory. */
function own(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
