// Checks of a parsed request head that llhttp does not make: version, number of fields, doubled fields. Reads raw name/value
// lists, because Node's `headers` object silently drops or joins doubled fields.
import type { RequestErrorCode } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';

export interface HeadProblem {
  readonly code: RequestErrorCode;
  readonly detail: string | null;
}

/** The value of the first field of that name (lower case), or undefined. `raw` holds names and values in turn. */
export function fieldValue(raw: readonly string[], name: string): string | undefined {
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const field = raw[i];
    if (field !== undefined && field.length === name.length && field.toLowerCase() === name) return raw[i + 1];
  }
  return undefined;
}

/** How many fields of that name (lower case) there are. */
export function fieldCount(raw: readonly string[], name: string): number {
  let count = 0;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const field = raw[i];
    if (field !== undefined && field.length === name.length && field.toLowerCase() === name) count++;
  }
  return count;
}

/** What every request must satisfy; null when it does. */
export function headProblem(version: string, raw: readonly string[], limits: Limits, meter: Meter): HeadProblem | null {
  if (version !== '1.1' && version !== '1.0')
    return { code: 'http-version', detail: `the request says HTTP/${version}` };
  if (raw.length / 2 > limits.head_fields) {
    meter.hit('head_fields');
    return { code: 'head-too-large', detail: `${raw.length / 2} header lines; the limit is ${limits.head_fields}` };
  }
  if (fieldCount(raw, 'host') > 1) return { code: 'host-header', detail: 'there are two Host headers' };
  if (fieldCount(raw, 'proxy-authorization') > 1)
    return { code: 'request-malformed', detail: 'there are two Proxy-Authorization headers' };
  return null;
}
