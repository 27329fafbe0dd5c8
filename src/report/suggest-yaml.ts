// Suggested lines → YAML for a policy file: each item below its evidence, what needs a look commented out under `# review`.
// Names of hosts, pipelines and jobs come from clients: in YAML they stand quoted, in comments without what ends a line.
import { inert } from './inert.ts';
import type { ReviewReason, SuggestedLine } from './suggest.ts';

const REASONS: Readonly<Record<ReviewReason, string>> = {
  'few-jobs': 'seen in too few jobs',
  new: 'first seen in the last day of the window',
  'multi-tenant': 'multi-tenant: anyone may own a name there; the names that were asked for stand below',
  doh: 'a resolver over HTTPS: names asked there stand in no log',
  exfiltration: 'known for handing data to anyone',
  'never-answered': 'never answered: perhaps a slip of the pen',
};

/** Names and pipelines shown in one comment. */
const SHOWN_MAX = 8;

/** The lines of a policy file. */
export function renderSuggestion(lines: readonly SuggestedLine[], head: readonly string[]): string {
  const ready = lines.filter((line) => line.review.length === 0);
  const kept = ready.filter((line) => line.by === 'policy');
  const added = ready.filter((line) => line.by !== 'policy');
  const review = lines.filter((line) => line.review.length > 0);
  const text = [...head.map((line) => `# ${inert(line)}`), 'version: 1', added.length === 0 ? 'allow: []' : 'allow:'];
  for (const line of added) text.push(...comments(line), `  - ${itemOf(line)}`);
  if (review.length > 0)
    text.push('', '  # review: look at each, then remove the # before the dash or leave it refused');
  for (const line of review) {
    text.push(...comments(line), ...line.review.map((reason) => `  #   ${REASONS[reason]}`), `  # - ${itemOf(line)}`);
  }
  if (kept.length > 0) text.push('', '# in force already, and used: keep');
  for (const line of kept)
    text.push(
      `#   ${inert(line.origin ?? '')}${line.group === null ? '' : ` (group ${line.group})`}: ${evidenceOf(line)}`,
    );
  return `${text.join('\n')}\n`;
}

function comments(line: SuggestedLine): string[] {
  const several = line.by !== 'host' && line.evidence.names.length > 0;
  const names = several ? [`  # ${listed(line.evidence.names)}`] : [];
  return [`  # ${evidenceOf(line)}`, ...names];
}

function evidenceOf({ evidence }: SuggestedLine): string {
  const { requests, jobs, pipelines, first_seen } = evidence;
  const who = pipelines.length === 0 ? '' : ` of ${listed(pipelines)}`;
  const by = jobs === 0 ? `jobs not known${who}` : `${jobs} job${jobs === 1 ? '' : 's'}${who}`;
  return `${requests} request${requests === 1 ? '' : 's'}, ${by}, first seen ${new Date(first_seen).toISOString().slice(0, 10)}`;
}

function listed(names: readonly string[]): string {
  const more = names.length - SHOWN_MAX;
  return `${names.slice(0, SHOWN_MAX).map(inert).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** One item of `allow:` on one line. */
function itemOf({ group, parameters, pattern, ports, forward }: SuggestedLine): string {
  if (group !== null) {
    const given = Object.entries(parameters).map(([name, values]) => {
      const texts = values.map((value) => quoted(value));
      return `${name}: ${texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`}`;
    });
    return given.length === 0 ? `group: ${group}` : `{ group: ${group}, with: { ${given.join(', ')} } }`;
  }
  const host = pattern ?? '';
  const [port] = ports;
  const byPort = forward === (port === 80);
  if (ports.length === 1 && byPort) return quoted(port === 443 ? host : `${host}:${port}`);
  const protocol = forward ? 'http' : ports.includes(80) ? 'tls' : null;
  return `{ host: ${quoted(host)}, ports: [${ports.join(', ')}]${protocol === null ? '' : `, protocol: ${protocol}`} }`;
}

/** As it stands where YAML reads it as this very text; else in quotes. */
function quoted(text: string): string {
  return /^[a-z][a-z0-9.-]*(?::\d+)?$/.test(text) && !/^(?:true|false|null|\d.*)$/.test(text)
    ? text
    : JSON.stringify(text);
}
