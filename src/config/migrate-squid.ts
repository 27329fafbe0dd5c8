// Squid: acl and http_access of squid.conf as a policy. PURE. Carried over is what names destinations by domain; a line that lets
// everything through, or decides by what is not known here (users of another scheme, times, URLs), is named and opens nothing.
import { Migration } from './migrate.ts';

interface Acl {
  readonly type: string;
  readonly values: string[];
}

interface Line {
  readonly number: number;
  readonly words: readonly string[];
}

/** Reads a file that the configuration names; null where it cannot be read. */
export type ReadNamed = (path: string) => string | null;

/** Known to Squid without being defined. */
const BUILT_IN: Readonly<Record<string, string>> = {
  all: 'all',
  localhost: 'src',
  to_localhost: 'dst-local',
  to_linklocal: 'dst-local',
  manager: 'manager',
  CONNECT: 'method',
};
const LOOPBACK = ['127.0.0.0/8', '::1/128'];
/** Directives that decide about requests and have no counterpart. */
// biome-ignore format: a list of words
const DECIDING: ReadonlySet<string> = new Set([
  'http_reply_access', 'adapted_http_access', 'url_rewrite_program', 'url_rewrite_access', 'ssl_bump', 'cache_peer',
  'cache_peer_access', 'never_direct', 'always_direct', 'tcp_outgoing_address', 'auth_param',
  'external_acl_type', 'deny_info', 'delay_access', 'include', 'request_header_access',
]);
const INCLUDES_MAX = 8;

/** @param read for `acl … "file"` and `include`; wildcards in a path are not followed */
export function migrateSquid(text: string, read: ReadNamed): Migration {
  const migration = new Migration();
  const acls = new Map<string, Acl>();
  const access: Line[] = [];
  for (const line of linesOf(text, read, migration)) {
    const [directive = '', ...rest] = line.words;
    if (directive === 'acl') define(acls, line, rest, read, migration);
    else if (directive === 'http_access') access.push({ ...line, words: rest });
    else if (directive === 'http_port') listenOn(rest[0] ?? '', line.number, migration);
    else if (DECIDING.has(directive)) migration.leave(line.number, directive, 'there is no counterpart of it here');
  }
  const ports = portsOf(access, acls, migration);
  let allowed = false;
  for (const { number, words } of access) {
    const [verdict = '', ...names] = words;
    const used = names.map((name) => resolve(name, acls));
    if (verdict === 'deny' && used.length === 1 && used[0]?.type === 'all') return migration;
    if (isPortBound(verdict, used) || used.some((one) => one.type === 'dst-local' || one.type === 'manager')) continue;
    const unknown = used.find((one) => !['dstdomain', 'src', 'all'].includes(one.type) || one.negated);
    const shown = `http_access ${words.join(' ')}`;
    if (unknown) {
      const why =
        unknown.type === ''
          ? `acl ${unknown.name} is not defined`
          : `it decides by ${unknown.negated ? '!' : ''}${unknown.name} (${unknown.type || 'unknown'})`;
      migration.leave(number, shown, `${why}, which is not carried over`);
      continue;
    }
    const domains = used.filter((one) => one.type === 'dstdomain');
    if (verdict === 'allow') {
      allowed = true;
      for (const one of used) if (one.type === 'src') migration.clients.push(...one.values);
      if (domains.length === 0)
        migration.leave(
          number,
          shown,
          'it lets everything through: run with mode: observe, and let `sallyport suggest` write the list',
        );
    } else if (allowed && domains.length > 0)
      migration.leave(number, shown, 'a line before it lets through in Squid; here deny wins over every allow');
    // Several domains in one line must all match, which no host does but by chance.
    if (domains.length > 1) migration.leave(number, shown, 'two lists of domains in one line are not carried over');
    else
      for (const value of domains[0]?.values ?? [])
        for (const host of hostsOf(value))
          migration.rule({
            effect: verdict === 'allow' ? 'allow' : 'deny',
            host,
            ports: verdict === 'allow' ? ports : [],
            user: null,
            mode: null,
            line: number,
          });
  }
  const last = access.at(-1);
  if (last?.words[0] === 'deny')
    migration.leave(
      last.number,
      `http_access ${last.words.join(' ')}`,
      'Squid lets everything through that no line decides, where the last one is a deny: here it is refused',
    );
  return migration;
}

/** Lines with their continuation lines joined, comments and empty ones left out; `include` in its place. */
function linesOf(text: string, read: ReadNamed, migration: Migration, depth = 0): Line[] {
  const lines: Line[] = [];
  const raw = text.split(/\r?\n/);
  for (let i = 0; i < raw.length; i++) {
    const number = i + 1;
    let whole = raw[i] ?? '';
    while (/\\$/.test(whole) && i + 1 < raw.length) whole = `${whole.slice(0, -1)} ${raw[++i]}`;
    const words = whole
      .replace(/(?:^|\s)#.*$/, '')
      .trim()
      .split(/\s+/)
      .filter((word) => word !== '');
    if (words[0] === 'include' && depth < INCLUDES_MAX) {
      const inner = words[1] === undefined ? null : read(words[1]);
      if (inner !== null) {
        lines.push(...linesOf(inner, read, migration, depth + 1).map((line) => ({ ...line, number })));
        continue;
      }
    }
    if (words.length > 0) lines.push({ number, words });
  }
  return lines;
}

function define(
  acls: Map<string, Acl>,
  { number }: Line,
  [name = '', type = '', ...words]: string[],
  read: ReadNamed,
  migration: Migration,
): void {
  const values: string[] = [];
  for (const word of words) {
    const path = /^"(.+)"$/.exec(word)?.[1];
    if (path === undefined) {
      if (!/^-[a-z]$|^--$/.test(word)) values.push(word);
      continue;
    }
    const text = read(path);
    if (text === null) migration.leave(number, `acl ${name} ${type} ${word}`, 'the file that it names cannot be read');
    for (const entry of (text ?? '').split(/\r?\n/)) {
      const value = entry.replace(/(?:^|\s)#.*$/, '').trim();
      if (value !== '') values.push(value);
    }
  }
  const known = acls.get(name);
  if (known && known.type === type) known.values.push(...values);
  else acls.set(name, { type, values });
}

interface Used {
  readonly name: string;
  /** '' where it is not defined. */
  readonly type: string;
  readonly negated: boolean;
  readonly values: readonly string[];
}

function resolve(word: string, acls: ReadonlyMap<string, Acl>): Used {
  const negated = word.startsWith('!');
  const name = negated ? word.slice(1) : word;
  const acl = acls.get(name);
  const values = acl?.values ?? (name === 'localhost' ? LOOPBACK : []);
  const everyone = acl?.type === 'src' && acl.values.some((value) => value === 'all' || value === '0.0.0.0/0');
  return { name, type: everyone ? 'all' : (acl?.type ?? BUILT_IN[name] ?? ''), negated, values };
}

/** `deny !Safe_ports`, `deny CONNECT !SSL_ports`. */
function isPortBound(verdict: string, used: readonly Used[]): boolean {
  const bound = used.at(-1);
  return (
    verdict === 'deny' &&
    bound?.type === 'port' &&
    bound.negated &&
    used.slice(0, -1).every(({ type }) => type === 'method')
  );
}

/** The ports that allow rules get: 443 and what CONNECT may reach besides, 80 where plain HTTP may. */
function portsOf(access: readonly Line[], acls: ReadonlyMap<string, Acl>, migration: Migration): number[] {
  let plain: readonly string[] | null = null;
  let tunnels: readonly string[] | null = null;
  for (const { number, words } of access) {
    const used = words.slice(1).map((word) => resolve(word, acls));
    if (!isPortBound(words[0] ?? '', used)) continue;
    const values = used.at(-1)?.values ?? [];
    const shown = `http_access ${words.join(' ')}`;
    const addThem = 'add those that builds need';
    if (used.length === 1) {
      plain = values;
      if (values.some((value) => value !== '80' && value !== '443'))
        migration.leave(number, shown, `plain HTTP to other ports than 80 is not carried over: ${addThem}`);
    } else {
      tunnels = values;
      const ranges = values.filter((value) => !/^\d+$/.test(value));
      if (ranges.length > 0)
        migration.leave(number, shown, `CONNECT to the ports ${ranges.join(', ')} is not carried over: ${addThem}`);
    }
  }
  const single = (tunnels ?? ['443']).flatMap((value) => (/^\d+$/.test(value) ? [Number(value)] : []));
  if (tunnels === null)
    migration.leave(0, '', 'Squid bounds the ports of CONNECT by no line: 443 alone is carried over');
  const http = plain === null || plain.some((value) => value === '80');
  return [...new Set([...(http ? [80] : []), ...single])];
}

/** `.example.com` is the domain and all below it. */
function hostsOf(value: string): string[] {
  return value.startsWith('.') ? [value.slice(1), `*${value}`] : [value];
}

function listenOn(place: string, line: number, migration: Migration): void {
  const match = /^(?:(\[[0-9a-f:]+\]|[0-9.]+):)?(\d{1,5})$/i.exec(place);
  if (match) migration.listen = `${match[1] ?? '0.0.0.0'}:${match[2]}`;
  else migration.leave(line, `http_port ${place}`, 'the address is not understood');
}
