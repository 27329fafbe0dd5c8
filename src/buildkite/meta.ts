// The answer of Buildkite's Meta API, read strictly: the addresses that webhooks come from become firewall rules, so an answer that is
// empty, odd or too wide is an error and never a list. These are sources of what comes in, and never become rules for what goes out.
import { z } from 'zod';
import { type Cidr, classifyAddress, parseCidr, prefixLength } from '../policy/address.ts';
import { formatIp } from '../policy/ip.ts';

export const META_URL = 'https://api.buildkite.com/v2/meta';

/** Ranges in one answer; Buildkite has about a dozen. */
const RANGES_MAX = 1_000;
/** The widest range that is believed, by prefix length. */
const WIDEST = { 4: 8, 6: 16 } as const;

const shape = z.object({ webhook_ips: z.array(z.string()).min(1).max(RANGES_MAX) });

export type MetaResult =
  | { readonly ok: true; readonly ranges: readonly Cidr[] }
  | { readonly ok: false; readonly problem: string };

/** Reads the body. Ranges come back canonical, once each, IPv4 first, in order of address. */
export function parseMeta(body: string): MetaResult {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return { ok: false, problem: 'the answer is not JSON' };
  }
  const parsed = shape.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return { ok: false, problem: `${issue?.path.join('.') || 'the answer'}: ${issue?.message ?? 'unknown'}` };
  }
  const ranges = new Map<string, Cidr>();
  for (const text of parsed.data.webhook_ips) {
    const range = parseCidr(text);
    const problem = range === null ? 'is no address or range' : rangeProblem(range);
    if (range === null || problem !== null)
      return { ok: false, problem: `webhook_ips: ${JSON.stringify(text)} ${problem}` };
    ranges.set(range.text, range);
  }
  return { ok: true, ranges: [...ranges.values()].sort(byAddress) };
}

function rangeProblem(range: Cidr): string | null {
  if (prefixLength(range) < WIDEST[range.family]) return `is wider than /${WIDEST[range.family]}`;
  const addressClass = classifyAddress(formatIp(range));
  return addressClass === 'public' ? null : `is not public (${addressClass})`;
}

function byAddress(a: Cidr, b: Cidr): number {
  if (a.family !== b.family) return a.family - b.family;
  for (const [index, group] of a.groups.entries()) {
    const difference = group - (b.groups[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.bits - b.bits;
}

export interface MetaChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** What one list has and the other has not. */
export function metaChange(before: readonly string[], after: readonly string[]): MetaChange {
  return {
    added: after.filter((text) => !before.includes(text)),
    removed: before.filter((text) => !after.includes(text)),
  };
}
