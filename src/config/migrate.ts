// What another proxy's configuration comes to as a policy file: rules with the line they come from, and, as important, what could not be
// carried over. PURE. A reader (migrate-squid.ts, migrate-smokescreen.ts) fills a Migration; nothing is opened that it did not say.
import { parsePattern } from '../policy/pattern.ts';

export interface LeftOver {
  /** Line of the other file; 0 is the file as a whole. */
  readonly line: number;
  readonly text: string;
  readonly why: string;
}

interface MigratedRule {
  readonly effect: 'allow' | 'deny';
  readonly host: string;
  readonly ports: readonly number[];
  readonly user: string | null;
  readonly mode: 'observe' | null;
  readonly line: number;
}

const LISTEN = '127.0.0.1:3128';

export class Migration {
  listen = LISTEN;
  readonly clients: string[] = [];
  readonly users: { readonly name: string; readonly mode: 'observe' | 'enforce' }[] = [];
  readonly left: LeftOver[] = [];
  readonly #rules: MigratedRule[] = [];

  get rules(): readonly MigratedRule[] {
    return this.#rules;
  }

  /** Adds a rule, or says why its host is none. The same rule for the same users stands once. */
  rule(rule: MigratedRule): void {
    const read = parsePattern(rule.host);
    if (!read.ok) {
      const suggestion = read.suggestion === null ? '' : `; did you mean ${read.suggestion}?`;
      return this.leave(rule.line, rule.host, `${read.problem}${suggestion}`);
    }
    const host = read.pattern.text;
    const same = this.#rules.some(
      (one) => one.effect === rule.effect && one.host === host && one.user === rule.user && one.mode === rule.mode,
    );
    if (!same) this.#rules.push({ ...rule, host });
  }

  leave(line: number, text: string, why: string): void {
    this.left.push({ line, text, why });
  }
}

/** The policy file. @param from the other file's name, for its head */
export function policyText(migration: Migration, from: string, product: string): string {
  const { clients, users, left, listen } = migration;
  const lines = [
    `# Made from ${comment(from)} of ${product}. It enforces, as that did; with mode: observe what is not listed passes and is recorded.`,
    `# Deny always wins here, and an allow without ports means 443. Look at it: sallyport check.`,
    'version: 1',
    `listen: ${quoted(listen)}`,
    'mode: enforce',
    clients.length > 0
      ? `clients: { from: [${[...new Set(clients)].map(quoted).join(', ')}] }`
      : 'clients: { from: [127.0.0.0/8] }',
  ];
  if (users.some(({ mode }) => mode === 'observe'))
    lines.push(
      'modes:',
      ...users.flatMap(({ name, mode }) =>
        mode === 'observe' ? [`  - { for: { user: ${quoted(name)} }, mode: observe }`] : [],
      ),
    );
  lines.push(...section('allow', migration), ...section('deny', migration));
  if (left.length > 0) lines.push('', '# Not carried over:');
  for (const { line, text, why } of left)
    lines.push(`# ${line === 0 ? '' : `line ${line}: `}${text === '' ? '' : `${comment(text)}: `}${comment(why)}`);
  return `${lines.join('\n')}\n`;
}

function section(effect: 'allow' | 'deny', { rules }: Migration): string[] {
  const own = rules.filter((rule) => rule.effect === effect);
  if (own.length === 0) return [`${effect}: []`];
  const lines = [`${effect}:`];
  let line = 0;
  for (const rule of own) {
    if (rule.line !== line) lines.push(`  # line ${rule.line}`);
    line = rule.line;
    const keys = [`host: ${quoted(rule.host)}`];
    if (rule.ports.length > 0) keys.push(`ports: [${rule.ports.join(', ')}]`);
    if (rule.user !== null) keys.push(`for: { user: ${quoted(rule.user)} }`);
    if (rule.mode !== null) keys.push(`mode: ${rule.mode}`);
    lines.push(`  - { ${keys.join(', ')} }`);
  }
  return lines;
}

/** Text of another file as a value: no character of it moves a cursor or turns a line around where the policy is printed. */
function quoted(text: string): string {
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The same in a comment: one line, and not too long. */
function comment(text: string): string {
  return quoted(text).slice(1, -1).slice(0, 300);
}
