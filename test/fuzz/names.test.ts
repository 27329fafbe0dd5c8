// Authorities, addresses and patterns against readers that are not ours: new URL, net.isIP, BlockList, and the system's
// inet_aton, inet_pton and getaddrinfo. What any of them takes as an address must never pass as a name.
import net from 'node:net';
import { expect } from 'vitest';
import { canonicalAddress, cidrContains, classifyAddress, parseCidr } from '../../src/policy/address.ts';
import { parseAuthority, parseHost, parseHttpTarget } from '../../src/policy/authority.ts';
import { parseIp } from '../../src/policy/ip.ts';
import { parsePattern, parseRuleText } from '../../src/policy/pattern.ts';
import fc from '../support/property.ts';
import { fuzz } from './budget.ts';
import { damaged, edits } from './mutate.ts';
import { HAS_PYTHON, Python } from './python.ts';

const NUMBERS = [
  '0',
  '1',
  '7',
  '08',
  '010',
  '127',
  '0177',
  '255',
  '256',
  '0x7f',
  '0X7F',
  '0x',
  '0xg',
  '4294967295',
  '1e3',
  '-1',
  '+1',
];
const LABELS = [
  'a',
  'A1',
  'xn--bcher-kva',
  'x_y',
  '-a',
  'a-',
  'localhost',
  'test',
  'com',
  'f',
  'dead',
  'beef',
  'ffff',
  'x'.repeat(63),
];
const ODD = [
  '.',
  '..',
  ':',
  '::',
  '[',
  ']',
  '%',
  '%25',
  '%eth0',
  '@',
  '/',
  '\\',
  '?',
  '#',
  '*',
  '*.',
  ' ',
  '\t',
  '\0',
  '\r\n',
  '\xa0',
  '\xad',
  'ª',
  '。',
  '１',
  'ß',
  'İ',
  ',',
  ';',
  '0',
  'ffff:',
];
const PORTS = ['443', '80', '0', '065', '65535', '65536', '4 43', '+443', ''];
const QUADS = ['127.0.0.1', '10.1.2.3', '192.0.2.1', '169.254.169.254', '0.0.0.0', '255.255.255.255', '8.8.8.8'];
const SIXES = [
  '::',
  '::1',
  '::ffff:10.0.0.1',
  '::ffff:a00:1',
  '64:ff9b::7f00:1',
  '64:ff9b:1::a00:1',
  '2002:7f00:1::',
  '2001:db8::1',
  'fe80::1',
  'fd00:ec2::254',
  '2606:4700::1111',
  '1:2:3:4:5:6:7:8',
  '1:2:3:4:5:6:1.2.3.4',
];

const quad = fc.oneof(
  fc.constantFrom(...QUADS),
  fc.ipV4(),
  fc.ipV4Extended(),
  fc.array(fc.constantFrom(...NUMBERS), { minLength: 1, maxLength: 5 }).map((parts) => parts.join('.')),
);
const six = fc.oneof(
  fc.constantFrom(...SIXES),
  fc.ipV6(),
  fc
    .array(fc.constantFrom('', '0', '1', 'ffff', '00ff', 'a00', '12345', '10.0.0.1'), { minLength: 2, maxLength: 9 })
    .map((g) => g.join(':')),
);
const name = fc
  .array(fc.oneof(fc.constantFrom(...LABELS), fc.constantFrom(...NUMBERS)), { minLength: 1, maxLength: 4 })
  .chain((labels) => fc.constantFrom('', '.').map((end) => labels.join('.') + end));
const plainHost = fc.oneof(
  quad,
  six,
  six.map((text) => `[${text}]`),
  name,
  fc.domain(),
);
/** A host, or nearly one. */
const host = fc
  .tuple(
    plainHost,
    edits(
      ODD.map((text) => Buffer.from(text).toString('latin1')),
      2,
    ),
    fc.boolean(),
  )
  .map(([text, list, utf8]) => damaged(Buffer.from(text), list).toString(utf8 ? 'utf8' : 'latin1'));
const authority = fc.tuple(host, fc.constantFrom(...PORTS)).map(([text, port]) => `${text}:${port}`);

/** What WHATWG URL makes of a host; null where it refuses. */
function urlHost(text: string): string | null {
  if (!URL.canParse(`http://${text}/`)) return null;
  return new URL(`http://${text}/`).hostname.replace(/\.$/, '');
}

function sameHost(found: { readonly host: string; readonly kind: string }, url: string | null, raw: string): void {
  if (url === null) {
    // WHATWG decodes Punycode, and refuses labels that decode to nothing; DNS carries them as they are.
    expect(raw.toLowerCase(), `URL refuses ${JSON.stringify(raw)}`).toContain('xn--');
    return;
  }
  const own = found.kind === 'ipv6' ? urlHost(`[${found.host}]`) : found.host;
  expect(url, `of ${JSON.stringify(raw)}`).toBe(own);
}

fuzz('authority', 1_500, ({ check }) =>
  check(
    fc.property(
      authority,
      fc.constantFrom('http://', 'HTTP://', 'http:/', ''),
      fc.constantFrom('', '/', '//x', '/a?b', '?q', '#f', '/\\'),
      (text, scheme, path) => {
        const one = parseAuthority(text);
        if (one.ok) {
          sameHost(one.authority, urlHost(text), text);
          expect(new URL(`http://h:${one.authority.port}`).port).toBe(
            one.authority.port === 80 ? '' : String(one.authority.port),
          );
          expect(text.endsWith(`:${one.authority.port}`)).toBe(true);
          expect(one.authority.text).toMatch(/^[\x21-\x7e]+$/);
          // The canonical text is a fixed point.
          expect(parseAuthority(one.authority.text)).toEqual(one);
          const alone = parseHost(one.authority.host);
          expect(alone).toMatchObject({ ok: true, host: one.authority.host, kind: one.authority.kind });
        } else expect(one.problem).toMatch(/^[\x20-\x7e]+$/);
        const raw = `${scheme}${text}${path}`;
        const target = parseHttpTarget(raw);
        if (!target.ok) {
          expect(target.problem).toMatch(/^[\x20-\x7e]+$/);
          return;
        }
        const url = URL.canParse(raw) ? new URL(raw) : null;
        sameHost(target.authority, url?.hostname.replace(/\.$/, '') ?? null, raw);
        if (url !== null) expect(Number(url.port || 80)).toBe(target.authority.port);
        expect(raw.endsWith(target.path) || (target.path.startsWith('/') && raw.endsWith(target.path.slice(1)))).toBe(
          true,
        );
      },
    ),
  ),
);

const SYSTEM = `
import socket, ipaddress
def one(text):
    out = {'aton': None, 'pton4': None, 'pton6': None, 'numeric': None, 'global': None}
    try: out['aton'] = socket.inet_aton(text).hex()
    except (OSError, ValueError, UnicodeError): pass
    for family, key in ((socket.AF_INET, 'pton4'), (socket.AF_INET6, 'pton6')):
        try: out[key] = socket.inet_pton(family, text).hex()
        except (OSError, ValueError, UnicodeError): pass
    try: out['numeric'] = socket.getaddrinfo(text.encode('latin1'), None, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)[0][4][0]
    except (OSError, ValueError, UnicodeError): pass
    try: out['global'] = ipaddress.ip_address(text).is_global
    except ValueError: pass
    return out
def answer(texts):
    return [one(text) for text in texts]
`;

interface SystemView {
  readonly aton: string | null;
  readonly pton4: string | null;
  readonly pton6: string | null;
  readonly numeric: string | null;
  readonly global: boolean | null;
}

/** From the IANA special-purpose registries, written apart from src: no address in them is one to dial. */
const SPECIAL = new net.BlockList();
for (const range of [
  ...[
    '0.0.0.0/8',
    '10.0.0.0/8',
    '100.64.0.0/10',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '172.16.0.0/12',
    '192.0.0.0/24',
    '192.0.2.0/24',
  ],
  ...['192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  ...[
    '::/128',
    '::1/128',
    '64:ff9b:1::/48',
    '100::/64',
    '2001::/23',
    '2001:db8::/32',
    '3fff::/20',
    '5f00::/16',
    'fc00::/7',
    'fe80::/10',
    'ff00::/8',
  ],
]) {
  const [base = '', length] = range.split('/');
  SPECIAL.addSubnet(base, Number(length), base.includes(':') ? 'ipv6' : 'ipv4');
}

function bytesOf(text: string): string {
  return (parseIp(text)?.groups ?? []).map((group) => group.toString(16).padStart(4, '0')).join('');
}

function agreesWithNode(text: string): void {
  const ip = parseIp(text);
  const version = net.isIP(text);
  if (ip === null) {
    expect(version === 0 || text.includes('%'), `net.isIP takes ${JSON.stringify(text)}`).toBe(true);
    return;
  }
  expect(version).toBe(ip.family);
  const canonical = canonicalAddress(text)!;
  expect(bytesOf(canonical)).toBe(bytesOf(text));
  expect(canonicalAddress(canonical)).toBe(canonical);
  const special = SPECIAL.check(text, ip.family === 4 ? 'ipv4' : 'ipv6');
  if (special) expect(classifyAddress(text), `${text} is special`).not.toBe('public');
}

function agreesWithSystem(text: string, view: SystemView): void {
  const ip = parseIp(text);
  if (ip?.family === 4) expect(view.pton4).toBe(bytesOf(text).slice(24));
  else expect(view.pton4, `inet_pton takes ${JSON.stringify(text)}`).toBeNull();
  if (ip?.family === 6) expect(view.pton6).toBe(bytesOf(text));
  else expect(view.pton6, `inet_pton takes ${JSON.stringify(text)}`).toBeNull();
  if (ip !== null && classifyAddress(text) === 'public') expect(view.global, `${text} is not global`).toBe(true);
  const parsed = parseHost(text);
  if (!parsed.ok) return;
  if (parsed.kind === 'name')
    expect([view.aton, view.numeric], `the system reads ${JSON.stringify(text)} as an address`).toEqual([null, null]);
  else if (!text.startsWith('[')) expect(view.numeric).not.toBeNull();
}

const range = fc.tuple(
  fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom(...QUADS, ...SIXES)),
  fc.integer({ min: 0, max: 128 }),
);

fuzz('address', 60, async ({ check }) => {
  const python = HAS_PYTHON ? new Python(SYSTEM) : null;
  await check(
    fc.asyncProperty(fc.array(host, { minLength: 1, maxLength: 50 }), range, async (texts, [base, length]) => {
      for (const text of texts) agreesWithNode(text);
      // The canonical host is what goes to the resolver: the system must read that as a name too.
      const canonical = texts.flatMap((text) => {
        const parsed = parseHost(text);
        return parsed.ok ? [parsed.host] : [];
      });
      const all = [...texts, ...canonical].filter((text) => !text.includes('\0') && /^[\0-\xff]*$/.test(text));
      if (python !== null) {
        const views = await python.ask<SystemView[]>(all);
        for (const [place, text] of all.entries()) agreesWithSystem(text, views[place]!);
      }
      const cidr = parseCidr(`${base}/${length}`);
      if (cidr === null || parseIp(base)!.family !== cidr.family) return;
      const list = new net.BlockList();
      list.addSubnet(base, length, cidr.family === 4 ? 'ipv4' : 'ipv6');
      for (const text of texts) {
        if (parseIp(text)?.family !== cidr.family || /^::ffff:/i.test(text)) continue;
        expect(cidrContains(cidr, text), `${text} in ${cidr.text}`).toBe(
          list.check(text, cidr.family === 4 ? 'ipv4' : 'ipv6'),
        );
      }
    }),
  );
  python?.close();
});

fuzz('pattern', 3_000, ({ check }) =>
  check(
    fc.property(
      host,
      fc.constantFrom('', '*.', '*', '.', '**.', 'http://', '*.*.'),
      fc.constantFrom('', ':443', ':0', '/x'),
      (text, before, after) => {
        const raw = `${before}${text}${after}`;
        const read = parseRuleText(raw);
        if (read.ok) {
          const { pattern, port } = read;
          const again = port === null ? pattern.text : `${pattern.text}:${port}`;
          expect(parseRuleText(again)).toEqual(read);
          const alone = parseHost(pattern.host);
          expect(alone).toMatchObject({ ok: true, host: pattern.host });
          expect(raw.toLowerCase().startsWith('*.')).toBe(pattern.kind === 'wildcard');
          return;
        }
        expect(read.problem).toMatch(/^[\x20-\x7e]+$/);
        // A suggested spelling is one that is taken.
        if (read.suggestion !== null) expect(parseRuleText(read.suggestion)).toMatchObject({ ok: true });
        const bare = parsePattern(raw);
        if (!bare.ok && bare.suggestion !== null) expect(parsePattern(bare.suggestion)).toMatchObject({ ok: true });
      },
    ),
  ),
);
