// A checkpoint: how far one log had come, which closed segments of it had been shipped, whether its process had ended, and which other
// logs there were and when each last spoke, in a second place and signed by the node's key. It proves what the chain alone cannot: that
// nothing was cut from the end of a log, and that no node is missing as a whole.
import { type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';

const HASH = z.string().regex(/^[0-9a-f]{64}$/);
/** ISO 8601, UTC. */
const TIME = z.iso.datetime();
const SEQ = z.int().min(1);

/** `NODE/LOG`, as their folders are called. */
export const ROSTER_NAME = /^[^/\0]{1,256}\/[^/\0]{1,256}$/;

const seen = z.strictObject({
  /** Times of the first checkpoint of it that was seen, and of the last. */
  first: TIME,
  last: TIME,
  /** Its last line then; null in an empty log. */
  seq: SEQ.nullable(),
});

const shape = z.strictObject({
  format: z.literal(1),
  node: z.string().min(1).max(256),
  time: TIME,
  /** Name of the log's file. */
  log: z.string().min(1).max(256),
  /** Last line of the log at that time: number and SHA-256; null in an empty log. */
  last: z.strictObject({ seq: SEQ, hash: HASH }).nullable(),
  /** Its process had ended in good order: nothing more is to come until it starts again. */
  stopped: z.boolean(),
  /** Closed files beside this one, by name without .gz: SHA-256 of what is in them, unpacked. */
  files: z.record(z.string().regex(/^[^/\0]{1,256}$/), z.strictObject({ sha256: HASH, bytes: z.int().min(0) })),
  /** Other logs of which checkpoints were seen. */
  roster: z.record(z.string().regex(ROSTER_NAME), seen),
  /** Ed25519 over the text of all above, base64. */
  signature: z.string().max(128).optional(),
});

export type Checkpoint = z.infer<typeof shape>;
export type Roster = Checkpoint['roster'];

const ENDING = '.checkpoint.json';

/** The name of the checkpoint of a log. */
export function checkpointName(log: string): string {
  return `${log}${ENDING}`;
}

/** The log that a file is the checkpoint of; null where it is none. */
export function logOfCheckpoint(name: string): string | null {
  return name.endsWith(ENDING) && name.length > ENDING.length ? name.slice(0, -ENDING.length) : null;
}

/** Values in a certain order, whatever the order of keys in the file. */
function signedText({ node, time, log, last, stopped, files, roster }: Checkpoint): Buffer {
  const all = [
    [node, time, log, last && [last.seq, last.hash], stopped],
    sorted(files).map(([name, { sha256, bytes }]) => [name, sha256, bytes]),
    sorted(roster).map(([name, { first, last: latest, seq }]) => [name, first, latest, seq]),
  ];
  return Buffer.from(`sallyport audit checkpoint 1\n${JSON.stringify(all)}\n`);
}

function sorted<T>(record: Readonly<Record<string, T>>): [string, T][] {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The text of the file; signed where there is a key. */
export function checkpointText(checkpoint: Checkpoint, key: KeyObject | null): string {
  const signed =
    key === null
      ? checkpoint
      : { ...checkpoint, signature: sign(null, signedText(checkpoint), key).toString('base64') };
  return `${JSON.stringify(signed, null, 1)}\n`;
}

/** Null where the text is no checkpoint. */
export function parseCheckpoint(text: string): Checkpoint | null {
  try {
    return shape.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

export function isSigned(checkpoint: Checkpoint, keys: readonly KeyObject[]): boolean {
  const { signature } = checkpoint;
  if (signature === undefined) return false;
  const bytes = Buffer.from(signature, 'base64');
  return keys.some((key) => verify(null, signedText(checkpoint), key, bytes));
}
