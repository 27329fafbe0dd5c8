// The lines of a usage export, JSON each: what `usage export` writes and `usage import` reads (docs/usage-export.md).
// A head; for each log a line that says how far it is counted, and its rows; the last refusals; an end with the number of lines
// before it, so that a file that was cut short is not taken for a whole one. What is read is checked before it is believed.
import { z } from 'zod';
import { parseLine } from '../audit/parse.ts';
import { ACTOR_COLUMNS } from './schema.ts';
import { storable } from './tally.ts';

const count = z.number().int().nonnegative();
const text = z.string().max(65_536).transform(storable);
const position = z.strictObject({ file_id: text, offset: count, seq: count, hash: text });
const verdict = z.enum(['allow', 'deny', 'observe']);
const actor = z.strictObject(
  Object.fromEntries(ACTOR_COLUMNS.map((name) => [name, text])) as Record<(typeof ACTOR_COLUMNS)[number], typeof text>,
);

const head = z.strictObject({
  format: z.literal('sallyport-usage'),
  version: z.literal(1),
  exported: text,
  daily_before: count,
});
const log = z.strictObject({
  log: text,
  /** The node whose checkpoint it is. */
  node: text,
  checkpoint: position,
  branches: z.array(position),
  nodes: z.array(
    z.strictObject({
      name: text,
      first: count.nullable(),
      last: count.nullable(),
      damaged_lines: count,
      missing_lines: count,
    }),
  ),
});
const usage = z.strictObject({
  node: text,
  hour: count,
  host: text,
  port: count.max(65_535),
  rule: text,
  group: text,
  actor,
  kind: z.enum(['connect', 'forward']),
  verdict,
  reason: text,
  outcome: text,
  requests: count,
  bytes_up: count,
  bytes_down: count,
  first_seen: count,
  last_seen: count,
});
/** A nearest miss as JSON, or nothing. */
const nearest = text.refine((miss) => miss === '' || isObject(miss));
/** A row of `path`; `day` is the first hour of it. */
const below = z.strictObject({
  node: text,
  day: count,
  host: text,
  port: count.max(65_535),
  actor,
  method: text,
  path: text,
  verdict,
  reason: text,
  requests: count,
  bytes_up: count,
  bytes_down: count,
  first_seen: count,
  last_seen: count,
  nearest,
});
/** A decided line, as in the log: reports read it. */
const decided = z.string().refine((line) => parseLine(line)?.event === 'decided');
const open = z.strictObject({ node: text, open: text, line: decided });
const denied = z.strictObject({
  host: text,
  port: count.max(65_535),
  denied: z.strictObject({ reason: text, nearest, rule: text, last_seen: count }),
});
const end = z.strictObject({ end: count });

export type HeadLine = z.output<typeof head>;
export type LogLine = z.output<typeof log>;
export type UsageLine = z.output<typeof usage>;
export type PathLine = z.output<typeof below>;
export type OpenLine = z.output<typeof open>;
export type DeniedLine = z.output<typeof denied>;
export type TransferLine = HeadLine | LogLine | UsageLine | PathLine | OpenLine | DeniedLine | z.output<typeof end>;

const SHAPES = { format: head, log, hour: usage, day: below, open, denied, end } as const;

/** @returns null where the text is no such line */
export function parseTransfer(line: string): TransferLine | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  // Each kind has a member that no other has.
  const kind = (Object.keys(SHAPES) as (keyof typeof SHAPES)[]).find((name) => Object.hasOwn(value, name));
  const parsed = kind === undefined ? null : SHAPES[kind].safeParse(value);
  return parsed?.success ? parsed.data : null;
}

function isObject(json: string): boolean {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null;
  } catch {
    return false;
  }
}
