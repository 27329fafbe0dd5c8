// Buildkite's addresses as the file of a firewall, a server or Terraform. PURE text of ranges that meta.ts has read.

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
