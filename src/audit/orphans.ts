// What a process that died leaves behind at the end of a log: half a line, and requests that nobody will end any more.
import fs from 'node:fs';
import type { DecidedLine, Ended } from '../policy/record.ts';

export interface Repaired {
  readonly file: string;
  readonly bytes: number;
}

/** A crash in the middle of a write leaves bytes without a newline: no record was acknowledged for them. Kept, not deleted. */
export function setTornAside(
  file: string,
  seq: number,
  torn: { readonly offset: number; readonly bytes: number } | null,
): Repaired | null {
  if (torn === null) return null;
  const bytes = Buffer.alloc(torn.bytes);
  const fd = fs.openSync(file, 'r+');
  try {
    fs.readSync(fd, bytes, 0, bytes.length, torn.offset);
    const aside = `${file}.torn-${seq + 1}`;
    fs.writeFileSync(aside, bytes, { mode: 0o640 });
    fs.ftruncateSync(fd, torn.offset);
    return { file: aside, bytes: bytes.length };
  } finally {
    fs.closeSync(fd);
  }
}

/** Bytes and duration of a request whose end nobody saw are not known and stand as 0. */
export function interruptedRecord(line: DecidedLine): Ended {
  const { id, identity, client, host, port, method, verdict, reason, group, rule, policy } = line;
  const { tunnel, path, line: below } = line;
  const inside =
    tunnel === undefined
      ? {}
      : { tunnel, ...(path === undefined ? {} : { path }), ...(below === undefined ? {} : { line: below }) };
  const unknown = { outcome: 'interrupted', bytes_up: 0, bytes_down: 0, duration_ms: 0 } as const;
  return { id, identity, client, host, port, method, verdict, reason, group, rule, policy, ...inside, ...unknown };
}
