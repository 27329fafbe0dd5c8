// From a file to settings and a compiled policy: defaults, origins, overrides, files that are no files, the worker.
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadCatalog } from '../../src/catalog/load.ts';
import { findConfigFile, loadConfig } from '../../src/config/load.ts';
import type { SallyportError } from '../../src/errors.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { Policy } from '../../src/policy/decide.ts';
import { run } from '../support/proxy-process.ts';
import { connect, FILE, inFolderOfItsOwn, loadText, NOW } from './support.ts';

inFolderOfItsOwn();

const SMALL = 'version: 1\nallow: [github.com]\n';

describe('settings', () => {
  it('has a default for everything but the version', () => {
    const settings = loadText(SMALL).loaded?.settings;
    expect(settings).toMatchObject({
      file: FILE,
      mode: 'enforce',
      listen: [{ host: '127.0.0.1', port: 3128 }],
      admin: { host: '127.0.0.1', port: 3129 },
      plainHttp: true,
      watch: true,
      onReload: 'keep',
      dns: { mode: 'system' },
      limits: DEFAULT_LIMITS,
      audit: { file: 'data/audit.jsonl', whenFull: 'refuse', sync: 'interval', rotateBytes: 0 },
      usage: { store: 'data/usage.db' },
      help: { owner: null, contact: null, requestUrl: null },
      log: { level: 'info' },
    });
    expect(settings?.clients.map((cidr) => cidr.text)).toEqual(['127.0.0.0/8', '::1/128']);
    expect(settings?.node).not.toBe('');
    expect(new Set(Object.values(settings?.origins ?? {}))).toEqual(new Set(['default']));
  });

  it('takes each value of the file, says where it stands, and is frozen', () => {
    const { loaded } = loadText(`version: 1
listen: ["127.0.0.2:0", "[::1]:8080", "localhost:8081"]
admin: off
mode: observe
clients: { from: [10.0.0.0/8], groups: [{ from: [10.1.0.0/16], set: { queue: canary } }] }
allow: [github.com]
plain_http: false
on_reload: cut
watch: false
dns: { servers: ["10.0.0.2:5353", 10.0.0.3, "::1"] }
limits: { tunnels_max: 5 }
audit: { file: log/a.jsonl, when_full: drop-and-mark, sync: batch, rotate_bytes: 1048576 }
usage: { store: log/u.db }
expected_denials: ["*.telemetry.example"]
help: { owner: Platform, contact: "#ci", request_url: "https://x.example/{host}:{port}" }
log: { level: debug }
node: egress-1
`);
    expect(loaded?.settings).toMatchObject({
      listen: [
        { host: '127.0.0.2', port: 0 },
        { host: '::1', port: 8080 },
        { host: 'localhost', port: 8081 },
      ],
      admin: null,
      mode: 'observe',
      clientGroups: [{ from: [{ text: '10.1.0.0/16' }], attributes: { queue: 'canary' } }],
      plainHttp: false,
      watch: false,
      onReload: 'cut',
      dns: { mode: 'servers', servers: ['10.0.0.2:5353', '10.0.0.3:53', '[::1]:53'] },
      audit: { file: 'log/a.jsonl', whenFull: 'drop-and-mark', sync: 'batch', rotateBytes: 1_048_576 },
      usage: { store: 'log/u.db' },
      expectedDenials: [{ text: '*.telemetry.example' }],
      help: { owner: 'Platform', contact: '#ci', requestUrl: 'https://x.example/{host}:{port}' },
      log: { level: 'debug' },
      node: 'egress-1',
      origins: { listen: `${FILE}:2`, 'clients.from': `${FILE}:5`, 'audit.file': `${FILE}:12`, node: `${FILE}:17` },
    });
    expect(loaded?.settings.limits.tunnels_max).toBe(5);
    expect(Object.isFrozen(loaded?.settings.limits)).toBe(true);
    expect(Object.isFrozen(loaded?.settings.clients[0])).toBe(true);
  });
});

describe('rules', () => {
  it('have the file and line as id, or the catalog entry and their group', () => {
    const outcome = loadText(`version: 1
allow:
  - group: buildkite-agent
    owner: platform
  - "*.acme.dev:8443"
  - host: git.corp.example
    ports: [443, 22]
    protocol: any
    addresses: [10.0.0.0/8]
    reason: source code
`);
    const rules = outcome.loaded?.source.rules ?? [];
    expect(rules.map((rule) => [rule.id, rule.origin, rule.group, rule.need])).toEqual([
      ['bk-agent-edge', `${FILE}:3`, 'buildkite-agent', 'required'],
      ['bk-agent', `${FILE}:3`, 'buildkite-agent', 'required'],
      ['bk-artifacts', `${FILE}:3`, 'buildkite-agent', 'required'],
      [`${FILE}:5`, `${FILE}:5`, null, null],
      [`${FILE}:6`, `${FILE}:6`, null, null],
    ]);
    expect(rules[0]).toMatchObject({ ports: [443], protocol: 'tls', owner: 'platform', metadata: false });
    expect(rules[4]).toMatchObject({ ports: [443, 22], protocol: 'any', reason: 'source code' });
    expect(connect(outcome, 'x.acme.dev:8443')).toMatchObject({ verdict: 'allow', rule: { id: `${FILE}:5` } });
  });

  it('of a group with an own host take ports and protocol; its other keys hold for every entry', () => {
    const { loaded } = loadText(
      'version: 1\nallow: [{ group: internal-git, with: { host: [a.corp.example, b.corp.example] }, ports: [8443], protocol: any, addresses: [10.0.0.0/8], for: { queue: [x, y] } }]\n',
    );
    expect(loaded?.source.rules).toMatchObject([
      { pattern: { text: 'a.corp.example' }, ports: [8443], protocol: 'any', for: { queue: ['x', 'y'] } },
      { pattern: { text: 'b.corp.example' }, ports: [8443], protocol: 'any', addresses: [{ text: '10.0.0.0/8' }] },
    ]);
  });

  it('of a host of plain HTTP that has 443 too: requests are forwarded on 80, TLS passes on 443', () => {
    const outcome = loadText('version: 1\nallow: [{ group: alpine }]\n');
    expect(outcome.loaded?.source.rules).toMatchObject([
      { id: 'alpine', ports: [80], protocol: 'http' },
      { id: 'alpine', ports: [443], protocol: 'tls' },
    ]);
    const [entry] = loadCatalog().groups.get('alpine')?.entries ?? [];
    const [tunnel, plain] = [`${entry?.host}:443`, `${entry?.host}:80`];
    expect(connect(outcome, tunnel)).toMatchObject({ verdict: 'allow', protocol: 'tls' });
    expect(connect(outcome, plain).verdict).toBe('deny');
  });

  it('what the catalog has and the policy does not use becomes a hint', () => {
    const outcome = loadText('version: 1\nallow: [{ group: amazon-s3, with: { region: us-east-1 } }]\n');
    const hints = outcome.loaded?.source.hints ?? [];
    expect(hints.filter((hint) => hint.group === 'amazon-s3').every((hint) => hint.enabled)).toBe(true);
    expect(hints.some((hint) => hint.group === 'amazon-s3' && hint.pattern === '*.s3.amazonaws.com')).toBe(false);
    expect(hints).toContainEqual(expect.objectContaining({ group: 'github', pattern: 'github.com', enabled: false }));
    expect(hints.some((hint) => hint.group === 'instance-metadata')).toBe(false);
    expect(connect(outcome, 'b.s3.us-west-2.amazonaws.com:443')).toMatchObject({
      verdict: 'deny',
      nearest: { fix: expect.stringContaining('us-west-2') },
    });
  });

  it('the metadata group passes the paths of the tags and nothing else', () => {
    const { loaded } = loadText(
      'version: 1\nallow: [{ group: instance-metadata, i_understand: proxy-host-identity }]\n',
    );
    expect(loaded?.source.rules.length).toBeGreaterThan(0);
    for (const rule of loaded?.source.rules ?? []) {
      expect(rule.metadata).toBe(true);
      expect(rule.paths?.length).toBeGreaterThan(0);
      expect(rule.paths?.some((path) => path.path.includes('iam'))).toBe(false);
    }
  });

  it('the proxy is never reached through itself: listeners, virtual addresses, all interfaces', () => {
    const self = (lines: string): string[] =>
      (loadText(`${SMALL}${lines}\n`).loaded?.source.self ?? []).map(({ address, port }) => `${address} ${port}`);
    expect(self('')).toEqual(['127.0.0.1 3128', '127.0.0.1 3129']);
    expect(self('listen: 127.0.0.1:0\nadmin: off')).toEqual([]);
    expect(self('self: [10.0.0.9, "10.0.0.8:443"]')).toEqual(
      expect.arrayContaining(['10.0.0.9 3128', '10.0.0.9 3129', '10.0.0.8 443']),
    );
    expect(self('listen: "0.0.0.0:3128"\nclients: { from: [10.0.0.0/8] }')).toContain('127.0.0.1 3128');
    expect(self('listen: "localhost:3128"')).toEqual(expect.arrayContaining(['127.0.0.1 3128', '::1 3128']));
  });
});

describe('the digest', () => {
  const digest = (text: string): string | undefined => loadText(text).loaded?.policy.digest;
  it('stays with comments, order of keys, reasons and limits', () => {
    const first = digest('version: 1\nallow: [{ host: a.example, ports: [22], for: { queue: x, step: y } }]\n');
    expect(first).toMatch(/^[0-9a-f]{16}$/);
    const same = `# head\nlimits: { tunnels_max: 7 }\nallow:\n\n  - reason: so\n    for: { step: y, queue: [x] }\n    ports: [22]\n    host: A.example\nversion: 1\n`;
    expect(digest(same)).toBe(first);
  });

  it.each([
    'version: 1\nallow: [b.example]\n',
    'version: 1\nmode: observe\nallow: [a.example]\n',
    'version: 1\nallow: ["a.example:22"]\n',
    'version: 1\nallow: [{ host: a.example, expires: 2030-01-01 }]\n',
    'version: 1\nallow: [a.example]\ndeny: [c.example]\n',
    'version: 1\nallow: [a.example]\nmodes: [{ for: { queue: x }, mode: observe }]\n',
    'version: 1\nallow: [a.example]\nobserve: { addresses: [10.0.0.0/8] }\n',
    'version: 1\nallow: [a.example]\nmetadata_addresses: [10.9.9.9/32]\n',
    'version: 1\nallow: [a.example]\nprivate_upstreams: [{ suffix: b.example, addresses: [10.0.0.0/8] }]\n',
  ])('changes with what decides: %s', (text) => {
    expect(digest(text)).not.toBe(digest('version: 1\nallow: [a.example]\n'));
  });
});

describe('the command line', () => {
  it('stands over the file, and each value says so', () => {
    const { loaded } = loadText(`${SMALL}mode: enforce\nlisten: 127.0.0.1:1\nclients: { groups: [] }\n`, {
      overrides: { mode: 'observe', listen: ['127.0.0.1:0'], from: ['10.0.0.0/8'], auditFile: 'x.jsonl', admin: 'off' },
    });
    expect(loaded?.settings).toMatchObject({
      mode: 'observe',
      listen: [{ host: '127.0.0.1', port: 0 }],
      admin: null,
      audit: { file: 'x.jsonl' },
      clients: [{ text: '10.0.0.0/8' }],
      origins: { mode: 'command line', listen: 'command line', 'clients.from': 'command line', dns: 'default' },
    });
  });

  it('alone is enough: what every agent needs, and nothing else', () => {
    const outcome = loadText(null, { file: null, overrides: { mode: 'observe', listen: ['127.0.0.1:0'] } });
    expect(outcome.problems).toEqual([]);
    expect(outcome.loaded?.settings.file).toBeNull();
    expect(new Set(outcome.loaded?.source.rules.map((rule) => rule.group))).toEqual(new Set(['buildkite-agent']));
    expect(outcome.loaded?.source.rules[0]?.origin).toBe('built-in');
    expect(connect(outcome, 'agent.buildkite.com:443').verdict).toBe('allow');
    expect(connect(outcome, 'other.example:443').verdict).toBe('observe');
  });

  it('mistakes in it are told without a line', () => {
    const { error, problems } = loadText(null, {
      file: null,
      overrides: { listen: ['3128'], from: ['10.0.0.1/8'], mode: 'observ' },
    });
    expect(error).not.toBeNull();
    expect(problems.map((one) => [one.code, one.at])).toEqual([
      ['config-value', null],
      ['config-value', null],
      ['config-cidr', null],
    ]);
    for (const one of problems) expect(one.message).toMatch(/^command line: /);
    expect(problems.map((one) => one.hint)).toEqual(
      expect.arrayContaining(['Did you mean 127.0.0.1:3128?', 'Did you mean 10.0.0.0/8?', 'Did you mean observe?']),
    );
  });

  it('names the file: flag, then SALLYPORT_CONFIG, then config/sallyport.yaml where it is', () => {
    expect(findConfigFile('a.yaml')).toEqual({ file: 'a.yaml', from: 'command line' });
    process.env['SALLYPORT_CONFIG'] = 'b.yaml';
    expect(findConfigFile(null)).toEqual({ file: 'b.yaml', from: 'SALLYPORT_CONFIG' });
    delete process.env['SALLYPORT_CONFIG'];
    expect(findConfigFile(null)).toEqual({ file: null, from: 'default' });
    mkdirSync('config', { recursive: true });
    writeFileSync('config/sallyport.yaml', SMALL);
    expect(findConfigFile(null)).toEqual({ file: 'config/sallyport.yaml', from: 'default' });
  });
});

describe('a file that is none', () => {
  it('does not exist', () => {
    const { error } = loadText(null, { file: 'missing.yaml' });
    expect(error?.code).toBe('config-unreadable');
    expect(error?.message).toContain('missing.yaml does not exist');
    expect(error?.hint).toContain('sallyport init');
  });

  it('is a directory', () => {
    mkdirSync('folder', { recursive: true });
    const { error } = loadText(null, { file: 'folder' });
    expect(error?.code).toBe('config-unreadable');
    expect(error?.message).toContain('is a directory');
    expect(error?.hint).toContain('folder/sallyport.yaml');
  });

  it('is a device that never ends', () => {
    const { error } = loadText(null, { file: '/dev/zero' });
    expect(error?.code).toBe('config-unreadable');
    expect(error?.message).toContain('not a regular file');
  });

  it.skipIf(process.getuid?.() === 0)('must not be read', () => {
    writeFileSync('secret.yaml', SMALL);
    chmodSync('secret.yaml', 0);
    expect(loadText(null, { file: 'secret.yaml' }).error?.message).toContain('EACCES');
  });

  it('is a link to one: read like the file', () => {
    writeFileSync('target.yaml', SMALL);
    symlinkSync('target.yaml', 'link.yaml');
    expect(loadText(null, { file: 'link.yaml' }).loaded?.source.rules[0]?.id).toBe('link.yaml:2');
  });

  it('is not UTF-8: the place of the first such byte', () => {
    writeFileSync(FILE, Buffer.concat([Buffer.from('version: 1\nnode: x'), Buffer.from([0xff, 0xfe])]));
    const { error, problems } = loadText(null);
    expect(error?.code).toBe('config-syntax');
    expect(problems[0]).toMatchObject({ at: { line: 2, column: 8 }, message: expect.stringContaining('UTF-8') });
  });

  it('is larger than a policy can be: refused before it is parsed', () => {
    writeFileSync(FILE, Buffer.alloc(DEFAULT_LIMITS.config_bytes + 1, '#'));
    expect(loadText(null).error?.code).toBe('config-too-large');
  });

  it.each([
    [1_024, undefined],
    [1_025, 'config-too-large'],
  ])('has %i bytes where it allows itself 1024', (bytes, code) => {
    const text = 'version: 1\nallow: []\nlimits: { config_bytes: 1024 }\n';
    expect(loadText(text.padEnd(bytes, '#')).error?.code).toBe(code);
  });

  it('starts with a byte order mark: read like any other', () => {
    expect(loadText(`\uFEFF${SMALL}`).error).toBeNull();
  });
});

describe('the catalog beside the file', () => {
  const GROUP = `format: 1
groups:
  - id: our-services
    title: Our services
    entries:
      - id: our-deploy
        host: deploy.corp.example
        purpose: Deployments
`;

  it('catalog.d is read where it exists, or the folder named', () => {
    mkdirSync('catalog.d', { recursive: true });
    writeFileSync('catalog.d/ours.yaml', GROUP);
    const outcome = loadText('version: 1\nallow: [{ group: our-services }]\n');
    expect(outcome.error).toBeNull();
    expect(outcome.loaded?.settings.catalogDirs).toEqual(['catalog.d']);
    expect(outcome.loaded?.source.rules[0]).toMatchObject({ id: 'our-deploy', group: 'our-services' });
    mkdirSync('elsewhere', { recursive: true });
    const other = loadText('version: 1\ncatalog: { dir: elsewhere }\nallow: [{ group: our-services }]\n');
    expect(other.problems[0]?.code).toBe('config-group');
  });

  it('a damaged one refuses the policy, beside the other problems', () => {
    writeFileSync('catalog.d/ours.yaml', 'format: 1\ngroups: nothing\n');
    const { problems } = loadText('version: 1\nmode: x\nallow: [github.com]\n');
    expect(problems.map((one) => one.at?.file)).toEqual(expect.arrayContaining([FILE, 'catalog.d/ours.yaml']));
    writeFileSync('catalog.d/ours.yaml', GROUP);
  });
});

describe('in the worker', () => {
  it('gives the same settings, warnings and decisions', async () => {
    const here = loadText('version: 1\nallow: [github.com, github.com]\n');
    const there = await loadConfig({ file: FILE, now: NOW });
    expect(there.settings).toEqual(here.loaded?.settings);
    expect(there.problems).toEqual(here.problems);
    expect(there.policy.digest).toBe(here.loaded?.policy.digest);
    expect(Object.isFrozen(there.settings.audit)).toBe(true);
    expect([...new Policy(there.policy).rules()].map((rule) => rule.origin)).toEqual([`${FILE}:2`, `${FILE}:2`]);
  });

  it('throws the same error, with its problems', async () => {
    const here = loadText('version: 1\nmode: x\nalow: []\n');
    const thrown = await loadConfig({ file: FILE, now: NOW }).catch((cause: unknown) => cause as SallyportError);
    expect(thrown).toMatchObject({ name: 'SallyportError', code: here.error?.code, message: here.error?.message });
    expect((thrown as SallyportError).problems).toEqual(here.problems);
  });

  it('that dies gives a SallyportError: nothing is half loaded', async () => {
    loadText(SMALL);
    const thrown = await loadConfig({ file: FILE, now: NOW }, 4).catch((cause: unknown) => cause);
    expect(thrown).toMatchObject({
      name: 'SallyportError',
      code: 'config-unreadable',
      message: expect.stringContaining('memory'),
    });
  });

  it.skipIf(process.platform !== 'linux')('gives the memory of a large policy back when it ends', async () => {
    const allow = Array.from({ length: 20_000 }, (_, index) => `host-${index}.zone${index % 997}.example`);
    writeFileSync(FILE, JSON.stringify({ version: 1, allow }));
    const child = join(import.meta.dirname, '..', 'support', 'load-memory.ts');
    // What the policy itself takes is about 40; with all that was parsed for it 105.
    expect(Number((await run([process.execPath, child, FILE])).stdout)).toBeLessThan(75);
  });
});
