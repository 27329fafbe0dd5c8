// A checkpoint: how far the log of one proxy had come, and which closed segments it had then, in a second place and signed by the proxy's
// key. It proves what the chain alone cannot: that nothing was cut from the end of what lies there.
import { type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';

const HASH = z.string().regex(/^[0-9a-f]{64}$/);

const shape = z.strictObject({
  format: z.literal(1),
  node: z.string().min(1).max(256),
  /** ISO 8601, UTC. */
  time: z.string().max(32),
  /** Name of the log's file. */
  log: z.string().min(1).max(256),
  /** Last line of the log at that time: number and SHA-256; null in an empty log. */
  last: z.strictObject({ seq: z.int().min(1), hash: HASH }).nullable(),
  /** Closed files beside this one, by name without .gz: SHA-256 of what is in them, unpacked. */
  files: z.record(z.string().regex(/^[^/\0]{1,256}$/), z.strictObject({ sha256: HASH, bytes: z.int().min(0) })),
  /** Ed25519 over the text of all above, base64. */
  signature: z.string().max(128).optional(),
});

export type Checkpoint = z.infer<typeof shape>;

export const CHECKPOINT_FILE = 'checkpoint.json';

function signedText(checkpoint: Checkpoint): Buffer {
  const { signature: _, files, ...rest } = checkpoint;
  const sorted = Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1));
  return Buffer.from(
    `sallyport audit checkpoint 1\n${JSON.stringify([rest.node, rest.time, rest.log, rest.last, sorted])}\n`,
  );
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
