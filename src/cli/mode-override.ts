// The operator's temporary mode: `sallyport mode observe --for-minutes 30 --reason …` leaves a file beside the audit log and
// wakes the proxy; the proxy obeys it until its time is over, a restart included, and then reverts by itself.
import fs from 'node:fs';
import type { Mode } from '../policy/compile.ts';

export interface ModeOverride {
  readonly mode: Mode;
  /** RFC 3339; past it the override is void. */
  readonly until: string;
  readonly reason: string;
  readonly by: string;
  readonly at: string;
}

/** Where the override of a proxy with that audit log stands. */
export function overrideFile(auditFile: string): string {
  return `${auditFile}.mode.json`;
}

const OVERRIDE_BYTES_MAX = 16_384;
// setTimeout fires at once for longer waits; 24 hours is also the longest that the command accepts.
const OVERRIDE_MS_MAX = 86_400_000;

/**
 * Reads the override in force at `nowMs`.
 * @returns null where there is none or its time is over; `problem` where the file is there and cannot be obeyed: it then counts as absent
 */
export function readOverride(
  auditFile: string,
  nowMs: number,
): { override: ModeOverride | null; problem: string | null } {
  const file = overrideFile(auditFile);
  let text: string;
  try {
    if (fs.statSync(file).size > OVERRIDE_BYTES_MAX) return { override: null, problem: `${file} is too large` };
    text = fs.readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { override: null, problem: null };
    return { override: null, problem: `${file} cannot be read: ${(error as Error).message}` };
  }
  const value = parse(text);
  if (!value)
    return { override: null, problem: `${file} is not a mode override; remove it with \`sallyport mode clear\`` };
  const untilMs = Date.parse(value.until);
  if (untilMs <= nowMs) return { override: null, problem: null };
  if (untilMs - nowMs > OVERRIDE_MS_MAX)
    return { override: null, problem: `${file} lasts longer than a day and is ignored` };
  return { override: value, problem: null };
}

function parse(text: string): ModeOverride | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { mode, until, reason, by, at } = value as Record<string, unknown>;
  if (mode !== 'enforce' && mode !== 'observe') return null;
  if (typeof until !== 'string' || Number.isNaN(Date.parse(until))) return null;
  if (typeof reason !== 'string' || typeof by !== 'string' || typeof at !== 'string') return null;
  return { mode, until, reason, by, at };
}
