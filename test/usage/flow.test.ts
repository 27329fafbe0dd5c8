// The readers of flow logs: the formats as their documentation shows them, what is wrong with a line, and whatever a line holds.

import { describe, expect, it } from 'vitest';
import { canonicalAddress, parseCidr } from '../../src/policy/address.ts';
import { type Flow, type FlowRead, type FlowScope, standingOf } from '../../src/usage/flow.ts';
import { KernelReader } from '../../src/usage/flow-kernel.ts';
import { VpcReader, vpcFields, vpcLacks } from '../../src/usage/flow-vpc.ts';
import fc from '../support/property.ts';

const NOW = Date.parse('2026-11-24T12:00:00Z');
const at = (time: string) => Date.parse(time);
const kernel = (line: string, zoneMs = 0, now = NOW): FlowRead => new KernelReader({ now, zoneMs }).read(line);
const flowOf = (read: FlowRead): Flow | null => (read.kind === 'flow' ? read.flow : null);
const V2 =
  '2 123456789010 eni-1235b8ca123456789 10.0.1.5 140.82.112.3 51000 22 6 3 180 1764151201 1764151260 REJECT OK';
const PACKET =
  'egress-refused: IN= OUT=eth0 SRC=10.0.1.5 DST=140.82.112.3 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=4711 DF PROTO=TCP SPT=51000 DPT=22 WINDOW=64240 RES=0x00 SYN URGP=0';

describe('VPC flow logs', () => {
  it('reads version 2 as S3 and CloudWatch write it', () => {
    const expected = {
      first: 1_764_151_201_000,
      last: 1_764_151_260_000,
      client: '10.0.1.5',
      host: '140.82.112.3',
      clientPort: 51_000,
      port: 22,
      protocol: 'tcp',
      verdict: 'reject',
      packets: 3,
      bytes: 180,
      uid: null,
      began: null,
      mark: 'eni-1235b8ca123456789',
    };
    const head =
      'version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status';
    const reader = new VpcReader();
    expect(reader.read(head)).toEqual({ kind: 'none' });
    for (const before of ['', '2026-11-24T10:00:01.000Z ', '2026-11-24T10:00:01+00:00 eni-1235b8ca123456789-all '])
      expect(flowOf(reader.read(before + V2))).toEqual(expected);
  });

  it('reads a custom format by its head line, also as the console shows it', () => {
    const names = 'tcp-flags pkt-dstaddr dstaddr srcaddr pkt-srcaddr dstport protocol start action type';
    for (const head of [names, names.replace(/\S+/g, '$${$&}')]) {
      const reader = new VpcReader();
      expect(reader.read(head)).toEqual({ kind: 'none' });
      const read = reader.read('2 2001:db8::1 10.0.9.9 10.0.9.8 2001:db8::2 443 6 1764151201 ACCEPT IPv6');
      expect(flowOf(read)).toMatchObject({ client: '2001:db8::2', host: '2001:db8::1', port: 443, verdict: 'accept' });
      expect(flowOf(read)).toMatchObject({ began: true, packets: 1, bytes: 0, first: 1_764_151_201_000 });
      expect(flowOf(reader.read('18 - 10.0.9.9 10.0.9.8 - 443 6 1764151201 ACCEPT IPv4'))).toMatchObject({
        client: '10.0.9.8',
        host: '10.0.9.9',
        began: false,
      });
    }
  });

  it('knows a time without traffic from one of which records are lost', () => {
    const without = (status: string) => `2 123456789010 eni-1 - - - - - - - 1764151201 1764151260 - ${status}`;
    expect(new VpcReader().read(without('NODATA'))).toEqual({ kind: 'none' });
    expect(new VpcReader().read(without('SKIPDATA'))).toEqual({ kind: 'lost' });
  });

  it.each([
    ['it has not 14 fields', V2.replace(' OK', '')],
    ['it has not 14 fields', `x ${V2}`],
    ['the source is no address', V2.replace('10.0.1.5', '10.0.1.05')],
    ['the destination is no address', V2.replace('140.82.112.3', 'github.com')],
    ['the protocol is not known', V2.replace(' 6 3 ', ' 256 3 ')],
    ['a port is no number to 65535', V2.replace(' 22 ', ' 65536 ')],
    ['its action is neither ACCEPT nor REJECT', V2.replace('REJECT', 'DROP')],
    ['its start and end are no times', V2.replace('1764151260', '1764151200')],
    ['its start and end are no times', V2.replace('1764151201', '1764151201000')],
    ['packets or bytes is no number', V2.replace(' 180 ', ' -180 ')],
    ['its log-status is neither OK, NODATA nor SKIPDATA', V2.replace(' OK', ' <b>')],
    ['the head has no protocol', 'srcaddr dstaddr dstport start action'],
  ])('%s', (why, line) => {
    expect(new VpcReader().read(line)).toEqual({ kind: 'bad', why });
  });

  it('says what a format lacks', () => {
    expect(vpcLacks(vpcFields('srcaddr dstaddr dstport protocol start action') ?? [])).toBe('');
    expect(vpcLacks(vpcFields(['pkt-srcaddr', 'start'].map((name) => `\${${name}}`).join(' ')) ?? [])).toBe(
      'dstaddr, dstport, protocol, action',
    );
    expect([vpcFields('2 10.0.0.1'), vpcFields('srcaddr;dstaddr'), vpcFields('version start')]).toEqual([
      null,
      null,
      null,
    ]);
  });
});

describe('packets that the kernel logged', () => {
  it.each([
    ['short', `Nov 24 10:00:01 agent-1 kernel: ${PACKET}`],
    ['syslog with the kernel’s own clock', `Nov 24 10:00:01 agent-1 kernel: [12345.678901] ${PACKET}`],
    ['short-precise', `Nov 24 10:00:01.123456 agent-1 kernel: ${PACKET}`],
    ['short-iso', `2026-11-24T11:00:01+0100 agent-1 kernel: ${PACKET}`],
    ['short-iso-precise', `2026-11-24T10:00:01.123456+00:00 agent-1 kernel: ${PACKET}`],
    ['short-unix', `1795514401.123456 agent-1 kernel: ${PACKET}`],
    ['ulogd', `Nov 24 10:00:01 agent-1 ${PACKET}`],
    ['json', JSON.stringify({ MESSAGE: PACKET, __REALTIME_TIMESTAMP: '1795514401123456', _HOSTNAME: 'agent-1' })],
  ])('%s', (_form, line) => {
    expect(flowOf(kernel(line))).toEqual({
      first: at('2026-11-24T10:00:01Z'),
      last: at('2026-11-24T10:00:01Z'),
      client: '10.0.1.5',
      host: '140.82.112.3',
      clientPort: 51_000,
      port: 22,
      protocol: 'tcp',
      verdict: 'reject',
      packets: 1,
      bytes: 60,
      uid: null,
      began: true,
      mark: 'agent-1 4711',
    });
  });

  it('dmesg -T, which names a year and no machine', () => {
    const read = (line: string, zoneMs = 0) => kernel(`[${line}] ${PACKET}`, zoneMs);
    const found = { first: at('2025-11-24T10:00:01Z'), client: '10.0.1.5', port: 22, mark: ' 4711' };
    expect(flowOf(read('Mon Nov 24 10:00:01 2025'))).toMatchObject(found);
    expect(flowOf(read('Mon Nov 24 12:00:01 2025', 7_200_000))).toMatchObject(found);
    expect(read('Mon Nov 31 10:00:01 2025')).toEqual({ kind: 'bad', why: 'its time is none' });
  });

  it('takes the latest year that is not in the future, and the zone it is told', () => {
    const time = (day: string, zoneMs = 0, now = NOW) =>
      new Date(flowOf(kernel(`${day} 10:00:01 a kernel: ${PACKET}`, zoneMs, now))?.first ?? 0).toISOString();
    expect(time('Dec 31')).toBe('2025-12-31T10:00:01.000Z');
    expect(time('Nov 24', 2 * 3_600_000)).toBe('2026-11-24T08:00:01.000Z');
    expect(time('Feb 29')).toBe('2024-02-29T10:00:01.000Z');
    // On New Year's Eve a clock ahead of ours is in the next year already.
    expect(time('Jan  1', 0, at('2026-12-31T23:00:00Z'))).toBe('2027-01-01T10:00:01.000Z');
  });

  it.each<[string, string, Partial<Flow>]>([
    [
      'UDP over IPv6',
      'SRC=2001:0db8:0000:0000:0000:0000:0000:0005 DST=2001:0db8:0000:0000:0000:0000:0000:0001 LEN=71 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=40000 DPT=53 LEN=31',
      { client: '2001:db8::5', host: '2001:db8::1', port: 53, protocol: 'udp', began: null, bytes: 71 },
    ],
    ['a user', 'SRC=10.0.1.5 DST=3.5.6.7 LEN=60 PROTO=TCP SPT=1 DPT=443 SYN URGP=0 UID=0 GID=0', { uid: 0, port: 443 }],
    ['an answer', 'SRC=10.0.1.5 DST=3.5.6.7 LEN=60 PROTO=TCP SPT=22 DPT=50000 ACK SYN URGP=0', { began: false }],
    [
      'an error message, and not the packet in it',
      'SRC=10.0.1.5 DST=3.5.6.7 LEN=60 PROTO=ICMP TYPE=3 CODE=1 [SRC=9.9.9.9 DST=8.8.8.8 PROTO=TCP SPT=1 DPT=2 ]',
      { client: '10.0.1.5', protocol: 'icmp', port: 0, began: false },
    ],
    ['a ping', 'SRC=10.0.1.5 DST=3.5.6.7 LEN=60 PROTO=ICMP TYPE=8 CODE=0 ID=7 SEQ=1', { began: true }],
    ['another protocol', 'SRC=10.0.1.5 DST=3.5.6.7 LEN=60 PROTO=99', { protocol: 'ip-99', port: 0 }],
  ])('reads %s', (_what, packet, expected) => {
    expect(flowOf(kernel(`Nov 24 10:00:01 a kernel: x: IN= OUT=eth0 ${packet}`))).toMatchObject(expected);
  });

  it('takes a rule for one that refuses, unless its prefix says otherwise', () => {
    const verdict = (prefix: string) =>
      flowOf(kernel(`Nov 24 10:00:01 a kernel: ${PACKET.replace('egress-refused: ', prefix)}`))?.verdict;
    for (const prefix of ['[UFW BLOCK] ', 'bypass:', 'not-allow3d ', 'egress not allowed: ', ''])
      expect(verdict(prefix)).toBe('reject');
    for (const prefix of ['[UFW ALLOW] ', 'egress ACCEPT: ', 'allowed-']) expect(verdict(prefix)).toBe('accept');
  });

  it('leaves lines of something else, and packets that come in', () => {
    for (const line of [
      '',
      'Nov 24 10:00:01 a kernel: usb 1-1: new device',
      'Nov 24 10:00:01 a kernel: x: IN=eth0 OUT= ARP HTYPE=1',
      '{}',
    ])
      expect(kernel(line)).toEqual({ kind: 'other' });
    expect(
      flowOf(kernel(`Nov 24 10:00:01 a kernel: ${PACKET.replace('IN= OUT=eth0', 'IN=eth0 OUT= MAC=00:01')}`))?.began,
    ).toBe(false);
  });

  it.each([
    ['it does not begin with a time and a machine', `[12345.678901] ${PACKET}`],
    ['its time is none', `Nov 31 10:00:01 a kernel: ${PACKET}`],
    ['its time is none', `Foo 24 10:00:01 a kernel: ${PACKET}`],
    ['its time is none', `2026-13-24T10:00:01+0000 a kernel: ${PACKET}`],
    ['the source is no address', `Nov 24 10:00:01 a kernel: ${PACKET.replace('10.0.1.5', '<b>')}`],
    ['the destination is no address', `Nov 24 10:00:01 a kernel: ${PACKET.replace('140.82.112.3', '')}`],
    ['a port is no number to 65535', `Nov 24 10:00:01 a kernel: ${PACKET.replace('DPT=22', 'DPT=')}`],
    ['the protocol is not known', `Nov 24 10:00:01 a kernel: ${PACKET.replace('=TCP', '=EVIL')}`],
    ['it does not begin with a time and a machine', JSON.stringify({ MESSAGE: PACKET, __REALTIME_TIMESTAMP: 5 })],
  ])('%s: %s', (why, line) => {
    expect(kernel(line)).toEqual({ kind: 'bad', why });
  });
});

describe('standingOf', () => {
  const scope: FlowScope = {
    clients: [parseCidr('10.0.0.0/16')].filter((cidr) => cidr !== null),
    proxies: new Set(['10.0.0.5', '198.51.100.7']),
    proxyPorts: new Set([3_128]),
  };
  const flow = flowOf(new VpcReader().read(V2)) as Flow;
  it.each<[string, Partial<Flow>, string]>([
    ['out of the network', {}, 'attempt'],
    ['to instance metadata', { host: '169.254.169.254', port: 80 }, 'attempt'],
    ['to an internal address', { host: '10.0.7.7', port: 5_432 }, 'attempt'],
    ['from somewhere else', { client: '10.9.0.1' }, 'foreign'],
    ['to the proxy', { host: '10.0.0.5', port: 3_128 }, 'proxy'],
    ['from the proxy', { client: '10.0.0.5', port: 443 }, 'proxy'],
    ['to an internal address by a port of the proxy', { host: '10.0.7.7', port: 3_128 }, 'proxy'],
    ['to a public address by a port of the proxy', { host: '8.8.8.8', port: 3_128 }, 'attempt'],
    ['an answer by its ports', { clientPort: 22, port: 40_000 }, 'answer'],
    ['an answer by its flags', { began: false }, 'answer'],
    ['begun from a low port', { clientPort: 22, port: 40_000, began: true }, 'attempt'],
    ['on the link', { host: '224.0.0.251', port: 5_353 }, 'local'],
    ['on the machine', { host: '127.0.0.1' }, 'local'],
    ['to everybody', { host: '255.255.255.255' }, 'local'],
  ])('%s', (_what, over, expected) => {
    expect(standingOf({ ...flow, ...over }, scope)).toBe(expected);
  });
});

it('whatever a line holds, only checked values come out', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      ...V2.split(' '),
      ...PACKET.split(' '),
      'Nov 24 10:00:01 a kernel:',
      'srcaddr',
      'dstaddr',
      '<script>',
      '\u001b[2J',
      '=1+1',
    ),
    fc.string({ unit: 'binary', maxLength: 8 }),
  );
  const edits = fc.array(fc.tuple(fc.nat(30), piece), { maxLength: 3 });
  const line = fc.constantFrom(V2, `Nov 24 10:00:01 a kernel: ${PACKET}`).chain((sound) =>
    edits.map((made) => {
      const words = sound.split(' ');
      for (const [place, word] of made) words[place % words.length] = word;
      return words.join(' ');
    }),
  );
  let taken = 0;
  fc.assert(
    fc.property(
      fc.oneof(
        line,
        fc.array(piece, { maxLength: 30 }).map((words) => words.join(' ')),
      ),
      (text) => {
        for (const reader of [new VpcReader(), new KernelReader({ now: NOW, zoneMs: 0 })]) {
          const flow = flowOf(reader.read(text));
          if (flow === null) continue;
          taken++;
          expect([flow.client, flow.host]).toEqual([canonicalAddress(flow.client), canonicalAddress(flow.host)]);
          for (const value of [flow.first, flow.last, flow.port, flow.packets, flow.bytes])
            expect(Number.isSafeInteger(value)).toBe(true);
          expect(flow.protocol).toMatch(/^(?:[a-z]+6?|ip-\d{1,3})$/);
          expect(flow.port).toBeLessThan(65_536);
          expect(flow.last).toBeGreaterThanOrEqual(flow.first);
        }
      },
    ),
    { numRuns: 2_000 },
  );
  expect(taken).toBeGreaterThan(100);
});
