// Edits of a text at offsets → the edited text, and the same change as a unified diff that `patch` applies. PURE.
// Because the edits are known, no difference has to be searched for: what no edit names stays, byte for byte.
import { inert } from './inert.ts';

/** At `at`, `remove` characters give way to `text`. Edits do not overlap; those at one offset keep their order. */
export interface Edit {
  readonly at: number;
  readonly remove: number;
  readonly text: string;
}

/** Whole lines of the text before, and what stands there afterwards. */
interface Change {
  readonly start: number;
  end: number;
  readonly edits: Edit[];
}

/** Unchanged lines shown around a change, as diff(1) does. */
const CONTEXT = 3;

/** The text with every edit made. */
export function applyEdits(before: string, edits: readonly Edit[]): string {
  return applied(before, 0, before.length, inOrder(edits));
}

/**
 * The edits as a unified diff; '' without one.
 * @param name stands in both headers; a name of a file may hold anything, so it is made inert
 */
export function unifiedDiff(before: string, edits: readonly Edit[], name: string): string {
  const lines = linesOf(before);
  const changes = changesOf(before, inOrder(edits));
  if (changes.length === 0) return '';
  const text = [`--- ${inert(name)}\n+++ ${inert(name)}\n`];
  let line = 0;
  let offset = 0;
  /** Lines that came in minus lines that went, so far. */
  let shift = 0;
  const placed = changes.map(({ start, end, edits: own }) => {
    while (offset < start) offset += lines[line++]?.length ?? 1;
    const from = line;
    while (offset < end) offset += lines[line++]?.length ?? 1;
    return { from, to: line, added: linesOf(applied(before, start, end, own)) };
  });
  for (let at = 0; at < placed.length; ) {
    let next = at + 1;
    while (next < placed.length && (placed[next]?.from ?? 0) - (placed[next - 1]?.to ?? 0) <= CONTEXT * 2) next += 1;
    const hunk = placed.slice(at, next);
    const first = Math.max(0, (hunk[0]?.from ?? 0) - CONTEXT);
    const last = Math.min(lines.length, (hunk.at(-1)?.to ?? 0) + CONTEXT);
    let body: string[] = [];
    let here = first;
    let more = 0;
    for (const { from, to, added } of hunk) {
      body = body.concat(
        lines.slice(here, from).map((each) => shown(' ', each)),
        lines.slice(from, to).map((each) => shown('-', each)),
        added.map((each) => shown('+', each)),
      );
      here = to;
      more += added.length - (to - from);
    }
    body = body.concat(lines.slice(here, last).map((each) => shown(' ', each)));
    const count = last - first;
    text.push(`@@ -${range(first, count)} +${range(first + shift, count + more)} @@\n`, body.join(''));
    shift += more;
    at = next;
  }
  return text.join('');
}

function inOrder(edits: readonly Edit[]): Edit[] {
  return [...edits].sort((a, b) => a.at - b.at);
}

function applied(before: string, start: number, end: number, edits: readonly Edit[]): string {
  const parts: string[] = [];
  let here = start;
  for (const { at, remove, text } of edits) {
    parts.push(before.slice(here, at), text);
    here = at + remove;
  }
  parts.push(before.slice(here, end));
  return parts.join('');
}

/** The edits gathered by the lines that they touch; whole lines that come in between two lines touch none. */
function changesOf(before: string, edits: readonly Edit[]): Change[] {
  const changes: Change[] = [];
  for (const edit of edits) {
    const { at, remove, text } = edit;
    const start = before.lastIndexOf('\n', at - 1) + 1;
    const between = remove === 0 && at === start && text.endsWith('\n');
    const newline = before.indexOf('\n', at + remove);
    const end = between ? at : newline < 0 ? before.length : newline + 1;
    const last = changes.at(-1);
    if (last !== undefined && start < last.end) {
      last.end = Math.max(last.end, end);
      last.edits.push(edit);
    } else changes.push({ start, end, edits: [edit] });
  }
  return changes;
}

/** Lines with their ends. */
function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function shown(sign: string, line: string): string {
  return line.endsWith('\n') ? `${sign}${line}` : `${sign}${line}\n\\ No newline at end of file\n`;
}

/** An empty range is named by the line before it. */
function range(first: number, count: number): string {
  return `${count === 0 ? first : first + 1},${count}`;
}
