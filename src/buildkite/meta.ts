// The answer of Buildkite's Meta API, read strictly: the addresses that webhooks come from become firewall rules, so an answer that is
// empty, odd or too wide is an error and never a list. These are sources of what comes in, and never become rules for what goes out.
import { z } from 'zod';
import { type Cidr, classifyAddress, parseCidr } from '../policy/address.ts';

export const META_URL = 'https://api.buildkite.com/v2/meta';

/** Ranges in one answer; Buildkite has about a dozen. */
const RANGES_MAX = 1_000;
/** The widest range that is believed, by prefix length. */
const WIDEST = { 4: 8, 6: 16 } as const;

const shape = z.object({ webhook_ips: z.array(z.string()).min(1).max(RANGES_MAX) });

export type MetaResult =
  | { readonly ok: true; readonly ranges: readonly Cidr[] }
  | { readonly ok: false; readonly problem: string };

/** Reads the body. Ranges come back canonical, once each, IPv4 first, in order of address. */
export function parseMeta(body: string): MetaResult {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return { ok: false, problem: 'the answer is not JSON' };
  }
  const parsed = shape.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return { ok: false, problem: `${issue?.path.join('.') || 'the answer'}: ${issue?.message ?? 'unknown'}` };
  }
  const ranges = new Map<string, Cidr>();
  for (const text of parsed.data.webhook_ips) {
    const range = parseCidr(text);
    const problem = range === null ? 'is no address or range' : rangeProblem(range);
    if (range === null || problem !== null)
      return { ok: false, problem: `webhook_ips: ${JSON.stringify(text)} ${problem}` };
    ranges.set(range.text, range);
  }
  return { ok: true, ranges: [...ranges.values()].sort(byAddress) };
}

function rangeProblem(range: Cidr): string | null {
  const [address = '', length = ''] = range.text.split('/');
  if (Number(length) < WIDEST[range.family]) return `is wider than /${WIDEST[range.family]}`;
  const addressClass = classifyAddress(address);
  return addressClass === 'public' ? null : `is not public (${addressClass})`;
}

function byAddress(a: Cidr, b: Cidr): number {
  if (a.family !== b.family) return a.family - b.family;
  for (const [index, group] of a.groups.entries()) {
    const difference = group - (b.groups[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.bits - b.bits;
}

export interface MetaChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** What one list has and the other has not. */
export function metaChange(before: readonly string[], after: readonly string[]): MetaChange {
  return {
    added: after.filter((text) => !before.includes(text)),
    removed: before.filter((text) => !after.includes(text)),
  };
}

export const META_FORMATS = ['text', 'json', 'nginx', 'iptables', 'nft', 'terraform'] as const;
export type MetaFormat = Exclude<(typeof META_FORMATS)[number], 'json'>;

/** The list for a firewall or a server; each ends with a line end and can be loaded as it is. */
export function metaText(format: MetaFormat, ranges: readonly string[], source: string): string {
  const v4 = ranges.filter((text) => !text.includes(':'));
  const v6 = ranges.filter((text) => text.includes(':'));
  const head = `# Where Buildkite's webhooks come from (webhook_ips of ${source}). Made by sallyport platform-ips.`;
  return `${TEXTS[format]({ all: ranges, v4, v6, head }).join('\n')}\n`;
}

interface Lists {
  readonly all: readonly string[];
  readonly v4: readonly string[];
  readonly v6: readonly string[];
  readonly head: string;
}

const CHAIN = 'BUILDKITE-WEBHOOKS';

const TEXTS: Readonly<Record<MetaFormat, (lists: Lists) => string[]>> = {
  text: ({ all }) => [...all],
  nginx: ({ all, head }) => [head, ...all.map((text) => `allow ${text};`), 'deny all;'],
  iptables: ({ v4, v6, head }) => [
    head,
    '# A chain to jump to: iptables -A INPUT -p tcp --dport 443 -j BUILDKITE-WEBHOOKS',
    ...chain('iptables', v4),
    ...chain('ip6tables', v6),
  ],
  nft: ({ v4, v6, head }) => [
    head,
    '# Two sets to match with: ip saddr @webhooks4 tcp dport 443 accept. Loading the file again replaces what they hold.',
    'table inet buildkite {',
    ...set('webhooks4', 'ipv4_addr'),
    ...set('webhooks6', 'ipv6_addr'),
    '}',
    'flush set inet buildkite webhooks4',
    'flush set inet buildkite webhooks6',
    ...elements('webhooks4', v4),
    ...elements('webhooks6', v6),
  ],
  terraform: ({ v4, v6, head }) => [
    head,
    'locals {',
    ...hcl('buildkite_webhook_ipv4', v4),
    ...hcl('buildkite_webhook_ipv6', v6),
    '}',
  ],
};

function chain(program: string, ranges: readonly string[]): string[] {
  return [
    `${program} -N ${CHAIN} 2>/dev/null || ${program} -F ${CHAIN}`,
    ...ranges.map((text) => `${program} -A ${CHAIN} -s ${text} -j ACCEPT`),
  ];
}

function set(name: string, type: string): string[] {
  return [`  set ${name} {`, `    type ${type}`, '    flags interval', '    auto-merge', '  }'];
}

function elements(name: string, ranges: readonly string[]): string[] {
  return ranges.length === 0 ? [] : [`add element inet buildkite ${name} { ${ranges.join(', ')} }`];
}

function hcl(name: string, ranges: readonly string[]): string[] {
  return [`  ${name} = [`, ...ranges.map((text) => `    "${text}",`), '  ]'];
}
