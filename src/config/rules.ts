// Allow and deny items, and the groups of the catalog → the rules and hints that the policy is compiled from.
// PURE. It widens nothing by itself: a group gives what its catalog entries say, limited further by the item's own keys.
// A rule's id is its catalog entry (groups) or its file:line (own rules); both are in every record.
import {
  type Catalog,
  type CatalogEntry,
  type CatalogGroup,
  expandGroup,
  nearestGroup,
  type ParameterProblem,
  spokenOn,
  templateParameters,
} from '../catalog/catalog.ts';
import type { HintSource, Protocol, RuleSource } from '../policy/compile.ts';
import type { Inspection } from '../policy/inspect.ts';
import type { Pattern } from '../policy/pattern.ts';
import type { Selector } from '../policy/selector.ts';
import { inspectionFor, inspectionOf } from './inspect.ts';
import { error, type PathProblem } from './issues.ts';
import type { LastDay } from './leaf.ts';
import type { Placed } from './parse.ts';
import type { AllowItem, AllowMapping, DenyItem, Lint } from './schema.ts';

/** A rule, and where it stands in the file. */
export interface PlacedRule {
  readonly rule: RuleSource;
  readonly path: readonly PropertyKey[];
  /** The last day as it is written. */
  readonly lastDay: string | null;
  /** Findings of the lint that are meant so. */
  readonly accept: readonly Lint[];
  /** Whom the item itself says that it is for; a layer's rule is for whom its file is for besides. */
  readonly written: Selector | null;
}

export interface RulesInput {
  readonly allow: readonly Placed<AllowItem>[];
  readonly deny: readonly Placed<DenyItem>[];
  readonly catalog: Catalog;
  /** `file:line` of an item. */
  readonly origin: (path: readonly PropertyKey[]) => string;
  /** Whether there is a CA that signs for inspected hosts. */
  readonly inspects: boolean;
}

export interface Rules {
  readonly rules: readonly PlacedRule[];
  readonly hints: readonly HintSource[];
  readonly problems: readonly PathProblem[];
}

const NO_ADDRESSES: RuleSource['addresses'] = [];
const SCHEME_PROTOCOL = { https: 'tls', http: 'http', ssh: 'ssh' } as const satisfies Record<
  CatalogEntry['scheme'],
  Protocol
>;

/** Builds the rules in file order (deny first: they are looked at first anyway) and the hints of what is switched off. */
export function buildRules(input: RulesInput): Rules {
  const rules: PlacedRule[] = [];
  const problems: PathProblem[] = [];
  const on = new Map<string, Set<string>>();
  for (const { index, item } of input.deny) {
    checkAccept(item, ['deny', index], problems);
    rules.push(denyRule(item, ['deny', index], input.origin));
  }
  for (const { index, item } of input.allow) {
    const path = ['allow', index];
    checkAccept(item, path, problems);
    if ('pattern' in item) rules.push(shortRule(item.pattern, item.port, path, input.origin));
    else if (item.group !== undefined) rules.push(...groupRules(item, item.group, path, input, on, problems));
    else rules.push(...hostRule(item, path, input, problems));
  }
  return { rules, hints: hintsOf(input.catalog, on), problems };
}

function shortRule(
  pattern: Pattern,
  port: number | null,
  path: readonly PropertyKey[],
  origin: RulesInput['origin'],
): PlacedRule {
  const at = origin(path);
  return {
    path,
    lastDay: null,
    accept: [],
    written: null,
    rule: { ...blank('allow', pattern, at), ports: port === null ? null : [port] },
  };
}

function blank(effect: RuleSource['effect'], pattern: Pattern, at: string): RuleSource {
  return {
    effect,
    pattern,
    ports: null,
    protocol: null,
    addresses: NO_ADDRESSES,
    metadata: false,
    paths: null,
    inspect: null,
    mode: null,
    for: null,
    expires: null,
    id: at,
    origin: at,
    group: null,
    need: null,
    reason: null,
    owner: null,
    layer: null,
  };
}

interface Stated {
  readonly for?: Partial<Record<string, string[] | undefined>> | undefined;
  readonly expires?: LastDay | undefined;
  readonly reason?: string | undefined;
  readonly owner?: string | undefined;
}

function stated(item: Stated): Pick<RuleSource, 'for' | 'expires' | 'reason' | 'owner'> {
  return {
    for: (item.for as Selector | undefined) ?? null,
    expires: item.expires?.until ?? null,
    reason: item.reason ?? null,
    owner: item.owner ?? null,
  };
}

function placed(
  item: AllowMapping | Exclude<DenyItem, { pattern: Pattern }>,
  path: readonly PropertyKey[],
): Omit<PlacedRule, 'rule'> {
  const written = (item.for as Selector | undefined) ?? null;
  return { path, lastDay: item.expires?.text ?? null, accept: item.accept ?? [], written };
}

/** An accepted risk without a reason is one that nobody can judge again. */
function checkAccept(item: AllowItem | DenyItem, path: readonly PropertyKey[], problems: PathProblem[]): void {
  if ('pattern' in item || item.accept === undefined || item.reason !== undefined) return;
  const message = `the rule accepts ${item.accept.join(', ')} and gives no reason`;
  problems.push(error('config-missing-key', [...path, 'accept'], message, 'Write reason: and why it is meant so.'));
}

function denyRule(item: DenyItem, path: readonly PropertyKey[], origin: RulesInput['origin']): PlacedRule {
  const at = origin(path);
  if ('pattern' in item) {
    const rule = { ...blank('deny', item.pattern, at), ports: item.port === null ? null : [item.port] };
    return { path, lastDay: null, accept: [], written: null, rule };
  }
  const rule = { ...blank('deny', item.host, at), ports: item.ports ?? null, ...stated(item) };
  return { ...placed(item, path), rule };
}

function hostRule(
  item: AllowMapping,
  path: readonly PropertyKey[],
  input: RulesInput,
  problems: PathProblem[],
): PlacedRule[] {
  if (item.host === undefined) {
    problems.push(
      error(
        'config-missing-key',
        path,
        'the rule has neither host nor group',
        'Write host: github.com, or group: buildkite-agent.',
      ),
    );
    return [];
  }
  for (const key of ['with', 'i_understand'] as const) {
    if (item[key] !== undefined)
      problems.push(
        error(
          'config-conflict',
          [...path, key],
          `${key} belongs to a group, and this rule has a host`,
          `Remove ${key}, or write group: instead of host:.`,
        ),
      );
  }
  const inspect = inspected(item, path, input, problems);
  const rule: RuleSource = {
    ...blank('allow', item.host, input.origin(path)),
    ports: item.ports ?? null,
    protocol: inspect === null ? (item.protocol ?? null) : 'tls',
    inspect: inspect === null ? null : inspectionFor(inspect, item.host, path, problems),
    addresses: item.addresses ?? NO_ADDRESSES,
    mode: item.mode ?? null,
    ...stated(item),
  };
  return [{ ...placed(item, path), rule }];
}

/** What the item says below its hosts; a problem where nobody could sign for them. */
function inspected(
  item: AllowMapping,
  path: readonly PropertyKey[],
  { origin, inspects }: RulesInput,
  problems: PathProblem[],
): Inspection | null {
  const inspect = inspectionOf(item, path, origin, problems);
  if (inspect !== null && !inspects) {
    const message = 'the rule is inspected, and inspection.ca names no CA that signs for its host';
    const hint = 'Run `sallyport ca init`, and write inspection: { ca: { cert: …, key: … } } as it says.';
    problems.push(error('config-missing-key', [...path, 'inspect'], message, hint));
  }
  return inspect;
}

function groupRules(
  item: AllowMapping,
  name: string,
  path: readonly PropertyKey[],
  input: RulesInput,
  on: Map<string, Set<string>>,
  problems: PathProblem[],
): PlacedRule[] {
  const group = input.catalog.groups.get(name);
  if (group === undefined) {
    const near = nearestGroup(input.catalog, name);
    problems.push(
      error(
        'config-group',
        [...path, 'group'],
        `the catalog has no group ${JSON.stringify(name)}`,
        near === null ? undefined : `Did you mean ${near}?`,
      ),
    );
    return [];
  }
  const before = problems.length;
  checkGroupKeys(item, group, path, problems);
  const expansion = expandGroup(group, item.with ?? {});
  if (!expansion.ok) problems.push(...expansion.problems.map((found) => parameterProblem(found, item, group, path)));
  if (!expansion.ok || problems.length > before) return [];
  const entriesOn = on.get(group.id) ?? new Set();
  on.set(group.id, entriesOn);
  const own = ownHostParameters(group);
  const inspect = inspected(item, path, input, problems);
  const shared = {
    addresses: item.addresses ?? NO_ADDRESSES,
    mode: item.mode ?? null,
    ...stated(item),
    origin: input.origin(path),
    layer: null,
  };
  return expansion.entries.flatMap(({ entry, pattern }) => {
    entriesOn.add(entry.id);
    const ownHost = templateParameters(entry.host).some((parameter) => own.includes(parameter));
    const ports = (ownHost ? item.ports : undefined) ?? entry.ports;
    const said = ownHost ? item.protocol : undefined;
    const spoken = Map.groupBy(ports, (port) => said ?? SCHEME_PROTOCOL[spokenOn(entry, port)]);
    if (inspect !== null && [...spoken.keys()].some((protocol) => protocol !== 'tls')) {
      const message = `the rule is inspected, and ${entry.id} of group ${group.id} is ${entry.scheme}, which is not TLS`;
      problems.push(
        error('config-conflict', [...path, 'inspect'], message, 'Write rules with host: for what is to be inspected.'),
      );
    }
    const rules = [...spoken].map(
      ([protocol, some]): RuleSource => ({
        effect: 'allow',
        pattern,
        ports: some,
        protocol,
        inspect: inspect === null ? null : inspectionFor(inspect, pattern, path, problems),
        metadata: group.requires === 'proxy-host-identity',
        paths: entry.paths ?? null,
        id: entry.id,
        group: group.id,
        need: entry.need,
        ...shared,
      }),
    );
    return rules.map((rule) => ({ ...placed(item, path), rule }));
  });
}

/** A problem with `with:`, at the value, at the key where that is unknown, or at the group where the value is missing. */
function parameterProblem(
  found: ParameterProblem,
  item: AllowMapping,
  group: CatalogGroup,
  path: readonly PropertyKey[],
): PathProblem {
  const { parameter, index, message, hint } = found;
  if (parameter === null || !Object.hasOwn(item.with ?? {}, parameter)) {
    return error('config-parameter', [...path, 'group'], message, hint);
  }
  const at = [...path, 'with', parameter];
  const key = !group.parameters.some((known) => known.name === parameter);
  return { ...error('config-parameter', index === null ? at : [...at, index], message, hint), key };
}

/** Parameters that hold a whole host of the operator's: only there ports and protocol are the operator's to say. */
function ownHostParameters(group: CatalogGroup): string[] {
  return group.parameters.filter((parameter) => parameter.kind === 'host').map((parameter) => parameter.name);
}

function checkGroupKeys(
  item: AllowMapping,
  group: CatalogGroup,
  path: readonly PropertyKey[],
  problems: PathProblem[],
): void {
  if (item.host !== undefined)
    problems.push(
      error('config-conflict', [...path, 'host'], 'a rule has a host or a group, not both', 'Write two rules.'),
    );
  for (const key of ['ports', 'protocol'] as const) {
    if (item[key] !== undefined && ownHostParameters(group).length === 0)
      problems.push(
        error(
          'config-conflict',
          [...path, key],
          `the ${key} of group ${group.id} come from the catalog`,
          `Remove ${key}, or write a rule with host: of your own.`,
        ),
      );
  }
  if (group.requires === undefined) {
    if (item.i_understand !== undefined)
      problems.push(
        error(
          'config-conflict',
          [...path, 'i_understand'],
          `group ${group.id} asks for no such statement`,
          'Remove i_understand.',
        ),
      );
  } else if (item.i_understand !== group.requires) {
    const place = item.i_understand === undefined ? [...path, 'group'] : [...path, 'i_understand'];
    problems.push(
      error(
        'config-conflict',
        place,
        `group ${group.id} answers for the machine the proxy runs on; it needs the statement i_understand: ${group.requires}`,
        `Only where the proxy runs on the agent's own host, write i_understand: ${group.requires}`,
      ),
    );
  }
}

/** What the catalog has and the policy does not use; templates stand here even when used, for their other values. */
function hintsOf(catalog: Catalog, on: ReadonlyMap<string, ReadonlySet<string>>): HintSource[] {
  const hints: HintSource[] = [];
  for (const group of catalog.groups.values()) {
    // Switching metadata on is no advice to give to somebody who was refused.
    if (group.requires !== undefined) continue;
    const entriesOn = on.get(group.id);
    for (const entry of group.entries) {
      const parameters = templateParameters(entry.host);
      if (entry.via === 'direct' || (parameters.length === 0 && entriesOn?.has(entry.id))) continue;
      hints.push({
        pattern: entry.host,
        group: group.id,
        parameters,
        ports: entry.ports,
        enabled: entriesOn !== undefined,
      });
    }
  }
  return hints;
}
