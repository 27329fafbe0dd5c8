// Other proxies' files as an operator has them: what comes out is a valid policy that lets through what the old one did by domain, and
// names, with its line, everything else.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { policyText } from '../../src/config/migrate.ts';
import { migrateSquid } from '../../src/config/migrate-squid.ts';
import fc from '../support/property.ts';
import { tempDir } from '../support/temp.ts';
import { type, typeJson } from './console.ts';

const SQUID = `# As Debian ships it, with a site's own lines.
acl localnet src 10.0.0.0/8
acl localnet src 192.168.0.0/16  # branch offices
acl SSL_ports port 443
acl SSL_ports port 8443
acl Safe_ports port 80
acl Safe_ports port 443
acl Safe_ports port 1025-65535
acl builds dstdomain .github.com registry.example.org
acl builds dstdomain "builds.txt"
acl pastes dstdomain .pastebin.com
acl night time 22:00-06:00
acl windows dstdom_regex -i windowsupdate
http_access deny !Safe_ports
http_access deny CONNECT !SSL_ports
http_access allow localhost manager
http_access deny manager
http_access deny pastes
http_access allow localnet \\
  builds
http_access allow localnet windows
http_access allow night localnet
http_access deny all
http_access allow localnet
http_port 10.0.0.5:3128
cache_dir ufs /var/spool/squid 100 16 256
cache_peer parent.example parent 3128 0
refresh_pattern . 0 20% 4320
`;

const SMOKESCREEN = `---
version: v1
services:
  - name: payments
    project: money
    action: enforce
    allowed_domains:
      - api.partner.example
      - "*.bank.example"
  - name: legacy
    action: report
    allowed_domains: [old.example]
  - name: anything
    action: open
  - name: odd
    action: sometimes
    allowed_domains: [odd.example]
global_allow_list: [status.example]
global_deny_list: [evil.example, "*.com"]
default:
  project: other
  action: enforce
  allowed_domains: [shared.example]
`;

let dir = '';
beforeEach(() => {
  dir = tempDir('import');
});

function write(name: string, text: string): string {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
}

/** The verdicts of the policy that was printed. */
async function explain(text: string, host: string, ...as: string[]): Promise<boolean> {
  const file = write('made.yaml', text);
  return (await type(['explain', host, '--config', file, ...as])).code === 0;
}

describe('squid.conf', () => {
  it('becomes a valid policy that lets through what its domains did', async () => {
    write('builds.txt', '# from the wiki\n.corp.example\nmirror.example.net\n');
    const { code, out } = await type(['import', 'squid', write('squid.conf', SQUID)]);
    expect(code).toBe(3);
    expect((await type(['check', '--config', write('made.yaml', out)])).err).not.toContain('error:');
    for (const host of [
      'github.com',
      'api.github.com',
      'registry.example.org',
      'deep.corp.example:8443',
      'http://mirror.example.net/',
    ])
      expect(await explain(out, host), host).toBe(true);
    for (const host of [
      'example.org',
      'sub.registry.example.org',
      'github.com:22',
      'www.pastebin.com',
      'mirror.example.net:9443',
    ])
      expect(await explain(out, host), host).toBe(false);
    expect(loadConfigHere({ file: join(dir, 'made.yaml'), now: Date.now() }).settings).toMatchObject({
      listen: [{ host: '10.0.0.5', port: 3128 }],
      clients: [{ text: '10.0.0.0/8' }, { text: '192.168.0.0/16' }],
    });
  });

  it('names what it could not carry over, with its line', async () => {
    const { json } = await typeJson<{ left: { line: number; text: string; why: string }[] }>([
      'import',
      'squid',
      write('squid.conf', SQUID),
    ]);
    expect(json.left.map(({ line, why }) => [line, why])).toEqual([
      [10, 'the file that it names cannot be read'],
      [27, 'there is no counterpart of it here'],
      [14, 'plain HTTP to other ports than 80 is not carried over: add those that builds need'],
      [21, 'it decides by windows (dstdom_regex), which is not carried over'],
      [22, 'it decides by night (time), which is not carried over'],
    ]);
  });

  it('ends with 3 where ports alone were not carried over, and with 0 where all was', async () => {
    const text = (ports: string): string =>
      `acl p port ${ports}\nacl a dstdomain .a.example\nhttp_access deny CONNECT !p\nhttp_access allow a\nhttp_access deny all\n`;
    const some = await type(['import', 'squid', write('squid.conf', text('443 1000-2000'))]);
    expect(some.code).toBe(3);
    expect(some.err).toContain(
      'squid.conf:3: http_access deny CONNECT !p: CONNECT to the ports 1000-2000 is not carried over',
    );
    expect((await type(['import', 'squid', write('squid.conf', text('443'))])).code).toBe(0);
  });

  it.each([
    ['http_access allow all', /lets everything through/],
    ['acl net src all\nhttp_access allow net', /lets everything through/],
    ['acl bad dstdomain .evil.example\nhttp_access deny bad', /Squid lets everything through that no line decides/],
    [
      'acl a dstdomain .a.example\nacl b dstdomain .b.example\nhttp_access allow a b\nhttp_access deny all',
      /two lists of domains/,
    ],
    [
      'acl a dstdomain .a.example\nhttp_access allow a\nacl b dstdomain x.a.example\nhttp_access deny b\nhttp_access deny all',
      /deny wins over every allow/,
    ],
    ['http_access allow nobody\nhttp_access deny all', /nobody is not defined/],
    ['acl a dstdomain .com\nhttp_access allow a\nhttp_access deny all', /public suffix/],
    ['acl a dstdomain .a.example\nhttp_access allow !a\nhttp_access deny all', /decides by !a/],
  ])('opens nothing for %j', (text, why) => {
    const migration = migrateSquid(text, () => null);
    expect(migration.left.map((one) => one.why).join('\n')).toMatch(why);
    expect(migration.rules.filter(({ effect, host }) => effect === 'allow' && !host.includes('a.example'))).toEqual([]);
  });
});

describe('an ACL file of Smokescreen', () => {
  it('becomes a valid policy: services are users, open and report observe', async () => {
    const { code, out, err } = await type(['import', 'smokescreen', write('acl.yaml', SMOKESCREEN)]);
    expect(code).toBe(3);
    expect((await type(['check', '--config', write('made.yaml', out)])).err).not.toContain('error:');
    const user = (name: string): [string, string] => ['--as', `user=${name}`];
    expect(await explain(out, 'a.bank.example', ...user('payments'))).toBe(true);
    expect(await explain(out, 'a.bank.example', ...user('other'))).toBe(false);
    expect(await explain(out, 'bank.example', ...user('payments'))).toBe(false);
    expect(await explain(out, 'shared.example')).toBe(true);
    expect(await explain(out, 'status.example', ...user('payments'))).toBe(true);
    expect(await explain(out, 'whatever.example', ...user('legacy'))).toBe(true);
    expect(await explain(out, 'evil.example', ...user('anything'))).toBe(false);
    expect(await explain(out, 'odd.example', ...user('odd'))).toBe(false);
    expect(await explain(out, 'whatever.example', ...user('odd'))).toBe(false);
    expect(err).toContain('action sometimes is not known');
    expect(err).toContain('acl.yaml:19: *.com:');
    expect(err).toContain('acl.yaml:21: default: it is for services that are not listed there');
    expect(err).toContain('docs/identity.md');
  });

  it.each(['', 'version: v2', '[]', 'services: []', '\t{'])('is refused where it is none: %j', async (text) => {
    const { code, err } = await type(['import', 'smokescreen', write('acl.yaml', text)]);
    expect(code).toBe(1);
    expect(err).toContain('sallyport: error:');
  });
});

it('whatever the other file holds, the policy is one or nothing is said to be', () => {
  const word = fc.oneof(
    fc.constantFrom(
      'acl',
      'http_access',
      'allow',
      'deny',
      'dstdomain',
      'src',
      'port',
      'a',
      '!a',
      'all',
      'CONNECT',
      '.x.example',
      '10.0.0.0/8',
      '"f"',
      'include',
      '\\',
      '#',
      '443',
    ),
    fc.string({ maxLength: 6, unit: 'binary' }),
  );
  const text = fc
    .array(
      fc.array(word, { maxLength: 6 }).map((words) => words.join(' ')),
      { maxLength: 8 },
    )
    .map((lines) => lines.join('\n'));
  const file = join(dir, 'x.yaml');
  fc.assert(
    fc.property(text, (squid) => {
      const migration = migrateSquid(squid, (path) => (path === 'f' ? '.y.example\n' : null));
      const made = policyText(migration, squid, 'Squid');
      expect(made).toMatch(/^[\x20-\x7e\n]*$/);
      // Networks that are none are said at the load; everything else was looked at here.
      try {
        loadConfigHere({ file, text: made, now: 0 });
      } catch (error) {
        expect(JSON.stringify((error as { problems: { code: string }[] }).problems.map(({ code }) => code))).toMatch(
          /^\["config-(?:cidr|value)"/,
        );
      }
    }),
    { numRuns: 40 },
  );
});
