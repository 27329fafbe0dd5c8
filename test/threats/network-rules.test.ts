// The network rules that docs/threat-model.md shows: nft takes them, and the NetworkPolicies say what the text says.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';

const ROOT = join(import.meta.dirname, '../..');
const PAGE = readFileSync(join(ROOT, 'docs/threat-model.md'), 'utf8');

function block(language: string): string {
  const found = [...PAGE.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(
    (match) => match[1] ?? '',
  );
  expect(found).toHaveLength(1);
  return found[0] ?? '';
}

/** Only checked, in a network namespace of its own: the rules of this machine are neither read nor changed. */
function nft(rules: string): { status: number | null; stderr: string } {
  const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` };
  return spawnSync('unshare', ['-rn', 'nft', '-c', '-f', '-'], { input: rules, encoding: 'utf8', env });
}

// .ci/run installs nftables; a sandbox without user namespaces cannot ask nft either.
const usable = nft('table inet probe {}\n').status === 0;

describe('nftables', () => {
  it.skipIf(!usable)('nft takes the rules', () => {
    expect(nft(block('nft'))).toMatchObject({ status: 0, stderr: '' });
  });

  it.skipIf(!usable)('nft takes the rule that logs what goes past the proxy', () => {
    const page = readFileSync(join(ROOT, 'docs/flow-logs.md'), 'utf8');
    const rules = /```nft\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
    expect(rules).toContain('log prefix "egress-refused: " flags skuid');
    expect(nft(rules)).toMatchObject({ status: 0, stderr: '' });
  });

  it.skipIf(!usable)('nft would not take wrong ones', () => {
    expect(nft(block('nft').replace('dport 3128', 'dprt 3128')).status).not.toBe(0);
  });

  it('lead to the proxy alone', () => {
    const accepted = block('nft')
      .match(/^.*\baccept$/gm)
      ?.map((line) => line.trim());
    expect(accepted).toEqual([
      'ip daddr $proxy tcp dport 3128 accept',
      'oif "lo" accept',
      'ct state established,related accept',
    ]);
  });
});

describe('NetworkPolicy', () => {
  it('lets agents reach the proxy alone, and the proxy be reached by agents alone', () => {
    const documents = parseAllDocuments(block('yaml'));
    expect(documents.flatMap((one) => one.errors)).toEqual([]);
    const [agents, proxy] = documents.map((one) => one.toJS());
    const ports = [{ protocol: 'TCP', port: 3128 }];
    const pods = (app: string) => ({ podSelector: { matchLabels: { app } } });
    for (const one of [agents, proxy])
      expect(one).toMatchObject({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' });
    expect(agents.spec).toEqual({
      ...pods('agent'),
      policyTypes: ['Egress'],
      egress: [{ to: [pods('sallyport')], ports }],
    });
    expect(proxy.spec).toEqual({
      ...pods('sallyport'),
      policyTypes: ['Ingress'],
      ingress: [{ from: [pods('agent')], ports }],
    });
    expect(documents).toHaveLength(2);
  });
});
