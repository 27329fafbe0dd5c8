// Parsed keys and the catalog → the source of the policy, and the canonical text that its digest is made of.
// PURE. The canonical text holds what decides and nothing else: a comment, a reason or an owner does not change it.
import type { Catalog } from '../catalog/catalog.ts';
import type { Cidr } from '../policy/address.ts';
import type { PolicySource, RuleSource } from '../policy/compile.ts';
import type { InspectEntry, Inspection } from '../policy/inspect.ts';
import type { Selector } from '../policy/selector.ts';
import { ownEndpoints, proxyEndpoints, type Settings } from './config.ts';
import { error, type PathProblem, warning } from './issues.ts';
import type { Parsed } from './parse.ts';
import { buildRules, type PlacedRule } from './rules.ts';

export interface PolicySourceInput {
  readonly parsed: Parsed;
  readonly settings: Settings;
  readonly catalog: Catalog;
  /** `file:line` of the value at a path. */
  readonly origin: (path: readonly PropertyKey[]) => string;
  /** Addresses of this machine's interfaces. */
  readonly machine: readonly string[];
  /** Whether inspected rules need no CA here: what many nodes share is judged without a node. */
  readonly shared: boolean;
}

export interface BuiltPolicy {
  readonly source: Omit<PolicySource, 'digest'>;
  readonly rules: readonly PlacedRule[];
  readonly problems: readonly PathProblem[];
}

/** Builds the source of the policy; where there are errors it is not to be used. */
export function buildPolicySource(input: PolicySourceInput): BuiltPolicy {
  const { parsed, settings, catalog } = input;
  const { raw } = parsed;
  const { allow, deny } = parsed;
  const inspects = input.shared || settings.inspection !== null;
  const built = buildRules({ allow, deny, catalog, origin: input.origin, inspects });
  const problems = [...built.problems, ...selectorProblems(parsed)];
  if (raw.layers?.pipelines !== undefined && raw.layers.ceiling === undefined)
    problems.push(
      error(
        'config-missing-key',
        ['layers'],
        'layers has pipelines and no ceiling: nothing may be granted',
        'Write ceiling: ceiling.yaml, and in that file allow: and what may be granted at all.',
      ),
    );
  if (parsed.allow.length === 0 && parsed.problems.length === 0)
    problems.push(
      warning(
        'config-useless',
        ['allow'],
        'nothing is allowed: every request is refused',
        'Write allow: and a list of rules.',
      ),
    );
  const source: Omit<PolicySource, 'digest'> = {
    rules: built.rules.map((placed) => placed.rule),
    hints: built.hints,
    mode: settings.mode,
    modes: (raw.modes ?? []).map((one) => ({ for: one.for as Selector, mode: one.mode })),
    observeAddresses: raw.observe?.addresses ?? [],
    privateUpstreams: privateUpstreams(parsed, problems),
    self: [...ownEndpoints(settings, input.machine), ...virtualAddresses(parsed, settings)],
    metadataAddresses: raw.metadata_addresses ?? [],
    credentials: settings.identity.users.length > 0 || settings.identity.oidc !== null,
  };
  return { source, rules: built.rules, problems };
}

/** `for: {}` selects everyone, which is what nobody means who writes it. */
function selectorProblems(parsed: Parsed): PathProblem[] {
  const problems: PathProblem[] = [];
  const check = (selector: object | undefined, path: readonly PropertyKey[]): void => {
    if (selector === undefined || Object.keys(selector).length > 0) return;
    problems.push(
      error(
        'config-value',
        [...path, 'for'],
        'the selector is empty: it would select everyone',
        'Write for: { pipeline: "deploy-*" }, or remove the key.',
      ),
    );
  };
  for (const { index, item } of parsed.allow) if (!('pattern' in item)) check(item.for, ['allow', index]);
  for (const { index, item } of parsed.deny) if (!('pattern' in item)) check(item.for, ['deny', index]);
  for (const [index, one] of (parsed.raw.modes ?? []).entries()) check(one.for, ['modes', index]);
  for (const [index, one] of (parsed.raw.layers?.pipelines ?? []).entries())
    check(one.for, ['layers', 'pipelines', index]);
  for (const [index, one] of (parsed.raw.clients?.groups ?? []).entries()) {
    if (Object.keys(one.set).length === 0)
      problems.push(
        error(
          'config-value',
          ['clients', 'groups', index, 'set'],
          'the group sets nothing',
          'Write set: { queue: canary }.',
        ),
      );
  }
  return problems;
}

function privateUpstreams(parsed: Parsed, problems: PathProblem[]): PolicySource['privateUpstreams'] {
  return (parsed.raw.private_upstreams ?? []).map(({ suffix, addresses }, index) => {
    if (suffix.kind !== 'exact') {
      const hint =
        suffix.kind === 'wildcard' ? `Did you mean ${suffix.host}?` : 'Write a domain, such as amazonaws.com.';
      problems.push(
        error('config-pattern', ['private_upstreams', index, 'suffix'], `${suffix.text} is not a plain domain`, hint),
      );
    }
    return { suffix: suffix.host, addresses };
  });
}

/** `self:`; an address alone stands with each port that the proxy listens on. */
function virtualAddresses(parsed: Parsed, settings: Settings): { address: string; port: number }[] {
  const ports = [...proxyEndpoints(settings), ...(settings.admin === null ? [] : [settings.admin])].map(
    (one) => one.port,
  );
  return (parsed.raw.self ?? []).flatMap(({ host, port }) =>
    (port === 0 ? [...new Set(ports)] : [port]).filter((one) => one !== 0).map((one) => ({ address: host, port: one })),
  );
}

/** The same text for the same decisions. */
export function canonicalText(source: Omit<PolicySource, 'digest'>, catalog: Catalog): string {
  return JSON.stringify({
    catalog: catalog.digest,
    mode: source.mode,
    modes: source.modes.map((one) => [sorted(one.for), one.mode]),
    observe: texts(source.observeAddresses),
    upstreams: source.privateUpstreams.map((one) => [one.suffix, texts(one.addresses)]),
    metadata: texts(source.metadataAddresses),
    ...(source.credentials ? { credentials: true } : {}),
    rules: source.rules.map(canonicalRule),
  });
}

function canonicalRule(rule: RuleSource): unknown[] {
  return [
    rule.effect,
    rule.pattern.text,
    rule.ports,
    rule.protocol,
    texts(rule.addresses),
    rule.metadata,
    rule.paths,
    rule.mode,
    rule.for === null ? null : sorted(rule.for),
    rule.expires,
    rule.group === null ? null : [rule.group, rule.id],
    // What decides is that it has one: then it is no reason for others. Without layers the text is what it always was.
    ...(rule.layer === null ? [] : ['layer']),
    ...(rule.inspect === null ? [] : [canonicalInspection(rule.inspect)]),
  ];
}

/** Where its lines stand in the file does not decide. */
function canonicalInspection(inspection: Inspection): unknown[] {
  const lines = (entries: readonly InspectEntry[]): unknown[] => entries.map(({ text, origin, ...rest }) => rest);
  return [{ ...inspection, allow: lines(inspection.allow), deny: lines(inspection.deny) }];
}

function texts(ranges: readonly Cidr[]): string[] {
  return ranges.map((range) => range.text);
}

function sorted(selector: Selector): [string, readonly string[]][] {
  return Object.entries(selector).sort(([a], [b]) => (a < b ? -1 : 1));
}
