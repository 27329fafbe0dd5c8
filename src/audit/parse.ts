// A line of the audit log, read back: bytes → Line, or null where it is not one. The log is the truth of what happened,
// and its file can be edited by anyone who has the disk: nothing is believed that was not checked here.
import { hash } from 'node:crypto';
import { IDENTITY_KINDS, type Line, NOTE_EVENTS, VERDICTS } from '../policy/record.ts';
import type { DecidedFacts } from './line-reader.ts';

/** A line with its chain hash, as it stands in the file. */
export type StoredLine = Line & { readonly prev: string };

const NOTES: ReadonlySet<unknown> = new Set(NOTE_EVENTS);
const OF_VERDICT: ReadonlySet<unknown> = new Set(VERDICTS);
const KINDS: ReadonlySet<unknown> = new Set(IDENTITY_KINDS);

/** SHA-256 (hex) of a line's bytes without its newline: the `prev` of the line after it. */
export function lineHash(line: string): string {
  return hash('sha256', line, 'hex');
}

/** @returns the line, or null where it is not valid JSON or lacks what every reader relies on */
export function parseLine(text: string): StoredLine | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(value) || !isStamped(value)) return null;
  if (NOTES.has(value['event'])) return isObject(value['detail']) ? (value as unknown as StoredLine) : null;
  if (!isRequest(value)) return null;
  if (value['event'] === 'decided') return isOutcome(value['outcome'], true) ? (value as unknown as StoredLine) : null;
  if (value['event'] !== 'ended' || !isOutcome(value['outcome'], false)) return null;
  return isCount(value['bytes_up']) && isCount(value['bytes_down']) ? (value as unknown as StoredLine) : null;
}

const FACTS = ['node', 'identity', 'client', 'host', 'port', 'method', 'verdict', 'reason', 'group', 'rule', 'policy'];
/** What may follow them in a decided line. */
const MORE: ReadonlySet<string> = new Set(['nearest', 'dropped', 'outcome']);

/**
 * Reads the members of a request's line from `,"node":` to the end of `policy`, or of what may follow it in a decided line.
 * @returns null where they are not exactly these, in this order, and valid as in parseLine
 */
export function parseFacts(members: string): DecidedFacts | null {
  let value: unknown;
  try {
    value = JSON.parse(`{"id":""${members}}`);
  } catch {
    return null;
  }
  if (!isObject(value)) return null;
  const { id, ...facts } = value;
  const keys = Object.keys(facts);
  const expected = FACTS.every((key, at) => key === keys[at]) && keys.slice(FACTS.length).every((key) => MORE.has(key));
  if (!expected || id !== '') return null;
  const sound = typeof facts['node'] === 'string' && typeof facts['policy'] === 'string' && isRequest(value);
  return sound && isOutcome(facts['outcome'], true) ? (facts as unknown as DecidedFacts) : null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isStamped(value: Record<string, unknown>): boolean {
  return (
    isTime(value['time']) &&
    isCount(value['seq']) &&
    value['seq'] !== 0 &&
    typeof value['node'] === 'string' &&
    typeof value['policy'] === 'string' &&
    typeof value['prev'] === 'string' &&
    value['prev'].length === 64
  );
}

const TIME = /^\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z$/;

/** As the writer writes it: Date.parse alone takes any text in parentheses, and readers show a time as it stands. */
function isTime(value: unknown): boolean {
  return typeof value === 'string' && TIME.test(value) && Number.isFinite(Date.parse(value));
}

function isRequest(value: Record<string, unknown>): boolean {
  return (
    typeof value['id'] === 'string' &&
    isIdentity(value['identity']) &&
    typeof value['client'] === 'string' &&
    isText(value['host']) &&
    (value['port'] === null || isCount(value['port'])) &&
    typeof value['method'] === 'string' &&
    OF_VERDICT.has(value['verdict']) &&
    isCode(value['reason']) &&
    isText(value['group']) &&
    isText(value['rule']) &&
    isBelow(value)
  );
}

/** Of a request inside an inspected CONNECT. */
function isBelow(value: Record<string, unknown>): boolean {
  return ['tunnel', 'path', 'line'].every((key) => value[key] === undefined || typeof value[key] === 'string');
}

function isIdentity(value: unknown): boolean {
  if (!isObject(value) || !KINDS.has(value['kind'])) return false;
  return isNames(value['attributes']) && isNames(value['claimed']);
}

function isNames(value: unknown): boolean {
  return isObject(value) && Object.values(value).every((entry) => typeof entry === 'string');
}

function isText(value: unknown): boolean {
  return value === null || typeof value === 'string';
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isOutcome(value: unknown, optional: boolean): boolean {
  return isCode(value) || (optional && value === undefined);
}

const CODE = /^[a-z][a-z0-9-]{0,63}$/;

/** Reasons and outcomes are codes of errors.ts; a reader may be older than the log, so their shape is checked, not the list. */
export function isCode(value: unknown): boolean {
  return typeof value === 'string' && CODE.test(value);
}
