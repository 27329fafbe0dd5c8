// Everything that `suggest` says, from the store, the audit log and the policy file: the lines, the rules that nothing uses,
// the pipelines of which nothing is known, and the edits of the file. What it proposes has been loaded before it is shown.
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type LoadedHere, loadConfigHere } from '../config/load-here.ts';
import { SallyportError } from '../errors.ts';
import { Policy } from '../policy/decide.ts';
import { parsePattern } from '../policy/pattern.ts';
import { statedAttributes } from '../policy/record.ts';
import type { Store } from '../usage/store.ts';
import { OVERFLOW } from '../usage/tally.ts';
import { readInternal } from './internal.ts';
import { readPaths } from './paths.ts';
import { editPolicy } from './policy-edit.ts';
import { type Facts, readFacts } from './query.ts';
import { readBegin, readPipelinesSeen, readSeen, readUses } from './seen.ts';
import { standingOf } from './standing.ts';
import { type SeenRow, type SuggestedLine, suggest } from './suggest.ts';
import { type SuggestedPath, suggestPaths } from './suggest-paths.ts';
import { additionsOf, headingOf, remarksOf, unusedComments } from './suggest-yaml.ts';
import { applyEdits, unifiedDiff } from './text-edits.ts';
import { type UnusedRule, unusedRules } from './unused.ts';
import { createView } from './view.ts';

const DAY_MS = 86_400_000;

export interface SuggestionInput {
  readonly file: string;
  /** Its text as it stands on the disk, a byte-order mark included. */
  readonly text: string;
  readonly loaded: LoadedHere;
  /** The window, ms. */
  readonly from: number;
  readonly to: number;
  /** When rules are judged, and from when on what is unused is counted back. */
  readonly now: number;
  readonly pipeline: string | null;
  readonly jobsMin: number;
  readonly scoped: boolean;
  readonly unusedDays: number;
}

export interface UnknownPipeline {
  readonly pipeline: string;
  /** ms; null where only the policy names it. */
  readonly last_seen: number | null;
}

export interface Suggestion {
  readonly window: { readonly from: number; readonly to: number };
  readonly truncated: boolean;
  readonly lines: readonly SuggestedLine[];
  readonly unused: readonly UnusedRule[];
  /** Why unused rules were not looked for; null where they were. */
  readonly no_removals: string | null;
  readonly unknown_pipelines: readonly UnknownPipeline[];
  /** Lines for rules that inspect their host; they are said in the remarks, and the file is not edited. */
  readonly below: readonly SuggestedPath[];
  /** What does not belong into the file, as lines. */
  readonly remarks: readonly string[];
  /** The whole file with the edits. */
  readonly policy: string;
  /** The edits as a unified diff; '' without one. */
  readonly diff: string;
}

/** @throws Error where the proposed policy would not load: a fault of ours */
export async function buildSuggestion(store: Store, input: SuggestionInput): Promise<Suggestion> {
  const { loaded, from, to, now, text, file } = input;
  const policy = new Policy(loaded.policy);
  const facts = await readFacts(store);
  const recorded = { from: Math.max(from, facts.first ?? to), to: Math.min(to, facts.last ?? from) };
  const isEmpty = recorded.from > recorded.to;
  const window = isEmpty ? { from, to } : recorded;
  const { rows, truncated } = await readSeen(store, { from, to, pipeline: input.pipeline, job: null });
  const lines = await linesOf(input, policy, rows, window);
  const { unused, noRemovals } = await unusedOf(store, input, policy, facts, isEmpty);
  const additions = additionsOf(lines, text);
  const removals = unused.map((rule) => ({ line: lineOf(rule.origin), comments: unusedComments(rule), rule }));
  const edited = editPolicy(text, headingOf(window), additions, removals);
  const proposed = applyEdits(text, edited.edits);
  checkLoads(file, proposed, now);
  const unknown = await unknownPipelines(store, input, policy, rows);
  const below = await pathsOf(store, input, policy);
  const remarks = remarksOf({
    below,
    ...{ window, isEmpty, lines, unknown, noRemovals, truncated, pipeline: input.pipeline },
    extended: new Map(
      [...edited.extended].map(([{ extend, item }, line]) => [extend?.values.join(', ') ?? item, line]),
    ),
    stuck: removals.filter((removal) => !edited.removed.has(removal)).map(({ rule }) => rule),
  });
  const diff = unifiedDiff(text, edited.edits, file);
  const found = { window, truncated, lines, below, unused, no_removals: noRemovals, unknown_pipelines: unknown };
  return { ...found, remarks, policy: proposed, diff };
}

/** What `suggest --json` and the admin API give. */
export function suggestionJson({ window, remarks: _, policy: __, diff, ...found }: Suggestion): object {
  const time = (ms: number): string => new Date(ms).toISOString();
  return { window: { from: time(window.from), to: time(window.to) }, ...found, diff };
}

/** The file in which the rules stand: that of the machine, or the one that its `policy.source` names. */
export function rulesFile(file: string, { settings }: Pick<LoadedHere, 'settings'>): string {
  return settings.policyFile ?? file;
}

/**
 * The text of the policy file as it was loaded. It has been judged to be UTF-8; the byte-order mark that the loader drops is the
 * operator's and stays.
 * @throws SallyportError `config-unreadable` where it has changed since
 */
export function policyText(file: string, loaded: LoadedHere): string {
  const bytes = readFileSync(file);
  if (hash('sha256', bytes) !== loaded.files.find((read) => read.file === file)?.digest)
    throw new SallyportError('config-unreadable', `${file} changed while it was read`, { hint: 'Try it again.' });
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
}

async function linesOf(
  { loaded, now, jobsMin, scoped }: SuggestionInput,
  policy: Policy,
  rows: readonly SeenRow[],
  window: Suggestion['window'],
): Promise<SuggestedLine[]> {
  const { catalog, settings } = loaded;
  const view = createView({ catalog, rules: policy.rules(), expectedDenials: settings.expectedDenials });
  const guarded = loaded.tests
    .filter(
      ({ wanted, request, below }) =>
        wanted !== 'allow' && below === null && policy.decide(request).reason !== 'host-denied',
    )
    .map(({ request: { authority } }) => ({ host: authority.host, port: authority.port }));
  return suggest({
    ...{ rows, catalog, window, jobsMin, scoped, guarded },
    standing: (row) => standingOf(policy, row, now),
    isExpected: (host) => view.isExpected(host),
    internal: await readInternal(settings.audit.file, policy, window),
  });
}

/** What was refused below inspected hosts, or only observed. */
async function pathsOf(
  store: Store,
  { from, to, pipeline }: SuggestionInput,
  policy: Policy,
): Promise<SuggestedPath[]> {
  const rules = [...policy.rules()].flatMap(({ pattern: text, origin, inspect }) => {
    const parsed = inspect === null ? null : parsePattern(text);
    return inspect === null || !parsed?.ok ? [] : [{ pattern: parsed.pattern, origin, inspect }];
  });
  if (rules.length === 0) return [];
  const { denied_paths: refused } = await readPaths(store, { from, to, pipeline, job: null });
  return suggestPaths(
    refused.map((row) => ({ ...row, fix: row.nearest?.fix ?? '' })),
    rules,
  );
}

/** Unused rules, where the records go back far enough and are whole. */
async function unusedOf(
  store: Store,
  { loaded, from, now, pipeline, unusedDays }: SuggestionInput,
  policy: Policy,
  facts: Facts,
  isEmpty: boolean,
): Promise<{ unused: UnusedRule[]; noRemovals: string | null }> {
  const none = (noRemovals: string) => ({ unused: [], noRemovals });
  if (isEmpty) return none('nothing was recorded in the window');
  // Counted back from the last record: while nothing was recorded, nothing could be used.
  const end = Math.min(now, facts.last ?? now);
  const longAgo = end - unusedDays * DAY_MS;
  const begin = await readBegin(store);
  if (pipeline !== null) return none('one pipeline does not say what others need');
  if (begin === null || begin > longAgo) {
    const days = begin === null ? 0 : Math.floor((end - begin) / DAY_MS);
    return none(`the records cover ${days} of the ${unusedDays} days that it takes (--unused-after)`);
  }
  if (facts.damagedLines + facts.missingLines > 0) return none('lines of the audit log are damaged or missing');
  const { rows: uses, truncated } = await readUses(store);
  if (truncated) return none('there are more hosts than can be looked at');
  const tested = new Set(loaded.tests.flatMap(({ request }) => policy.decide(request).rule?.origin ?? []));
  const rules = new Map([...policy.rules()].map((rule) => [JSON.stringify([rule.id, rule.group]), rule]));
  const standing = (row: Parameters<typeof standingOf>[1]) => {
    // A name beyond the limit is not known, but what let it through is.
    const { rule: id, group } = row.allowed ?? {};
    const rule = row.host === OVERFLOW ? rules.get(JSON.stringify([id, group])) : undefined;
    return rule === undefined
      ? standingOf(policy, row, now)
      : ({ as: 'in-force', origin: rule.origin, group: rule.group, exact: false } as const);
  };
  // What was used in the window stays, however long that is.
  const before = Math.min(longAgo, from);
  const days = Math.floor((end - before) / DAY_MS);
  const unused = unusedRules({ rules: policy.rules(), uses, standing, before, days, tested });
  return { unused, noRemovals: null };
}

/** Pipelines of the store or of the policy that asked for nothing in the window. */
async function unknownPipelines(
  store: Store,
  { loaded, pipeline }: SuggestionInput,
  policy: Policy,
  rows: readonly SeenRow[],
): Promise<UnknownPipeline[]> {
  const seen = new Set(rows.map(({ identity }) => statedAttributes(identity).pipeline));
  const known = new Map<string, number | null>(await readPipelinesSeen(store));
  const selectors = [...policy.rules()].map((rule) => rule.for).concat(policy.compiled.modes.map((mode) => mode.for));
  const named = selectors.flatMap((selector) => selector?.pipeline ?? []).filter((name) => !name.includes('*'));
  const given = loaded.settings.clientGroups.flatMap(({ attributes }) => attributes.pipeline ?? []);
  for (const name of [...named, ...given]) if (!known.has(name)) known.set(name, null);
  return [...known]
    .filter(([name]) => !seen.has(name) && (pipeline === null || pipeline === name))
    .map(([name, last_seen]) => ({ pipeline: name, last_seen }))
    .sort((a, b) => (a.pipeline < b.pipeline ? -1 : 1));
}

function checkLoads(file: string, text: string, now: number): void {
  try {
    loadConfigHere({ file, text, now });
  } catch (cause) {
    throw new Error('the suggested policy would not load', { cause });
  }
}

/** The line of a `file:line`. */
function lineOf(origin: string): number {
  return Number(origin.slice(origin.lastIndexOf(':') + 1));
}
