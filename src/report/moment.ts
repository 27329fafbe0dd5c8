// A moment as people write it: a span back from now, or a date or time. PURE.

const SPAN = /^(\d{1,6})(m|h|d|w)$/;
const SPAN_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const ISO = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2})?)?$/;

/**
 * Reads a span back from `now` (90m, 24h, 7d, 4w), or an ISO 8601 date or time, UTC unless it says otherwise.
 * @returns milliseconds since the epoch, or null where it is neither
 */
export function parseMoment(text: string, now: number): number | null {
  const span = spanMs(text);
  if (span !== null) return now - span;
  if (!ISO.test(text)) return null;
  const zoned = text.length > 10 && !/(?:Z|[+-]\d{2}:\d{2})$/.test(text) ? `${text}Z` : text;
  const at = Date.parse(zoned);
  // Date.parse takes 2026-02-31 for the third of March.
  const day = text.slice(0, 10);
  return Number.isFinite(at) && new Date(Date.parse(`${day}T00:00:00Z`)).toISOString().startsWith(day) ? at : null;
}

/** A span (90m, 24h, 7d, 4w) in ms; null where it is none. */
export function spanMs(text: string): number | null {
  const span = SPAN.exec(text);
  return span === null ? null : Number(span[1]) * (SPAN_MS[span[2] ?? ''] ?? 0);
}
