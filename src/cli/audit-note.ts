// Whether the running proxy has recorded something: what an operator asked for is done when its audit log says so, and not before.
import { statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parseLine } from '../audit/parse.ts';
import { readFileLines } from '../audit/read.ts';
import type { NoteLine } from '../policy/record.ts';

/** How often the log is looked at. */
const LOOK_MS = 50;

/** Where the log ends now: what is written later stands behind it. */
export function endOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** Waits until the log holds such a note behind `from`; false where it does not come in time. */
export async function noteComes(
  file: string,
  from: number,
  wanted: (note: NoteLine) => boolean,
  timeoutMs: number,
): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    if (holds(file, from, wanted)) return true;
    if (performance.now() >= end) return false;
    await delay(LOOK_MS);
  }
}

/** A rotated log is read from its begin. */
function holds(file: string, from: number, wanted: (note: NoteLine) => boolean): boolean {
  const size = endOf(file);
  if (size === from) return false;
  for (const raw of readFileLines(file, size < from ? 0 : from)) {
    const line = raw.state === 'whole' ? parseLine(raw.text) : null;
    if (line !== null && 'detail' in line && wanted(line)) return true;
  }
  return false;
}
