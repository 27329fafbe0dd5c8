// The policy lint: each finding with its line, its neighbours that are none, how it is accepted, and what the catalog gives.
import { describe, expect, it } from 'vitest';
import { loadCatalog } from '../../src/catalog/load.ts';
import { lintRules } from '../../src/config/lint.ts';
import type { PlacedRule } from '../../src/config/rules.ts';
import { LINTS } from '../../src/config/schema.ts';
import { OPERATOR_ERRORS } from '../../src/errors.ts';
import type { RuleSource } from '../../src/policy/compile.ts';
import { parsePattern } from '../../src/policy/pattern.ts';
import { inFolderOfItsOwn, loadText, NOW } from './support.ts';

inFolderOfItsOwn();

const catalog = loadCatalog();

function findings(text: string): { places: string[]; text: string } {
  const { error, problems } = loadText(text);
  if (error !== null) throw error;
  expect(problems.every((one) => one.severity === 'warning' && one.at !== null && one.hint !== '')).toBe(true);
  return {
    places: problems.map((one) => `${one.code} ${one.at?.line}`),
    text: problems.map((one) => `${one.message} ${one.hint}`).join('\n'),
  };
}

/** The first rule stands on line 3. */
const policy = (...lines: string[]): string => `version: 1\nallow:\n${lines.map((line) => `  - ${line}\n`).join('')}`;
const denied = (rule: string, deny: string): string => `${policy(rule)}deny: [${deny}]\n`;
/** Line 3 says what addresses prove; the first rule stands on line 5. */
const proven = (set: string, ...lines: string[]): string =>
  `version: 1\nclients: { from: [127.0.0.0/8],\n  groups: [{ from: [10.0.0.0/8], set: ${set} }] }\nallow:\n${lines.map((line) => `  - ${line}\n`).join('')}`;
const ports = (count: number): string => `[${Array.from({ length: count }, (_, at) => 8000 + at).join(', ')}]`;

type Row = [what: string, text: string, places: string[], words: string];

describe('rules that have no effect', () => {
  it.each<Row>([
    ['expired', policy('{ host: a.example, expires: 2026-11-23 }'), ['lint-expired 3'], '2026-11-23'],
    [
      'expired group, told once',
      policy('{ group: buildkite-agent, expires: 2020-01-01 }'),
      ['lint-expired 3'],
      'group buildkite-agent',
    ],
    ['expired deny', denied('a.example', '{ host: b.example, expires: 2020-02-29 }'), ['lint-expired 4'], '2020-02-29'],
    ['valid on its last day', policy('{ host: a.example, expires: 2026-11-24 }'), [], ''],
    ['twice', policy('a.example', 'A.example:443'), ['lint-duplicate 4'], 'policy.yaml:3'],
    [
      'twice, with the default protocol spelled out',
      policy('a.example', '{ host: a.example, protocol: tls, ports: [443] }'),
      ['lint-duplicate 4'],
      'twice',
    ],
    [
      'one of its ports more',
      policy('{ host: a.example, ports: [443, 8443] }', 'a.example:8443'),
      ['lint-duplicate 4'],
      'policy.yaml:3',
    ],
    ['not twice: another port', policy('a.example', 'a.example:8443'), [], ''],
    ['not twice: one port of two is new', policy('a.example', '{ host: a.example, ports: [443, 8443] }'), [], ''],
    ['not twice: it lives longer', policy('{ host: a.example, expires: 2027-01-01 }', 'a.example'), [], ''],
    [
      'twice: it lives no longer',
      policy('a.example', '{ host: a.example, expires: 2027-01-01 }'),
      ['lint-duplicate 4'],
      '',
    ],
    [
      'never wins: its addresses do not count',
      policy('a.example', '{ host: a.example, addresses: [10.1.0.0/16] }'),
      ['lint-shadowed 4'],
      'never count',
    ],
    [
      'never wins: CONNECT goes to the first',
      policy('{ host: a.example, ports: [22], protocol: tls }', 'a.example:22'),
      ['lint-shadowed 4'],
      'policy.yaml:3',
    ],
    [
      'never wins: a group has it with other settings',
      policy('group: github', '{ host: github.com, mode: observe }'),
      ['lint-shadowed 4'],
      'group github at policy.yaml:3',
    ],
    [
      'by hand and in a group before it',
      policy('group: github', 'github.com'),
      ['lint-duplicate 4'],
      'group github at policy.yaml:3 has it already',
    ],
    [
      'by hand and in a group after it',
      policy('github.com', 'group: github'),
      ['lint-duplicate 3'],
      'group github at policy.yaml:4 has it already',
    ],
    [
      'by hand before the group, with settings of its own',
      policy('{ host: github.com, mode: observe }', 'group: github'),
      [],
      '',
    ],
    [
      'under a wildcard that lets it through',
      policy('"*.b.example"', 'a.b.example'),
      ['lint-duplicate 4'],
      '*.b.example of the rule at policy.yaml:3',
    ],
    [
      'under a wildcard that comes later',
      policy('a.b.example', '"*.b.example"'),
      ['lint-duplicate 3'],
      'policy.yaml:4',
    ],
    [
      'under a wildcard with other settings',
      policy('{ host: "*.b.example", protocol: any, ports: [8443] }', 'a.b.example:8443'),
      [],
      '',
    ],
    ['above a wildcard', policy('"*.b.example"', 'b.example'), [], ''],
    ['a group twice', policy('group: github', 'group: github'), ['lint-duplicate 4'], 'group github at policy.yaml:3'],
    [
      'a group again with more',
      policy(
        '{ group: amazon-ecr, with: { account: "123456789012", region: us-west-2 } }',
        '{ group: amazon-ecr, with: { account: "123456789012", region: [us-west-2, eu-west-1] } }',
      ),
      [],
      '',
    ],
    ['a deny twice', denied('a.example', 'b.example, b.example'), ['lint-duplicate 4'], 'policy.yaml:4'],
    ['a deny under a wider one, of what nobody allows', denied('a.example', '"*.b.example", c.b.example'), [], ''],
    ['under a deny', denied('a.example', 'a.example'), ['lint-shadowed 3'], 'policy.yaml:4'],
    ['under a wider deny', denied('"*.a.b.example"', '"*.b.example"'), ['lint-shadowed 3'], '*.b.example'],
    ['not under a deny of what is below it', denied('b.example', '"*.b.example"'), [], ''],
    ['not under a narrower deny', denied('"*.b.example"', 'a.b.example'), [], ''],
    ['not under a deny of another port', denied('a.example', '"a.example:22"'), [], ''],
    [
      'under two denies that cover its ports together',
      denied('{ host: a.example, ports: [22, 443] }', '"a.example:22", "*.example.org", "a.example:443"'),
      ['lint-shadowed 3'],
      'policy.yaml:4',
    ],
    [
      'a host of a group under a deny',
      denied('group: buildkite-agent', '"*.buildkite.com"'),
      ['lint-shadowed 3'],
      'more of the group',
    ],
    ['metadata by address', policy('169.254.169.254:80'), ['lint-dead 3'], 'sallyport env'],
    ['metadata by name', policy('metadata.google.internal:80'), ['lint-dead 3'], 'instance-metadata'],
    [
      'for nobody',
      policy('{ host: a.example, for: { pipeline: deploy } }'),
      ['lint-dead 3'],
      'no entry of clients.groups sets pipeline',
    ],
    [
      'for nobody: another value',
      proven('{ queue: canary }', '{ host: a.example, for: { queue: "prod-*" } }'),
      ['lint-dead 5'],
      'queue',
    ],
    ['a deny for nobody', denied('a.example', '{ host: a.example, for: { queue: x } }'), ['lint-dead 4'], 'queue'],
    [
      'a mode for nobody',
      `${policy('a.example')}modes: [{ for: { queue: x }, mode: observe }]\n`,
      ['lint-dead 4'],
      'nobody',
    ],
  ])('%s', (_, text, places, words) => {
    const found = findings(text);
    expect(found.places).toEqual(places);
    expect(found.text).toContain(words);
  });
});

describe('rules that let through more than they look like', () => {
  it.each<Row>([
    [
      'names of strangers, by the Public Suffix List',
      policy('"*.s3.amazonaws.com:8443"'),
      ['lint-multi-tenant 3'],
      "stranger's account",
    ],
    [
      'names of strangers, by the catalog',
      policy('{ group: amazon-s3, with: { region: us-west-2 } }'),
      ['lint-multi-tenant 3'],
      '*.s3.amazonaws.com of group amazon-s3',
    ],
    [
      'a wildcard above names of strangers',
      policy('"*.core.windows.net"'),
      ['lint-multi-tenant 3'],
      'Azure Blob Storage',
    ],
    ['a provider whole', policy('"*.amazonaws.com"'), ['lint-multi-tenant 3'], 'of any account'],
    ['below one tenant', policy('"*.acme.atlassian.net"', '"*.my-bucket.s3.amazonaws.com"'), [], ''],
    [
      'a whole domain that the catalog knows to be of others',
      policy('"*.buildkite.com"'),
      ['lint-wide-host 3'],
      'group buildkite-agent',
    ],
    ['a domain of one’s own', policy('"*.acme.dev:8443"'), [], ''],
    [
      'a wildcard with a paste service in it',
      policy('"*.github.com"'),
      ['lint-exfiltration 3', 'lint-wide-host 3'],
      'gist.github.com',
    ],
    [
      'the same, and the service denied',
      denied('"*.github.com"', 'gist.github.com'),
      ['lint-wide-host 3'],
      'group github',
    ],
    ['a resolver over HTTPS', policy('dns.google'), ['lint-doh 3'], 'Google Public DNS'],
    ['a resolver by its address', policy('1.1.1.1'), ['lint-doh 3'], 'Cloudflare'],
    [
      'a resolver under a wildcard of the list',
      policy('mozilla.cloudflare-dns.com'),
      ['lint-doh 3'],
      '*.cloudflare-dns.com',
    ],
    ['a tunnel', policy('abc.ngrok.io'), ['lint-exfiltration 3'], 'machine of anybody'],
    ['a webhook', policy('webhook.site'), ['lint-exfiltration 3'], 'whoever asked'],
    ['an upload', policy('transfer.sh'), ['lint-exfiltration 3'], 'files'],
    [
      'metadata switched on',
      policy('{ group: instance-metadata, i_understand: proxy-host-identity }'),
      ['lint-metadata 3'],
      'machine of the proxy',
    ],
    ['every address', policy('{ host: a.example, addresses: [0.0.0.0/0] }'), ['lint-wide-addresses 3'], 'any address'],
    [
      'half of all addresses',
      policy('{ host: a.example, addresses: [0.0.0.0/1] }'),
      ['lint-wide-addresses 3'],
      '0.0.0.0/1',
    ],
    [
      'every local address of IPv6',
      policy('{ host: a.example, addresses: ["fc00::/7"] }'),
      ['lint-wide-addresses 3'],
      'fc00::/7',
    ],
    [
      'every private network',
      policy('{ host: a.example, addresses: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16] }'),
      ['lint-wide-addresses 3'],
      'every private network',
    ],
    [
      'the proxy’s own machine',
      policy('{ host: a.example, addresses: [127.0.0.0/8] }'),
      ['lint-wide-addresses 3'],
      'machine of the proxy',
    ],
    ['one private network', policy('{ host: a.example, addresses: [10.0.0.0/8, "fd00:1234::/32"] }'), [], ''],
    ['many ports', policy(`{ host: a.example, ports: ${ports(17)} }`), ['lint-wide-ports 3'], '17 ports'],
    ['sixteen ports', policy(`{ host: a.example, ports: ${ports(16)} }`), [], ''],
    [
      'any protocol on 443',
      policy('{ host: a.example, ports: [443, 22], protocol: any }'),
      ['lint-wide-protocol 3'],
      'server name',
    ],
    ['any protocol elsewhere', policy('{ host: a.example, ports: [7999], protocol: any }'), [], ''],
    [
      'an address as the only proof',
      proven('{ queue: canary }', '{ host: a.example, for: { queue: canary } }'),
      ['lint-address-identity 5'],
      'every job',
    ],
    [
      'an address as proof for the agent’s own hosts',
      proven('{ queue: canary }', '{ group: buildkite-agent, for: { queue: canary } }'),
      [],
      '',
    ],
  ])('%s', (_, text, places, words) => {
    const found = findings(text);
    expect(found.places).toEqual(places);
    expect(found.text).toContain(words);
  });
});

describe('accept', () => {
  it('silences the findings it names, on its rule alone', () => {
    const rule = '{ host: "*.s3.amazonaws.com", accept: [multi-tenant], reason: buckets change daily }';
    expect(findings(policy(rule, '"*.blob.core.windows.net"')).places).toEqual(['lint-multi-tenant 4']);
    expect(findings(policy('{ group: amazon-s3, accept: [multi-tenant], reason: ours }')).places).toEqual([]);
    expect(
      findings(denied('a.example', 'b.example, { host: b.example, accept: [duplicate], reason: made by a script }'))
        .places,
    ).toEqual([]);
  });

  it('is itself a finding where there is nothing to accept', () => {
    const found = findings(policy('{ host: a.example, accept: [doh, expired], reason: x }'));
    expect(found.places).toEqual(['lint-accept 3', 'lint-accept 3']);
    expect(found.text).toContain('accepts doh');
  });

  it.each([
    ['{ host: a.example, accept: [doh] }', 'config-missing-key', 'gives no reason'],
    ['{ host: a.example, accept: [dho], reason: x }', 'config-value', 'Did you mean doh?'],
    ['{ host: a.example, accept: [], reason: x }', 'config-value', 'accept'],
  ])('%s is an error', (rule, code, words) => {
    const [problem] = loadText(policy(rule)).problems;
    expect(problem).toMatchObject({ code, severity: 'error', at: { line: 3 } });
    expect(`${problem?.message} ${problem?.hint}`).toContain(words);
  });

  it('knows every finding by its code without lint-', () => {
    const codes = Object.keys(OPERATOR_ERRORS).filter((code) => code.startsWith('lint-') && code !== 'lint-accept');
    expect(LINTS.map((lint) => `lint-${lint}`).sort()).toEqual(codes.sort());
  });
});

describe('the catalog', () => {
  it('has these findings and no others, each on the line of its group', () => {
    const groups = [...catalog.groups.values()];
    const lines = groups.map((group) => {
      const given = group.parameters.map(({ name, example }) => `${name}: "${example}"`).join(', ');
      const understand = group.requires === undefined ? '' : `, i_understand: ${group.requires}`;
      return `{ group: ${group.id}, with: { ${given} }${understand} }`;
    });
    const { problems } = loadText(policy(...lines));
    const found = problems.map((one) => `${groups[(one.at?.line ?? 0) - 3]?.id} ${one.code}`);
    expect(found.sort()).toEqual([
      'amazon-s3 lint-multi-tenant',
      'amazon-s3-dualstack lint-multi-tenant',
      'azure-blob-storage lint-multi-tenant',
      'ecs-task-metadata lint-metadata',
      'instance-metadata lint-metadata',
    ]);
  });

  it('says of every watched host what it is and where that is said', () => {
    expect(catalog.watch.length).toBeGreaterThan(100);
    for (const { host, what, cite } of catalog.watch) {
      expect(parsePattern(host)).toMatchObject({ ok: true, pattern: { text: host } });
      expect(what.length * cite.length).toBeGreaterThan(0);
    }
    expect(new Set(catalog.watch.map((one) => one.host)).size).toBe(catalog.watch.length);
  });
});

/** 100,000 rules: looking at each pair would not end within the time a test has. */
describe('many rules', () => {
  const made = (host: string, at: number, more: Partial<RuleSource>): PlacedRule => {
    const parsed = parsePattern(host);
    if (!parsed.ok) throw new Error(parsed.problem);
    const rule: RuleSource = {
      ...{ effect: 'allow', pattern: parsed.pattern, ports: null, protocol: null, addresses: [], metadata: false },
      ...{ paths: null, inspect: null, mode: null, for: null, expires: null, id: `x:${at}`, origin: `x:${at}` },
      ...{ group: null, need: null, reason: null, owner: null, layer: null, ...more },
    };
    return { rule, path: ['allow', at], lastDay: null, accept: [], written: null };
  };
  const COUNT = 100_000;

  it.each<[string, (at: number) => PlacedRule, number]>([
    ['all different', (at) => made(`h${at}.d${at % 100}.example`, at, {}), 0],
    ['all the same', (at) => made('a.example', at, {}), COUNT - 1],
    ['one host, a port each', (at) => made('a.example', at, { ports: [1 + (at % 65_535)] }), COUNT - 65_535],
    ['one host, a selector each', (at) => made('a.example', at, { for: { queue: [`q${at}`] } }), COUNT],
    [
      'one host, denied as often',
      (at) => made('a.example', at, { effect: at % 2 ? 'deny' : 'allow' }),
      COUNT - 2 + COUNT / 2,
    ],
  ])('%s', (_, make, count) => {
    const rules = Array.from({ length: COUNT }, (__, at) => make(at));
    expect(lintRules({ rules, catalog, clientGroups: [], provable: () => false, modes: [], now: NOW })).toHaveLength(
      count,
    );
  });
});
