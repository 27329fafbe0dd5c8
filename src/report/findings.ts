// What `report --fail-on` fails on: the report as a check for CI. It says what was found; the command makes an exit code of it. PURE.
import { authorityText } from '../policy/authority.ts';
import type { Report } from './report.ts';
import { destinationText } from './words.ts';

export const FAIL_ON = ['denied', 'would-deny', 'unused', 'drift', 'direct'] as const;
export type FailOn = (typeof FAIL_ON)[number];

export interface Finding {
  readonly kind: FailOn;
  readonly count: number;
  readonly message: string;
}

/** The kinds asked for of which there is something in the report, in that order. */
export function findingsOf(report: Report, kinds: readonly FailOn[]): Finding[] {
  return kinds.flatMap((kind) => {
    const { count, message } = FINDERS[kind](report);
    return count === 0 ? [] : [{ kind, count, message }];
  });
}

type Found = Omit<Finding, 'kind'>;

const FINDERS: Readonly<Record<FailOn, (report: Report) => Found>> = {
  denied: ({ denied_total: count }) => ({ count, message: `${hosts(count)} refused` }),
  'would-deny': ({ would_deny_total: count }) => ({
    count,
    message: `${count} host${count === 1 ? '' : 's'} would be refused`,
  }),
  unused: ({ optional, other }) => {
    const groups = optional.filter(({ enabled, state }) => enabled && state === 'unused').map(({ group }) => group);
    const rules = other.filter(({ state }) => state === 'unused').map(({ rule, host }) => `${rule} (${host})`);
    const names = [...groups, ...rules];
    return { count: names.length, message: `allowed and never used: ${some(names)}` };
  },
  drift: ({ drift }) => ({
    count: drift.hosts_total,
    message: `${hosts(drift.hosts_total)} not asked for from ${drift.previous.from} to ${drift.previous.to}: ${some(drift.hosts.map(({ host, port }) => authorityText(host, port)))}`,
  }),
  direct: ({ direct }) => ({
    count: direct.attempts,
    message: `${direct.attempts} direct attempts never reached the proxy: ${some([...new Set(direct.rows.map(destinationText))])}`,
  }),
};

const NAMES_MAX = 10;

function some(names: readonly string[]): string {
  const rest = names.length - NAMES_MAX;
  return `${names.slice(0, NAMES_MAX).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}

function hosts(count: number): string {
  return count === 1 ? '1 host was' : `${count} hosts were`;
}
