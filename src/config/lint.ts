// Findings about rules: what has no effect, stands twice, has expired, or lets through more than it looks like.
// PURE. None of it makes a file invalid; `sallyport check --strict` fails on them, and `accept:` on a rule says that one is
// meant so. Cost is linear in the rules: each look-up is by a key, never by walking the other rules.
import type { Catalog } from '../catalog/catalog.ts';
import { classifyAddress, prefixLength } from '../policy/address.ts';
import type { RuleSource } from '../policy/compile.ts';
import { METADATA_NAMES } from '../policy/decide.ts';
import { formatIp } from '../policy/ip.ts';
import type { Attributes } from '../policy/record.ts';
import { type Selector, selectorMatches } from '../policy/selector.ts';
import { type PathProblem, warning } from './issues.ts';
import { addsNothing, Cover, DenyIndex, denyText, portsOf, protocolOn } from './lint-cover.ts';
import { KnownHosts } from './lint-hosts.ts';
import { inspectFindings } from './lint-inspect.ts';
import type { PlacedRule } from './rules.ts';
import type { Lint } from './schema.ts';

/** An entry of the base that says whom a file is for. */
interface Scope {
  readonly path: readonly PropertyKey[];
  readonly file: string;
  readonly for: Selector;
  readonly accept: readonly Lint[];
}

export interface LintInput {
  readonly rules: readonly PlacedRule[];
  readonly catalog: Catalog;
  /** What a source address proves. */
  readonly clientGroups: readonly { readonly attributes: Attributes }[];
  /** Whether credentials of some kind can prove what a selector asks for. */
  readonly provable: (selector: Selector) => boolean;
  readonly modes: readonly { readonly for: Selector }[];
  /** Whom files of layers are for. */
  readonly scopes?: readonly Scope[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** More ports than this are as good as all: nobody reads them. */
const PORTS_MANY = 16;
/** Ranges shorter than this are wider than any one network. */
const PREFIX_MIN = { 4: 8, 6: 32 } as const;

type Tell = (code: `lint-${Lint}`, message: string, hint?: string) => void;

/** Every finding about the rules. */
export function lintRules(input: LintInput): PathProblem[] {
  const report = new Report();
  const known = new KnownHosts(input.catalog);
  const live = input.rules.filter(({ rule }) => rule.expires === null || rule.expires >= input.now);
  const denies = new DenyIndex();
  for (const { rule } of live) if (rule.effect === 'deny') denies.add(rule);
  for (const placed of input.rules) {
    const { rule, lastDay } = placed;
    if (rule.expires === null || rule.expires >= input.now) continue;
    const message = `the rule for ${nameOf(rule)} expired at the end of ${lastDay ?? 'its last day'} (UTC) and has no effect`;
    report.tell(placed)('lint-expired', message);
  }
  repetitions(live, report);
  for (const placed of live) {
    const { rule } = placed;
    const tell = report.tell(placed);
    selectorFindings(rule, input, tell);
    if (rule.effect === 'deny') continue;
    const loose = placed.written === null ? null : looseness(placed.written);
    if (loose !== null) tell('lint-loose-selector', `the rule for ${nameOf(rule)} ${loose}`);
    const deny = denies.covering(rule.pattern, portsOf(rule));
    if (deny !== null) {
      const message = `${rule.pattern.text} can never pass: the deny rule ${deny.pattern.text} at ${deny.origin} covers it`;
      tell('lint-shadowed', message, 'Remove one of the two: deny always wins.');
    }
    hostFindings(rule, known, denies, tell);
    widthFindings(rule, tell);
    inspectFindings(rule, tell);
  }
  return [...report.problems(input.rules), ...deadModes(input), ...(input.scopes ?? []).flatMap(looseScope)];
}

/**
 * Who may become somebody whom the selector means: whoever makes a pipeline with a name that fits, or a branch, which a fork may name as
 * it likes. A pipeline's UUID is for good, also where the pipeline is renamed.
 */
function looseness(selector: Selector): string | null {
  const { pipeline, pipeline_id, branch } = selector;
  const glob = pipeline?.find((one) => one.includes('*'));
  if (glob !== undefined && pipeline_id === undefined)
    return `is for every pipeline whose name fits ${glob}, also one that is made or renamed tomorrow`;
  if (branch === undefined) return null;
  return `asks for branch ${branch.join(' or ')}: a build of a fork may have a branch of that name`;
}

function looseScope({ path, file, for: selector, accept }: Scope): PathProblem[] {
  const loose = looseness(selector);
  if (loose === null || accept.includes('loose-selector')) return [];
  return [warning('lint-loose-selector', [...path, 'for'], `${file} ${loose}`)];
}

/** Collects findings; what a group says of many hosts is said once, with a count. */
class Report {
  readonly #found = new Map<string, { problem: PathProblem; more: number }>();
  readonly #used = new Set<string>();

  tell({ rule, path, accept }: PlacedRule): Tell {
    return (code, message, hint) => {
      const lint = code.slice('lint-'.length) as Lint;
      const key = `${path.join('.')} ${code}`;
      if (accept.includes(lint)) {
        this.#used.add(key);
        return;
      }
      const finding = rule.group === null ? `${key} ${message}` : key;
      const before = this.#found.get(finding);
      if (before === undefined) this.#found.set(finding, { problem: warning(code, path, message, hint), more: 0 });
      else before.more += 1;
    };
  }

  problems(rules: readonly PlacedRule[]): PathProblem[] {
    const found = [...this.#found.values()].map(({ problem, more }) =>
      more === 0 || problem.code === 'lint-expired'
        ? problem
        : { ...problem, message: `${problem.message} (and ${more} more of the group)` },
    );
    const asked = new Set<string>();
    for (const { path, accept } of rules) {
      for (const lint of accept) {
        const key = `${path.join('.')} lint-${lint}`;
        if (this.#used.has(key) || asked.has(key)) continue;
        asked.add(key);
        found.push(
          warning('lint-accept', [...path, 'accept'], `the rule accepts ${lint}, and there is no such finding`),
        );
      }
    }
    return found;
  }
}

function nameOf(rule: RuleSource): string {
  return rule.group === null ? rule.pattern.text : `group ${rule.group}`;
}

/** What stands twice, and what can never win. Two groups may share hosts: that is the catalog's business. */
function repetitions(live: readonly PlacedRule[], report: Report): void {
  const all = new Cover();
  const groups = new Cover();
  for (const { rule } of live) if (rule.effect === 'allow') all.add(rule);
  for (const { rule } of live) if (rule.effect === 'allow' && rule.group !== null) groups.add(rule);
  const before = new Cover();
  const groupsBefore = new Cover();
  const denied = new Map<string, RuleSource>();
  for (let at = 0; at < live.length; ) {
    const placed = live[at];
    if (placed === undefined) break;
    const { rule } = placed;
    const line = [placed];
    for (let next = live[at + 1]; next?.path === placed.path; next = live[at + line.length]) line.push(next);
    at += line.length;
    const tell = report.tell(placed);
    if (rule.effect === 'deny') {
      const first = denied.get(denyText(rule));
      if (first === undefined) denied.set(denyText(rule), rule);
      else
        tell(
          'lint-duplicate',
          `the deny rule for ${rule.pattern.text} stands twice; it stands first at ${first.origin}`,
        );
    } else if (rule.group === null) repeated(rule, { before, groups, all }, tell);
    else groupRepeated(line, groupsBefore, tell);
    for (const one of line) {
      if (one.rule.effect === 'allow') before.add(one.rule);
      if (one.rule.group !== null) groupsBefore.add(one.rule);
    }
  }
}

function repeated(rule: RuleSource, covers: { before: Cover; groups: Cover; all: Cover }, tell: Tell): void {
  const first = covers.before.of(rule);
  if (first !== null && !addsNothing(rule, first)) {
    const what = `every request that ${rule.pattern.text} would match is taken by ${placeOf(first)}, which stands first`;
    tell('lint-shadowed', `${what}; ports, protocol, mode and addresses of this rule never count`);
    return;
  }
  const group = first?.group == null ? covers.groups.of(rule) : first;
  const same = group !== null && addsNothing(rule, group) ? group : first;
  if (same !== null) {
    const where =
      same.group === null
        ? `stands twice; it stands first at ${same.origin}`
        : `is needless: ${placeOf(same)} has it already`;
    tell('lint-duplicate', `the rule for ${rule.pattern.text} ${where}`, 'Remove one of the two.');
    return;
  }
  const above = covers.all.above(rule);
  if (above === null || !addsNothing(rule, above)) return;
  const message = `the rule for ${rule.pattern.text} is needless: ${above.pattern.text} of ${placeOf(above)} lets it through already`;
  tell('lint-duplicate', message, 'Remove this rule, or the wildcard.');
}

function groupRepeated(line: readonly PlacedRule[], groupsBefore: Cover, tell: Tell): void {
  const [first] = line;
  if (first === undefined) return;
  let other: RuleSource | null = null;
  for (const { rule } of line) {
    other = groupsBefore.of(rule);
    if (other === null || !addsNothing(rule, other)) return;
  }
  if (other === null) return;
  tell('lint-duplicate', `each host of group ${first.rule.group} is let through by ${placeOf(other)} already`);
}

function placeOf(rule: RuleSource): string {
  return rule.group === null ? `the rule at ${rule.origin}` : `group ${rule.group} at ${rule.origin}`;
}

/** A selector that no source address meets and no credentials can prove selects nobody; one that addresses alone prove, a machine. */
function selectorFindings(rule: RuleSource, { clientGroups, provable }: LintInput, tell: Tell): void {
  if (rule.for === null) return;
  const selector = rule.for;
  const names = Object.keys(selector).join(', ');
  if (!clientGroups.some((group) => selectorMatches(selector, group.attributes))) {
    if (provable(selector)) return;
    const message = `the rule for ${nameOf(rule)} never matches: no entry of clients.groups sets ${names} to what for: asks, and nothing else proves it`;
    tell('lint-dead', message, 'Set it in clients.groups, give somebody credentials that prove it, or remove for:.');
  } else if (rule.effect === 'allow' && rule.need !== 'required') {
    const message = `for: selects by source address alone: every job on those machines may use ${nameOf(rule)}, whatever its ${names}`;
    tell('lint-address-identity', message);
  }
}

function deadModes({ modes, clientGroups, provable }: LintInput): PathProblem[] {
  return modes.flatMap((one, index) =>
    provable(one.for) || clientGroups.some((group) => selectorMatches(one.for, group.attributes))
      ? []
      : [
          warning(
            'lint-dead',
            ['modes', index, 'for'],
            'the mode is for nobody: no entry of clients.groups sets what for: asks',
          ),
        ],
  );
}

function hostFindings(rule: RuleSource, known: KnownHosts, denies: DenyIndex, tell: Tell): void {
  const { pattern } = rule;
  const name = rule.group === null ? pattern.text : `${pattern.text} of group ${rule.group}`;
  const isOpen = (watched: { readonly pattern: typeof pattern }): boolean =>
    denies.covering(watched.pattern, portsOf(rule)) === null;
  if (rule.metadata) {
    const message = 'instance metadata answers for the machine of the proxy to every client that may use this group';
    tell('lint-metadata', message);
    return;
  }
  if (
    (pattern.kind === 'address' && classifyAddress(pattern.host) === 'metadata') ||
    METADATA_NAMES.has(pattern.host)
  ) {
    const hint = 'Let clients reach it directly (`sallyport env` prints NO_PROXY), or see group instance-metadata.';
    tell('lint-dead', `${pattern.text} is instance metadata and is refused in spite of this rule`, hint);
    return;
  }
  const resolver = known.resolvers(pattern).find(isOpen);
  if (resolver !== undefined) {
    const { host, what } = resolver.host;
    tell(
      'lint-doh',
      `${name} lets builds resolve names over HTTPS at ${host} (${what}), where no log of this proxy sees them`,
    );
  }
  const carrier = known.carriers(pattern).find(({ watched }) => isOpen(watched));
  if (carrier !== undefined) {
    const { host, what } = carrier.watched.host;
    tell('lint-exfiltration', `${name} lets builds reach ${host} (${what}), ${carrier.how}`);
  }
  const strangers =
    rule.group === null ? known.strangers(pattern) : known.isMarked(rule.id) ? 'marked in the catalog' : null;
  if (strangers !== null) {
    const message = `anyone may own a name under ${name} (${strangers}): a build could send data to a stranger's account there`;
    tell('lint-multi-tenant', message);
    return;
  }
  const group = rule.group === null ? known.wholeDomainOf(pattern) : null;
  if (group !== null) {
    const message = `${name} covers every name of a domain that is not yours, also those its owner adds tomorrow; group ${group} names hosts there`;
    tell('lint-wide-host', message);
  }
}

function widthFindings(rule: RuleSource, tell: Tell): void {
  const name = nameOf(rule);
  const everywhere = rule.addresses.find((range) => prefixLength(range) === 0);
  const wide = rule.addresses.find((range) => prefixLength(range) < PREFIX_MIN[range.family]);
  const texts = new Set(rule.addresses.map((range) => range.text));
  const own = rule.addresses.find((range) => classifyAddress(formatIp(range)) === 'loopback');
  if (everywhere !== undefined) {
    tell(
      'lint-wide-addresses',
      `addresses has ${everywhere.text}: ${name} may resolve into any address, loopback and internal ones too`,
    );
  } else if (wide !== undefined) {
    tell(
      'lint-wide-addresses',
      `addresses has ${wide.text}: whoever controls the name ${name} may point it anywhere in there`,
    );
  } else if (['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'].every((range) => texts.has(range))) {
    tell(
      'lint-wide-addresses',
      `addresses has every private network: whoever controls the name ${name} may point it at any internal service`,
    );
  } else if (own !== undefined && rule.pattern.kind !== 'address') {
    tell(
      'lint-wide-addresses',
      `addresses has ${own.text}: ${name} may be a service on the machine of the proxy itself`,
    );
  }
  if (rule.group !== null && rule.ports === null) return;
  const ports = portsOf(rule);
  if (ports.length > PORTS_MANY) tell('lint-wide-ports', `${name} has ${ports.length} ports, which is as good as all`);
  if (ports.includes(443) && protocolOn(rule, 443) === 'any') {
    const message = `protocol: any on port 443 of ${name}: any protocol passes, and the server name is not compared with the host`;
    tell(
      'lint-wide-protocol',
      message,
      'Remove protocol: on 443 it is tls, on 22 ssh, on 80 http; write a rule of its own for other ports.',
    );
  }
}
