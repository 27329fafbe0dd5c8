// The check of a policy repository as text: Markdown for a pull request, JUnit XML for what shows test results. Names and messages hold what
// others wrote: each goes through inert.ts, and nothing in XML can end an element or an attribute.
import type { Problem } from '../errors.ts';
import { authorityText } from '../policy/authority.ts';
import { selectorText } from '../policy/selector.ts';
import { htmlText, inert, markdownCell } from './inert.ts';
import { markdownTable } from './markdown-table.ts';
import type { ChangedRule, PolicyChange } from './policy-diff.ts';
import type { ShownReplay } from './render-replay.ts';
import { renderReplayMarkdown } from './render-replay.ts';

/** All that `check` found. */
export interface CheckReport {
  readonly file: string;
  readonly ok: boolean;
  /** Null where the base is not valid. */
  readonly digest: string | null;
  readonly problems: readonly Problem[];
  readonly layers: readonly { readonly file: string; readonly state: string; readonly rules: number }[];
  readonly against: {
    /** As it was asked for. */
    readonly name: string;
    readonly digest: string;
    readonly mode: { readonly before: string; readonly after: string };
    readonly changes: readonly PolicyChange[];
  } | null;
  readonly replay: ShownReplay | null;
}

/** Rows of one table in a pull request. */
const ROWS_MAX = 200;

export function whoText(selector: PolicyChange['for']): string {
  return selector === null ? 'everyone' : selectorText(selector);
}

export function ruleText({ effect, host, ports, protocol, addresses, inspect }: ChangedRule): string {
  const where = `${host}:${ports === null ? '*' : ports.join(',')}`;
  const into = addresses.length === 0 ? '' : ` into ${addresses.join(', ')}`;
  const inside = inspect === null ? '' : `, inspected: ${inspect.join('; ')}`;
  return effect === 'deny' ? `deny ${where}` : `${where} (${protocol}${inside})${into}`;
}

export function renderCheckMarkdown(report: CheckReport): string {
  const { file, ok, digest, problems, layers, against, replay } = report;
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  const parts = [
    `## Policy: ${ok ? 'valid' : 'NOT VALID'}`,
    '',
    `- ${markdownCell(file)}${digest === null ? '' : `, digest ${markdownCell(digest)}`}, ${layers.length} layers, ${errors} errors, ${problems.length - errors} warnings`,
  ];
  for (const { file: layer, state } of layers)
    if (state !== 'current') parts.push(`- not in force: ${markdownCell(layer)}`);
  parts.push('');
  const told = problems.map((one) => [one.severity, placeOf(one), one.message, one.hint]);
  parts.push(...markdownTable('Problems', ['', 'where', 'what', 'what to do'], told, ROWS_MAX));
  if (against !== null) {
    const { before, after } = against.mode;
    parts.push(`### Against ${markdownCell(against.name)}`, '');
    if (before !== after) parts.push(`- **mode: ${markdownCell(before)} → ${markdownCell(after)}**`, '');
    if (against.changes.length === 0) parts.push('Nobody gains or loses anything.', '');
    const rows = against.changes.flatMap(({ for: who, gains, loses }) => [
      ...gains.map((rule) => [
        whoText(who),
        rule.effect === 'deny' ? 'no longer denied' : 'gains',
        ruleText(rule),
        rule.origin,
      ]),
      ...loses.map((rule) => [
        whoText(who),
        rule.effect === 'deny' ? 'newly denied' : 'loses',
        ruleText(rule),
        rule.origin,
      ]),
    ]);
    parts.push(...markdownTable(null, ['who', '', 'what', 'line'], rows, ROWS_MAX));
  }
  if (replay !== null) parts.push(renderReplayMarkdown(replay));
  return `${parts.join('\n').trimEnd()}\n`;
}

function placeOf({ at }: Problem): string {
  return at === null ? '' : `${at.file}:${at.line}`;
}

interface Case {
  readonly name: string;
  readonly failures: readonly string[];
}

/** One suite: the base, each layer, and each host that would newly fail. Warnings are no failures. */
export function renderCheckJunit(report: CheckReport): string {
  const { file, problems, layers, replay } = report;
  const errors = problems.filter(({ severity }) => severity === 'error');
  const isLayer = (problem: Problem): boolean => layers.some((layer) => layer.file === problem.at?.file);
  const cases: Case[] = [{ name: file, failures: errors.filter((one) => !isLayer(one)).map(problemText) }];
  for (const layer of layers) {
    const own = errors.filter(({ at }) => at?.file === layer.file).map(problemText);
    cases.push({ name: layer.file, failures: own.length === 0 && layer.state !== 'current' ? ['not in force'] : own });
  }
  if (replay !== null) {
    const failures = replay.newly_fail.map(
      ({ host, port, pipeline, requests, reason }) =>
        `${authorityText(host, port)} of ${pipeline || 'no pipeline'}: ${requests} requests, ${reason}`,
    );
    cases.push({ name: 'what passed in the records passes', failures });
  }
  const failed = cases.filter(({ failures }) => failures.length > 0).length;
  const lines = cases.map(({ name, failures }) => {
    const open = `    <testcase classname="policy" name="${xml(name)}"`;
    if (failures.length === 0) return `${open}/>`;
    const [first = ''] = failures;
    return `${open}>\n      <failure message="${xml(first)}">${xml(failures.join('\n'), true)}</failure>\n    </testcase>`;
  });
  const counts = `tests="${cases.length}" failures="${failed}"`;
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ${counts}>\n  <testsuite name="sallyport check" ${counts}>\n${lines.join('\n')}\n  </testsuite>\n</testsuites>\n`;
}

function problemText(problem: Problem): string {
  const where = problem.at === null ? '' : `${placeOf(problem)}: `;
  return `${where}${problem.message} [${problem.code}] ${problem.hint}`;
}

/** Text of an element or of an attribute in double quotes; what XML 1.0 has no character for is written out. */
function xml(text: string, lines = false): string {
  if (lines)
    return text
      .split('\n')
      .map((line) => xml(line))
      .join('\n');
  // U+FFFE and U+FFFF are no characters of XML (§2.2), and no controls either.
  return htmlText(inert(text).replace(/[\ufffe\uffff]/g, '?'));
}
