// The words of the nearest miss: every sentence and every line of YAML that a refused client reads, in one place.
// Only rules that the client may see come here. `fix` is one entry of `allow:` in flow style; '' where adding a line does
// not help (a deny stands) or must not be made easy (a look-alike of an allowed name).
import { hostText } from './authority.ts';
import type { PolicyRequest } from './match.ts';
import { type PathRule, pathRuleText } from './paths.ts';
import type { Attribute, Nearest } from './record.ts';
import type { RuleView } from './view.ts';

const DAY_MS = 86_400_000;
const RENEWAL_DAYS = 90;
/** Paths named in one sentence. */
const PATHS_SHOWN = 3;

/** Attributes that a suggested `for:` uses, the most telling first. */
const TELLING: readonly Attribute[] = ['pipeline', 'queue', 'user', 'cluster', 'organization'];

/** UTC date of an instant, `2026-12-31`: the civil-from-days rule, since this folder has no clock and no calendar. */
export function dateText(ms: number): string {
  const days = Math.floor(ms / DAY_MS) + 719_468;
  const era = Math.floor(days / 146_097);
  const dayOfEra = days - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1;
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return `${String(year).padStart(4, '0')}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`;
}

const RESERVED_WORDS: ReadonlySet<string> = new Set(['true', 'false', 'null', 'yes', 'no', 'on', 'off', 'y', 'n']);

/** A YAML scalar in flow style: plain where it can only be a string, else double-quoted (JSON strings are YAML). */
export function yamlScalar(text: string): string {
  const first = text.charCodeAt(0) | 32;
  let plain = first >= 97 && first <= 122 && !RESERVED_WORDS.has(text.toLowerCase());
  for (let at = 0; plain && at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    const letter = (code | 32) >= 97 && (code | 32) <= 122;
    plain = letter || (code >= 48 && code <= 57) || code === 45 || code === 46 || code === 95;
  }
  return plain ? text : JSON.stringify(text);
}

type HostRequest = Pick<PolicyRequest, 'authority' | 'kind'>;

/** `ports` and `protocol` as far as the defaults do not give them. */
function portAndProtocol(request: HostRequest): string[] {
  const { port } = request.authority;
  const parts: string[] = [];
  if (port !== 443) parts.push(`ports: [${port}]`);
  if (request.kind === 'forward' && port !== 80) parts.push('protocol: http');
  if (request.kind === 'connect' && port === 80) parts.push('protocol: any');
  return parts;
}

/** The entry of `allow:` that lets exactly this request through, in flow style. */
export function hostFix(request: HostRequest, more: readonly string[] = []): string {
  return `{ ${[`host: ${yamlScalar(hostText(request.authority.host))}`, ...portAndProtocol(request), ...more].join(', ')} }`;
}

function kindText(request: PolicyRequest): string {
  return request.kind === 'connect' ? 'a CONNECT tunnel' : 'plain http:// requests';
}

function near(rule: RuleView, why: string, fix: string): Nearest {
  return { pattern: rule.pattern, rule: rule.id, why, fix };
}

export function deniedText(request: PolicyRequest, rule: RuleView): Nearest {
  const because = rule.reason === null ? '' : ` (${rule.reason})`;
  return near(
    rule,
    `${hostText(request.authority.host)} is denied by ${rule.pattern} at ${rule.origin}${because}; a deny always wins`,
    '',
  );
}

export function portText(request: PolicyRequest, rule: RuleView): Nearest {
  const ports = rule.ports ?? [443];
  const listed = ports.slice(0, 8).join(', ') + (ports.length > 8 ? ', …' : '');
  const why = `${rule.pattern} is allowed on port ${listed}, not on ${request.authority.port}`;
  return near(rule, why, hostFix(request));
}

export function protocolText(request: PolicyRequest, rule: RuleView, protocol: string): Nearest {
  const why = `${rule.pattern} is allowed for protocol ${protocol}, which does not admit ${kindText(request)}`;
  const more = request.kind === 'forward' && request.authority.port === 80 ? ['protocol: http'] : [];
  const needed = request.kind === 'connect' && request.authority.port !== 80 ? ['protocol: tls'] : more;
  return near(rule, why, hostFix(request, needed));
}

export function expiredText(request: PolicyRequest, rule: RuleView): Nearest {
  const why = `the rule ${rule.pattern} at ${rule.origin} expired; its last day was ${dateText(rule.expires ?? 0)} (UTC)`;
  return near(rule, why, hostFix(request, [`expires: ${dateText(request.now + RENEWAL_DAYS * DAY_MS)}`]));
}

/** A rule selects others: it is not named, for this client may not see it. */
export function othersText(request: PolicyRequest): Nearest {
  const { attributes } = request.identity;
  const attribute = TELLING.find((name) => attributes[name] !== undefined);
  const value = attribute === undefined ? undefined : attributes[attribute];
  const more = value === undefined ? [] : [`for: { ${attribute}: ${yamlScalar(value)} }`];
  const pattern = hostText(request.authority.host);
  return {
    pattern,
    rule: null,
    why: `${pattern} is allowed for other clients; no rule selects this one`,
    fix: hostFix(request, more),
  };
}

export function pathText(rule: RuleView): Nearest {
  const paths: readonly PathRule[] = rule.paths ?? [];
  const shown = paths.slice(0, PATHS_SHOWN).map(pathRuleText);
  const more = paths.length > PATHS_SHOWN ? ` and ${paths.length - PATHS_SHOWN} more` : '';
  return near(rule, `${rule.pattern} is open only for ${shown.join(', ')}${more}`, '');
}

export function apexText(request: PolicyRequest, rule: RuleView): Nearest {
  const host = hostText(request.authority.host);
  return near(rule, `${rule.pattern} covers the names below ${host}, not ${host} itself`, hostFix(request));
}

export function belowText(request: PolicyRequest, rule: RuleView): Nearest {
  return near(rule, `${rule.pattern} is an exact entry; it does not cover names below it`, hostFix(request));
}

/** A look-alike of an allowed name comes without a line to allow it: it may be a squatter's. */
export function typoText(rule: RuleView, meant: string): Nearest {
  return near(rule, `did you mean ${meant}? One letter differs from what ${rule.pattern} allows`, '');
}

export interface HintMatch {
  readonly pattern: string;
  readonly group: string;
  readonly enabled: boolean;
  readonly values: ReadonlyMap<string, string>;
}

export function hintText(request: PolicyRequest, hint: HintMatch): Nearest {
  const given = [...hint.values].map(([name, value]) => `${name}: ${yamlScalar(value)}`).join(', ');
  const group = `group: ${yamlScalar(hint.group)}`;
  const fix = given === '' ? `{ ${group} }` : `{ ${group}, with: { ${given} } }`;
  const where = `${hostText(request.authority.host)} is ${hint.pattern} of catalog group ${hint.group}`;
  const values = [...hint.values].map(([name, value]) => `${name} ${value}`).join(' and ');
  const off = values === '' ? 'which the policy does not use' : `which the policy does not use; add it with ${values}`;
  const why = hint.enabled ? `${where}, which is on without ${values}` : `${where}, ${off}`;
  return { pattern: hint.pattern, rule: null, why, fix };
}
