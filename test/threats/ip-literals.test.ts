// Section "IP literals" of docs/threat-model.md: an address is refused in every spelling, unless that very address is listed.
import { describe, expect, it } from 'vitest';
import {
  ALLOWED,
  badTarget,
  connect,
  malformed,
  refused,
  refusedAfterLookup,
  row,
  useStage,
  utf8,
  works,
} from './stage.ts';

const stage = useStage({ policy: (one) => ({ allow: [one.rule(ALLOWED), one.rule('*.allowed.test')] }) });
const at = (host: string): string => connect(`${host}:{p}`);
const literal = refused(403, 'ip-literal-not-allowed');
const metadata = refused(403, 'metadata-prohibited');

row('I1 IPv4 in every spelling that inet_aton reads', stage, [
  ['dotted quad of loopback', at('127.0.0.1'), literal],
  ['another loopback address', at('127.0.0.2'), literal],
  ['two parts', at('127.1'), malformed],
  ['three parts', at('127.0.1'), malformed],
  ['one decimal number', at('2130706433'), malformed],
  ['one hexadecimal number', at('0x7f000001'), malformed],
  ['hexadecimal in capitals', at('0X7F000001'), malformed],
  ['octal parts', at('0177.0.0.01'), malformed],
  ['one octal number', at('017700000001'), malformed],
  ['a leading zero', at('127.0.0.01'), malformed],
  ['mixed bases', at('0x7f.0.0.1'), malformed],
  ['a hexadecimal last part', at('127.0.0.0x1'), malformed],
  ['0x alone, which inet_aton may read as 0', at('0x'), malformed],
  ['zero', at('0'), malformed],
  ['the unspecified address', at('0.0.0.0'), literal],
  ['loopback with a trailing dot', at('127.0.0.1.'), malformed],
  ['a name that ends in a number', at('allowed.test.1'), malformed],
  ['an overflowing number', at('4294967297'), malformed],
]);

row('I2 every class of IPv4 address', stage, [
  ['private 10', at('10.0.0.1'), literal],
  ['private 172.16', at('172.16.0.1'), literal],
  ['private 192.168', at('192.168.0.1'), literal],
  ['CGNAT', at('100.64.0.1'), literal],
  ['multicast', at('224.0.0.1'), literal],
  ['broadcast', at('255.255.255.255'), literal],
  ['documentation', at('203.0.113.1'), literal],
  ['benchmarking', at('198.18.0.1'), literal],
  ['public', at('1.1.1.1'), literal],
  ['instance metadata', at('169.254.169.254'), metadata],
  ['link-local', at('169.254.0.1'), metadata],
  ['Azure WireServer', at('168.63.129.16'), metadata],
  ['Alibaba metadata', at('100.100.100.200'), metadata],
  ['Oracle metadata', at('192.0.0.192'), metadata],
]);

row('I3 IPv6 in every class and every form that hides an IPv4 address', stage, [
  ['loopback', at('[::1]'), literal],
  ['loopback in full', at('[0:0:0:0:0:0:0:1]'), literal],
  ['loopback in full with zeros', at('[0000:0000:0000:0000:0000:0000:0000:0001]'), literal],
  ['loopback without brackets', at('::1'), malformed],
  ['unspecified', at('[::]'), literal],
  ['v4-mapped, dotted', at('[::ffff:127.0.0.1]'), literal],
  ['v4-mapped, hexadecimal', at('[::ffff:7f00:1]'), literal],
  ['v4-mapped, capitals', at('[::FFFF:7F00:1]'), literal],
  ['v4-mapped metadata', at('[::ffff:169.254.169.254]'), metadata],
  ['v4-compatible', at('[::127.0.0.1]'), literal],
  ['SIIT', at('[::ffff:0:127.0.0.1]'), literal],
  ['NAT64', at('[64:ff9b::7f00:1]'), literal],
  ['NAT64 metadata', at('[64:ff9b::169.254.169.254]'), metadata],
  ['NAT64 with a local prefix', at('[64:ff9b:1::7f00:1]'), literal],
  ['6to4', at('[2002:7f00:1::]'), literal],
  ['6to4 metadata', at('[2002:a9fe:a9fe::]'), metadata],
  ['Teredo', at('[2001:0:7f00:1::80ff:fffe]'), literal],
  ['unique local', at('[fd00::1]'), literal],
  ['site-local', at('[fec0::1]'), literal],
  ['link-local', at('[fe80::1]'), literal],
  ['multicast', at('[ff02::1]'), literal],
  ['documentation', at('[2001:db8::1]'), literal],
  ['EC2 metadata', at('[fd00:ec2::254]'), metadata],
  ['GCE metadata', at('[fd20:ce::254]'), metadata],
  ['public', at('[2606:4700::1111]'), literal],
]);

row('I4 zone ids are malformed', stage, [
  ['a zone', at('[::1%lo]'), malformed],
  ['an encoded zone', at('[::1%25lo]'), malformed],
  ['a zone that ends in an allowed suffix, bare', at('::ffff:127.0.0.1%x.allowed.test'), malformed],
  ['a zone that ends in an allowed suffix, in brackets', at('[::1%x.allowed.test]'), malformed],
  ['a zone on IPv4', at('127.0.0.1%lo'), malformed],
]);

row('I5 what is no address in brackets or dots is malformed', stage, [
  ['IPv4 in brackets', at('[127.0.0.1]'), malformed],
  ['an unclosed bracket', at('[::1'), malformed],
  ['an unopened bracket', at('::1]'), malformed],
  ['empty brackets', at('[]'), malformed],
  ['brackets in brackets', at('[[::1]]'), malformed],
  ['a number above 255', at('383.0.0.1'), malformed],
  ['five octets', at('127.0.0.0.1'), malformed],
  ['text behind the bracket', at('[::1]allowed.test'), malformed],
  ['text before the bracket', at('allowed.test[::1]'), malformed],
  ['two double colons', at('[1::2::3]'), malformed],
  ['nine groups', at('[1:2:3:4:5:6:7:8:9]'), malformed],
  ['an IPvFuture literal', at('[v1.allowed.test]'), malformed],
  ['a prefix length', at('[::1/128]'), malformed],
  ['a group of five digits', at('[00000::1]'), malformed],
]);

row('I6 full-width digits are not digits', stage, [
  ['digits', at(utf8('１２７.0.0.1')), badTarget],
  ['full stops', at(utf8('127。0。0。1')), badTarget],
  ['circled', at(utf8('①②⑦.0.0.1')), badTarget],
]);

row(
  'I8 a name that only looks like an address below a wildcard is resolved as a name, never dialled as an address',
  stage,
  [
    ['a quad as labels', at('127.0.0.1.allowed.test'), refusedAfterLookup(502, 'dns-failed')],
    ['a decimal number as a label', at('2130706433.allowed.test'), refusedAfterLookup(502, 'dns-failed')],
  ],
);

describe('I7 a listed literal passes in its canonical spelling alone', () => {
  const listed = useStage({
    policy: (one) => ({
      allow: [one.rule(ALLOWED), one.rule('127.0.0.1'), one.rule('::1', { addresses: ['::1/128'] })],
    }),
  });

  row('IPv4', listed, [
    ['as it is listed', at('127.0.0.1'), works('127.0.0.1')],
    ['with a trailing dot', at('127.0.0.1.'), malformed],
    ['two parts', at('127.1'), malformed],
    ['decimal', at('2130706433'), malformed],
    ['its neighbour', at('127.0.0.2'), literal],
    ['v4-mapped', at('[::ffff:127.0.0.1]'), literal],
    ['NAT64', at('[64:ff9b::7f00:1]'), literal],
  ]);

  it('IPv6 in every spelling of RFC 4291 is one canonical value', async () => {
    for (const text of ['[::1]', '[0:0:0:0:0:0:0:1]', '[::0001]']) {
      const mark = listed.mark();
      const client = await listed.client();
      client.send(listed.bytes(at(text)));
      expect((await client.readHead()).status).toBe(200);
      expect((await client.readAll()).toString()).toBe('decoy');
      client.close();
      expect((await listed.lines(mark, 2))[0]).toMatchObject({ host: '::1' });
      expect(listed.dialled(mark)).toEqual([0, 0, 0, 1]);
    }
    await listed.run(at('::1'), malformed);
  });
});
