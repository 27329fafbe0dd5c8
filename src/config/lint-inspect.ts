// Findings about what a rule says below its host: lines that let everything through, that a deny covers, or that strangers fit too. PURE.
import type { RuleSource } from '../policy/compile.ts';
import type { InspectEntry } from '../policy/inspect.ts';
import { coversAll, patternCovers } from '../policy/path-pattern.ts';
import type { Lint } from './schema.ts';

type Tell = (code: `lint-${Lint}`, message: string, hint?: string) => void;

/** The findings of one rule; what a preset says in several lines is said once. */
export function inspectFindings({ inspect, pattern }: RuleSource, tell: Tell): void {
  if (inspect === null) return;
  const told = new Set<string>();
  for (const entry of inspect.allow) {
    const key = `${entry.origin} ${entry.text}`;
    if (told.has(key)) continue;
    const finding = findingOf(entry, inspect.deny, pattern.text);
    if (finding === null) continue;
    told.add(key);
    tell(...finding);
  }
}

function findingOf(entry: InspectEntry, deny: readonly InspectEntry[], host: string): Parameters<Tell> | null {
  const over = deny.find((one) => shadows(one, entry));
  if (over !== undefined) {
    const message = `${entry.text} at ${entry.origin} lets nothing through: ${over.text} at ${over.origin} denies all of it`;
    return ['lint-shadowed', message, 'Remove one of the two lines: a deny always wins.'];
  }
  const free = entry.query === null && entry.headers.length === 0 && entry.buckets === null;
  if (free && entry.methods === null && coversAll(entry.path)) {
    const message = `${entry.text} at ${entry.origin} lets every request to ${host} through: it is decrypted for nothing`;
    return ['lint-inspect-all', message];
  }
  const glob = entry.buckets?.find((bucket) => bucket.includes('*'));
  if (glob === undefined) return null;
  const message = `${entry.text} at ${entry.origin}: anyone may make a bucket whose name fits ${glob}`;
  return ['lint-multi-tenant', message, 'List the buckets that are yours by their whole names.'];
}

/** The deny takes all that the line lets through. */
function shadows(deny: InspectEntry, { methods, path }: InspectEntry): boolean {
  if (deny.query !== null || deny.headers.length > 0 || deny.buckets !== null) return false;
  const all = deny.methods === null || (methods?.every((method) => deny.methods?.includes(method)) ?? false);
  return all && patternCovers(deny.path, path);
}
