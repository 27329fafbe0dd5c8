// Suggested lines → entries for `allow:` of a policy file, each below its evidence, and what is said about the file as a whole.
// Names of hosts, pipelines and jobs come from clients: in YAML they stand quoted, in comments without what ends a line.
import { yamlScalar } from '../policy/nearest-text.ts';
import { inert } from './inert.ts';
import type { Addition } from './policy-edit.ts';
import type { Evidence, ReviewReason, SuggestedLine } from './suggest.ts';
import type { SuggestedPath } from './suggest-paths.ts';
import type { UnusedRule } from './unused.ts';

const REASONS: Readonly<Record<ReviewReason, string>> = {
  'few-jobs': 'seen in too few jobs',
  new: 'first seen in the last day of the window',
  'multi-tenant': 'multi-tenant: anyone may own a name there; the names that were asked for stand above',
  doh: 'a resolver over HTTPS: names asked there stand in no log',
  exfiltration: 'known for handing data to anyone',
  internal: 'internal: the ranges are those that were seen; write the ones that it may use',
  tested: 'a test of this file wants it, or a part of it, to be refused',
  expired: 'a rule for it has expired: renew that one, or leave it',
  reserved: 'a rule lets only others through',
  'look-alike': 'one letter off a host that is allowed: a slip of the pen, or a squatter',
  'never-answered': 'never answered: perhaps a slip of the pen',
};

/** Names and pipelines shown in one comment. */
const SHOWN_MAX = 8;

/** Stands above what is added. */
export function headingOf(window: { readonly from: number; readonly to: number }): string[] {
  return [`suggested from the records of ${timeOf(window.from)} to ${timeOf(window.to)}`];
}

/**
 * The entries to add: what may go in as it stands, then what must be looked at, commented out.
 * @param source the file: what stands in it as a comment already is not said again
 */
export function additionsOf(lines: readonly SuggestedLine[], source: string): Addition[] {
  const ready = lines.filter((line) => line.by !== 'policy' && line.review.length === 0);
  const review = lines.filter((line) => line.by !== 'policy' && line.review.length > 0);
  const known = review.filter(
    (line) => !source.includes(`# - ${itemOf(line)}`) && !source.includes(`# ${itemOf(line)},`),
  );
  return [
    ...ready.map((line) => ({ comments: commentsOf(line), item: itemOf(line), review: false, extend: extendOf(line) })),
    ...known.map((line, at) => ({
      comments: [
        ...(at === 0 ? ['review: look at each, then remove the # before the entry, or leave it refused'] : []),
        ...commentsOf(line),
        ...line.review.map((reason) => `  ${REASONS[reason]}`),
      ],
      item: itemOf(line),
      review: true,
      extend: null,
    })),
  ];
}

/** What `extend` an entry needs: one parameter, and nothing that limits the line. */
function extendOf({ group, parameters, pipeline, addresses }: SuggestedLine): Addition['extend'] {
  const [given, ...more] = Object.entries(parameters);
  if (group === null || given === undefined || more.length > 0 || pipeline !== null || addresses.length > 0)
    return null;
  return { group, parameter: given[0], values: given[1].map(yamlScalar) };
}

/** Why a rule is thought to be unneeded. */
export function unusedComments({ days, last }: UnusedRule): string[] {
  const when = last === null ? 'and never before in the records' : `last used ${timeOf(last).slice(0, 10)}`;
  return [`unused for ${days} days, ${when}`];
}

export interface Remarks {
  readonly window: { readonly from: number; readonly to: number };
  /** Nothing was recorded in it. */
  readonly isEmpty: boolean;
  readonly pipeline: string | null;
  readonly truncated: boolean;
  readonly lines: readonly SuggestedLine[];
  readonly below: readonly SuggestedPath[];
  /** Line of the file by the line that went into it. */
  readonly extended: ReadonlyMap<string, number>;
  readonly unknown: readonly { readonly pipeline: string; readonly last_seen: number | null }[];
  /** Unused rules that cannot be commented out without touching something else. */
  readonly stuck: readonly UnusedRule[];
  /** Why nothing is proposed for removal; null where it was looked at. */
  readonly noRemovals: string | null;
}

/** What does not belong into the policy, as lines without #: the window, what is used, and what nobody knows. */
export function remarksOf(remarks: Remarks): string[] {
  const { window, lines, unknown, stuck } = remarks;
  const span = `${timeOf(window.from)} to ${timeOf(window.to)}`;
  const text = [remarks.isEmpty ? `Nothing was recorded from ${span}.` : `Suggested from the records of ${span}.`];
  if (remarks.pipeline !== null) text.push(`Only of pipeline ${inert(remarks.pipeline)}.`);
  if (remarks.truncated)
    text.push('There are more hosts than one suggestion can hold: the least asked for are missing.');
  const kept = lines.filter((line) => line.by === 'policy');
  if (kept.length > 0) text.push('In force already, and used:');
  for (const { origin, group, evidence, addresses } of kept) {
    const which = `${inert(origin ?? '')}${group === null ? '' : ` (group ${group})`}`;
    text.push(`  ${which}: ${evidenceOf(evidence)}`);
    if (addresses.length > 0)
      text.push(
        `    refused, ${listed(evidence.names)}: internal; add there addresses: [${addresses.join(', ')}], or the range`,
      );
  }
  text.push(...belowText(remarks.below));
  for (const [what, line] of remarks.extended) text.push(`${what} is added to the group on line ${line}.`);
  if (unknown.length > 0) text.push('Nothing is known of pipelines without requests in the window:');
  for (const { pipeline, last_seen } of unknown)
    text.push(
      `  ${inert(pipeline)}: ${last_seen === null ? 'never seen' : `last seen ${timeOf(last_seen).slice(0, 10)}`}`,
    );
  if (remarks.noRemovals !== null) text.push(`Unused rules are not looked for: ${remarks.noRemovals}.`);
  for (const rule of stuck) text.push(`${inert(rule.origin)}: ${unusedComments(rule).join(' ')}; take it out by hand.`);
  return text;
}

/** Lines to be put under rules that inspect their host, by hand: they open what the rule was made to keep shut. */
function belowText(below: readonly SuggestedPath[]): string[] {
  const rules = Map.groupBy(below, ({ host, origin }) => `${host}, under the rule at ${origin}`);
  return [...rules].flatMap(([key, lines]) => [
    `Refused below ${inert(key)}; what is meant goes there by hand:`,
    ...lines.map(({ line, requests, pipelines }) => {
      const who = pipelines.length === 0 ? '' : ` of ${listed(pipelines)}`;
      return `  - ${inert(line)}  # ${requests} request${requests === 1 ? '' : 's'}${who}`;
    }),
  ]);
}

function commentsOf(line: SuggestedLine): string[] {
  const several = line.by !== 'host' && line.evidence.names.length > 0;
  return [evidenceOf(line.evidence), ...(several ? [listed(line.evidence.names)] : [])];
}

function evidenceOf({ requests, jobs, pipelines, first_seen }: Evidence): string {
  const who = pipelines.length === 0 ? '' : ` of ${listed(pipelines)}`;
  const by = jobs === 0 ? `jobs not known${who}` : `${jobs} job${jobs === 1 ? '' : 's'}${who}`;
  return `${requests} request${requests === 1 ? '' : 's'}, ${by}, first seen ${timeOf(first_seen).slice(0, 10)}`;
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}

function listed(names: readonly string[]): string {
  const more = names.length - SHOWN_MAX;
  return `${names.slice(0, SHOWN_MAX).map(inert).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** One item of `allow:` on one line, good in a list of either style. */
function itemOf(line: SuggestedLine): string {
  const { group, parameters, pattern, ports, protocol, addresses, pipeline } = line;
  const limits = [
    ...(addresses.length === 0 ? [] : [`addresses: [${addresses.map(yamlScalar).join(', ')}]`]),
    ...(pipeline === null ? [] : [`for: { pipeline: ${yamlScalar(pipeline)} }`]),
  ];
  if (group !== null) {
    const given = Object.entries(parameters).map(([name, values]) => {
      const texts = values.map(yamlScalar);
      return `${name}: ${texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`}`;
    });
    const keys = [`group: ${group}`, ...(given.length === 0 ? [] : [`with: { ${given.join(', ')} }`]), ...limits];
    return `{ ${keys.join(', ')} }`;
  }
  const host = pattern ?? '';
  const [port] = ports;
  if (ports.length === 1 && protocol === null && limits.length === 0)
    return yamlScalar(port === 443 ? host : `${host}:${port}`);
  const kind = protocol === null ? [] : [`protocol: ${protocol}`];
  return `{ ${[`host: ${yamlScalar(host)}`, `ports: [${ports.join(', ')}]`, ...kind, ...limits].join(', ')} }`;
}
