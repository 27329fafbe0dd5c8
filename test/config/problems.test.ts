// What an operator may get wrong, and the answer: code, line:column, and words that the message or hint must hold.
import { describe, expect, it } from 'vitest';
import { inFolderOfItsOwn, loadText } from './support.ts';

inFolderOfItsOwn();

type Row = [name: string, text: string, code: string, place: string, ...words: string[]];

/** The problems as `code line:column`, and the text of the one that is looked for. */
function check(text: string, code: string, place: string, words: readonly string[]): void {
  const { problems } = loadText(text);
  const found = problems.filter((one) => one.code === code && `${one.at?.line}:${one.at?.column}` === place);
  const all = problems.map((one) => `${one.code} ${one.at?.line}:${one.at?.column} ${one.message} ${one.hint}`);
  expect(found, all.join('\n')).toHaveLength(1);
  for (const word of words) expect(`${found[0]?.message} ${found[0]?.hint}`).toContain(word);
}

const rules = (...lines: string[]): string => `version: 1\nallow:\n${lines.map((line) => `  - ${line}\n`).join('')}`;

describe('the file as a whole', () => {
  it.each<Row>([
    ['nothing in it', '', 'config-empty', '1:1', 'is empty', 'sallyport init'],
    ['only comments', '# version: 1\n', 'config-empty', '1:1', 'is empty'],
    ['only a document marker', '---\n', 'config-empty', '1:1'],
    ['a list', '- a\n', 'config-value', '1:1', 'the file is a list', 'mapping'],
    ['a single value', 'hello\n', 'config-value', '1:1', 'a single value'],
    ['two documents', 'version: 1\n---\nversion: 1\n', 'config-syntax', '2:1', 'second document'],
    ['a tab', 'version: 1\nallow:\n\t- x\n', 'config-syntax', '3:1', 'Tabs'],
    ['a tag', 'version: !x 1\n', 'config-syntax', '1:10', 'tags'],
    ['a YAML of the future', '%YAML 3.0\n---\nversion: 1\n', 'config-syntax', '1:7', 'directives'],
    ['an open bracket', 'version: 1\nallow: [a\n', 'config-syntax', '3:1', ']'],
    [
      'a key that stands twice',
      'mode: enforce\nversion: 1\nmode: observe\n',
      'config-duplicate-key',
      '3:1',
      '"mode"',
      'line 1',
    ],
    [
      'a key that stands twice further in',
      rules('{ host: a.example, host: b.example }'),
      'config-duplicate-key',
      '3:24',
    ],
    ['a list as key', 'version: 1\n? [a]\n: 1\n', 'config-syntax', '2:3', 'plain word'],
    ['an alias without an anchor', 'version: 1\nallow: *x\n', 'config-syntax', '2:8', '*x has no anchor'],
    [
      'more aliases than anybody needs',
      `version: 1\nallow: &a [x]\nself: [${'*a,'.repeat(65)}]\n`,
      'config-syntax',
      '3:200',
      '64',
    ],
    ['binary garbage', 'version: 1\nallow: [a\u0000b]\n', 'config-syntax', '2:10', 'U+0000'],
    ['brackets without end', `version: 1\nallow: ${'['.repeat(100_000)}`, 'config-syntax', '2:1092', 'nested too deep'],
    [
      'more levels than a policy has',
      `version: 1\nallow: ${'['.repeat(40)}${']'.repeat(40)}\n`,
      'config-syntax',
      '2:40',
      '32',
    ],
    ['no version', 'mode: enforce\n', 'config-missing-key', '1:1', 'version is missing'],
    ['another version', 'version: 2\n', 'config-value', '1:10', 'version is 2', 'allowed is 1'],
  ])('%s', (_, text, code, place, ...words) => {
    // Where the stack of the parser ends is the machine's business.
    if (code === 'config-syntax' && place === '2:1092') {
      expect(loadText(text).problems.map((one) => one.message)).toContain('nested too deep');
    } else check(text, code, place, words);
  });

  it('an alias bomb is refused without being built', () => {
    const level = (name: string, of: string): string => `${name}: &${name} [${Array(9).fill(`*${of}`).join(',')}]\n`;
    const bomb = `a: &a [${Array(9).fill('x').join(',')}]\n${level('b', 'a')}${level('c', 'b')}${level('d', 'c')}${level('e', 'd')}${level('f', 'e')}`;
    check(bomb, 'config-syntax', '1:1', ['aliases']);
  });

  it('an alias that names a list of ranges works', () => {
    const text = `version: 1\nclients: { from: &ours [10.0.0.0/8] }\nallow: [{ host: a.example, addresses: *ours }]\n`;
    const { loaded } = loadText(text);
    expect(loaded?.source.rules[0]?.addresses.map((one) => one.text)).toEqual(['10.0.0.0/8']);
  });
});

describe('keys', () => {
  it.each<Row>([
    ['unknown at the top', 'version: 1\nalow: []\n', 'config-unknown-key', '2:1', '"alow"', 'Did you mean allow?'],
    [
      'unknown in a rule',
      rules('{ host: a.example, port: 443 }'),
      'config-unknown-key',
      '3:24',
      'allow[0]',
      'Did you mean ports?',
    ],
    [
      'unknown in a section',
      'version: 1\naudit: { path: x }\n',
      'config-unknown-key',
      '2:10',
      'known are file, when_full, sync, rotate_bytes',
    ],
    [
      'unknown in a selector',
      rules('{ host: a.example, for: { pipelin: x } }'),
      'config-unknown-key',
      '3:31',
      'Did you mean pipeline?',
    ],
    ['a name that JavaScript knows', 'version: 1\n__proto__: { mode: observe }\n', 'config-unknown-key', '2:1'],
    ['empty: a list', 'version: 1\nallow:\n', 'config-value', '2:1', 'allow is empty'],
    ['empty: a section', 'version: 1\nlimits:\n', 'config-value', '2:1', 'limits is empty'],
    ['a mapping for a list', 'version: 1\nallow: { a: b }\n', 'config-value', '2:8', 'must be a list'],
    [
      'a word for a list',
      'version: 1\nclients: { from: 10.0.0.0/8 }\n',
      'config-value',
      '2:18',
      'Write a list: [10.0.0.0/8]',
    ],
    ['a number for a text', 'version: 1\nnode: 12\n', 'config-value', '2:7', 'quotes'],
    ['yes for true', 'version: 1\nplain_http: yes\n', 'config-value', '2:13', 'Did you mean true?'],
    [
      'a mode that is none',
      'version: 1\nmode: observ\n',
      'config-value',
      '2:7',
      'enforce or observe',
      'Did you mean observe?',
    ],
    ['a log level that is none', 'version: 1\nlog: { level: inof }\n', 'config-value', '2:15', 'Did you mean info?'],
    ['a sync that is none', 'version: 1\naudit: { sync: always }\n', 'config-value', '2:16', 'none, interval or batch'],
    ['a file too small to rotate', 'version: 1\naudit: { rotate_bytes: 1048575 }\n', 'config-value', '2:24', '1048576'],
  ])('%s', (_, text, code, place, ...words) => check(text, code, place, words));

  it('five mistakes give five problems, in file order', () => {
    const text =
      'version: 1\nmode: observ\nalow: []\nclients: { from: [10.0.0.1/8] }\nallow: ["*"]\nlimits: { tunnels_max: 0 }\n';
    const { problems, error } = loadText(text);
    expect(problems.map((one) => `${one.code} ${one.at?.line}:${one.at?.column}`)).toEqual([
      'config-value 2:7',
      'config-unknown-key 3:1',
      'config-cidr 4:19',
      'config-pattern 5:9',
      'config-limit 6:24',
    ]);
    expect(error?.code).toBe('config-value');
    expect(error?.message).toMatch(/^policy\.yaml:2:7: .* \(and 4 more\)$/);
  });
});

describe('values', () => {
  it.each<Row>([
    [
      'host bits',
      'version: 1\nclients: { from: [10.0.0.1/8] }\n',
      'config-cidr',
      '2:19',
      '10.0.0.1/8',
      'Did you mean 10.0.0.0/8?',
    ],
    [
      'host bits of IPv6',
      'version: 1\nclients: { from: ["2001:db8::1/33"] }\n',
      'config-cidr',
      '2:19',
      'Did you mean 2001:db8::/33?',
    ],
    ['a prefix too long', 'version: 1\nclients: { from: [10.0.0.0/33] }\n', 'config-cidr', '2:19', '10.0.0.0/8'],
    ['no range', 'version: 1\nmetadata_addresses: [foo]\n', 'config-cidr', '2:22', '"foo"'],
    ['an empty list of clients', 'version: 1\nclients: { from: [] }\n', 'config-value', '2:18', 'empty list'],
    ['every host', rules('"*"'), 'config-pattern', '3:5', 'every host'],
    ['a public suffix', rules('"*.com"'), 'config-pattern', '3:5', 'public suffix'],
    ['a scheme and a path', rules('https://github.com/x'), 'config-pattern', '3:5', 'Did you mean github.com?'],
    ['a star inside', rules('a.*.acme.dev'), 'config-pattern', '3:5', 'Did you mean *.acme.dev?'],
    ['a star without its dot', rules('"*acme.dev"'), 'config-pattern', '3:5', 'Did you mean *.acme.dev?'],
    ['a pattern in a mapping', rules('{ host: github.com. }'), 'config-pattern', '3:13', 'Did you mean github.com?'],
    ['a port in host', rules('{ host: "github.com:22" }'), 'config-pattern', '3:13', 'Did you mean github.com?'],
    ['a port too large', rules('github.com:99999'), 'config-pattern', '3:5', '65535'],
    ['port 0', rules('{ host: a.example, ports: [0] }'), 'config-value', '3:32', '1 to 65535'],
    [
      'a port in quotes',
      rules('{ host: a.example, ports: ["443"] }'),
      'config-value',
      '3:32',
      'Write 443 without quotes',
    ],
    ['half a port', rules('{ host: a.example, ports: [1.5] }'), 'config-value', '3:32', 'whole number'],
    [
      'one port without brackets',
      rules('{ host: a.example, ports: 443 }'),
      'config-value',
      '3:31',
      'Write a list: [443]',
    ],
    ['a number as rule', rules('443'), 'config-value', '3:5', 'a text or a mapping'],
    ['nothing as rule', rules(''), 'config-value', '3:5', 'a text or a mapping'],
    [
      'a protocol that is none',
      rules('{ host: a.example, protocol: https }'),
      'config-value',
      '3:34',
      'tls, http, ssh or any',
    ],
    [
      'a day that does not exist',
      rules('{ host: a.example, expires: 2026-02-30 }'),
      'config-value',
      '3:33',
      '2026-02-28',
    ],
    ['a month that does not exist', rules('{ host: a.example, expires: 2026-13-01 }'), 'config-value', '3:33', 'month'],
    ['a word as date', rules('{ host: a.example, expires: tomorrow }'), 'config-value', '3:33', 'year-month-day'],
    ['a selector of everyone', rules('{ host: a.example, for: {} }'), 'config-value', '3:29', 'select everyone'],
    [
      'a mode for everyone',
      'version: 1\nmodes: [{ for: {}, mode: observe }]\n',
      'config-value',
      '2:16',
      'select everyone',
    ],
    ['two lines of reason', rules('{ host: a.example, reason: "a\\nb" }'), 'config-value', '3:32', 'one line'],
    ['a listener by number', 'version: 1\nlisten: 3128\n', 'config-value', '2:9', 'quotes'],
    [
      'a listener without address',
      'version: 1\nlisten: ":3128"\n',
      'config-value',
      '2:9',
      'Did you mean 0.0.0.0:3128?',
    ],
    ['a listener on a star', 'version: 1\nlisten: ["*:3128"]\n', 'config-value', '2:10', 'Did you mean 0.0.0.0:3128?'],
    [
      'a listener without port',
      'version: 1\nlisten: 127.0.0.1\n',
      'config-value',
      '2:9',
      'Did you mean 127.0.0.1:3128?',
    ],
    ['a listener by name', 'version: 1\nlisten: proxy.example:3128\n', 'config-value', '2:9', '127.0.0.1:3128'],
    [
      'an admin listener for others without TLS',
      'version: 1\nadmin: 0.0.0.0:3129\n',
      'config-conflict',
      '2:8',
      'certificate',
    ],
    [
      'an admin listener with a key of no meaning',
      'version: 1\nadmin: { listen: 127.0.0.1:0, tokenfile: x }\n',
      'config-unknown-key',
      '2:31',
      'token_file',
    ],
    [
      'an admin listener with half a certificate',
      'version: 1\nadmin: { tls: { cert: x } }\n',
      'config-missing-key',
      '2:15',
      'key',
    ],
    [
      'an admin socket without its whole path',
      'version: 1\nadmin: unix:admin.sock\n',
      'config-value',
      '2:8',
      'unix:/run',
    ],
    [
      'an admin socket with too long a path',
      `version: 1\nadmin: unix:/${'a'.repeat(90)}\n`,
      'config-value',
      '2:8',
      'unix:/run',
    ],
    ['an admin listener of true', 'version: 1\nadmin: true\n', 'config-value', '2:8', 'false'],
    ['an own address by name', 'version: 1\nself: [vip.example]\n', 'config-value', '2:8', 'address'],
    ['a resolver that is none', 'version: 1\ndns: systm\n', 'config-value', '2:6', 'Did you mean system?'],
    ['a DNS server by name', 'version: 1\ndns: { servers: [ns.example] }\n', 'config-value', '2:18', '10.0.0.2:53'],
    ['no DNS server', 'version: 1\ndns: { servers: [] }\n', 'config-value', '2:17', 'empty list'],
    [
      'a store without a database',
      'version: 1\nusage: { store: "postgres://u:geheim@h" }\n',
      'config-value',
      '2:17',
      'no database',
    ],
    [
      'a store by a bad port',
      'version: 1\nusage: { store: "postgres://u:geheim@h:x/d" }\n',
      'config-value',
      '2:17',
      'malformed',
    ],
    [
      'a store with a fallback to clear text',
      'version: 1\nusage: { store: "postgres://h/d?sslmode=prefer" }\n',
      'config-value',
      '2:17',
      'verify-full',
    ],
    [
      'a store with a parameter that nobody knows',
      'version: 1\nusage: { store: "postgres://h/d?password=x" }\n',
      'config-value',
      '2:17',
      '"password"',
    ],
    [
      'a span that is none',
      'version: 1\nusage: { keep: { hourly: 30 } }\n',
      'config-value',
      '2:26',
      'usage.keep.hourly',
    ],
    ['a span in hours', 'version: 1\nusage: { keep: { daily: 12h } }\n', 'config-value', '2:25', '30d'],
    [
      'hours that outlive days',
      'version: 1\nusage: { keep: { hourly: 30d, daily: 7d } }\n',
      'config-conflict',
      '2:16',
      'longer',
    ],
    [
      'a password for a file',
      'version: 1\nusage: { password_file: x }\n',
      'config-conflict',
      '2:25',
      'needs no password',
    ],
    [
      'two passwords',
      'version: 1\nusage: { store: "postgres://u:p@h/d", password_file: x }\n',
      'config-conflict',
      '2:54',
      'already',
    ],
    [
      'a store of another kind',
      'version: 1\nusage: { store: "redis://h" }\n',
      'config-value',
      '2:17',
      'redis://',
      'file path',
    ],
    [
      'a placeholder that is none',
      'version: 1\nhelp: { request_url: "https://x.example/{hots}" }\n',
      'config-value',
      '2:22',
      '{hots}',
      '{pipeline}',
    ],
    [
      'a script as URL',
      'version: 1\nhelp: { request_url: "javascript:alert(1)" }\n',
      'config-value',
      '2:22',
      'https://',
    ],
    ['a folder that is not there', 'version: 1\ncatalog: { dir: nowhere }\n', 'config-unreadable', '2:17', 'nowhere'],
    [
      'a star in a suffix',
      'version: 1\nprivate_upstreams: [{ suffix: "*.amazonaws.com", addresses: [10.0.0.0/8] }]\n',
      'config-pattern',
      '2:31',
      'Did you mean amazonaws.com?',
    ],
  ])('%s', (_, text, code, place, ...words) => check(text, code, place, words));
});

describe('limits', () => {
  it.each<Row>([
    [
      'unknown',
      'version: 1\nlimits: { conect_timeout_ms: 1 }\n',
      'config-unknown-key',
      '2:11',
      'Did you mean connect_timeout_ms?',
    ],
    [
      'below its range',
      'version: 1\nlimits: { connect_timeout_ms: 5 }\n',
      'config-limit',
      '2:31',
      'from 100 to 120000',
    ],
    ['above its range', 'version: 1\nlimits: { dns_addresses_max: 257 }\n', 'config-limit', '2:30', 'from 1 to 256'],
    ['no number', 'version: 1\nlimits: { tunnels_max: many }\n', 'config-limit', '2:24', '"many"'],
    ['against another', 'version: 1\nlimits: { tunnels_max: 9000 }\n', 'config-limit', '2:24', 'connections_max'],
    [
      'smaller than the file',
      `version: 1\nlimits: { config_bytes: 1024 }\n#${'x'.repeat(1024)}\n`,
      'config-too-large',
      '2:25',
      'config_bytes',
    ],
  ])('%s', (_, text, code, place, ...words) => check(text, code, place, words));
});

describe('groups', () => {
  it.each<Row>([
    ['unknown, nearly right', rules('group: buildkit-agent'), 'config-group', '3:12', 'Did you mean buildkite-agent?'],
    ['unknown, one word of it', rules('group: s3'), 'config-group', '3:12', 'amazon-s3'],
    ['without a parameter it needs', rules('group: artifactory'), 'config-parameter', '3:12', 'needs parameter host'],
    [
      'with a parameter it has not',
      rules('{ group: amazon-s3, with: { regoin: us-west-2 } }'),
      'config-parameter',
      '3:33',
      'Did you mean region?',
    ],
    [
      'with a malformed parameter',
      rules('{ group: amazon-s3, with: { region: "us.west" } }'),
      'config-parameter',
      '3:41',
      'us-west-2',
    ],
    [
      'with one malformed of two',
      rules('{ group: amazon-s3, with: { region: [us-west-2, "a b"] } }'),
      'config-parameter',
      '3:53',
      'a b',
    ],
    ['and a host', rules('{ host: a.example, group: npm }'), 'config-conflict', '3:13', 'not both'],
    ['neither a host', rules('{ ports: [443] }'), 'config-missing-key', '3:5', 'neither host nor group'],
    ['parameters on a host', rules('{ host: a.example, with: { a: b } }'), 'config-conflict', '3:30', 'group'],
    [
      'ports on a group that has its own',
      rules('{ group: npm, ports: [8443] }'),
      'config-conflict',
      '3:26',
      'come from the catalog',
    ],
    [
      'metadata without the statement',
      rules('group: instance-metadata'),
      'config-conflict',
      '3:12',
      'i_understand: proxy-host-identity',
    ],
    [
      'metadata with another statement',
      rules('{ group: instance-metadata, i_understand: yes }'),
      'config-conflict',
      '3:47',
      'proxy-host-identity',
    ],
    [
      'a statement nobody asked for',
      rules('{ group: npm, i_understand: proxy-host-identity }'),
      'config-conflict',
      '3:33',
      'Remove',
    ],
  ])('%s', (_, text, code, place, ...words) => check(text, code, place, words));
});

describe('settings that contradict each other', () => {
  it.each<Row>([
    [
      'two listeners on one port',
      'version: 1\nlisten: 127.0.0.1:3128\nadmin: 127.0.0.1:3128\n',
      'config-conflict',
      '3:8',
      'already',
    ],
    [
      'a listener twice',
      'version: 1\nlisten: ["127.0.0.1:3128", "127.0.0.1:3128"]\n',
      'config-conflict',
      '2:28',
      'already',
    ],
    [
      'one file for log and store',
      'version: 1\naudit: { file: data/x }\nusage: { store: data/x }\n',
      'config-conflict',
      '3:17',
      'data/x',
    ],
  ])('%s', (_, text, code, place, ...words) => check(text, code, place, words));
});
