// PROXY protocol headers, sound and damaged, against the layout of the specification (§2.2) as Buffer and net.SocketAddress read
// it: the client we name is the one that stands there, and no more bytes are taken than the header says.
import net from 'node:net';
import { expect } from 'vitest';
import { parseProxyHeader } from '../../src/net/proxy-header.ts';
import fc from '../support/property.ts';
import { fuzz } from './budget.ts';
import { damaged, edits } from './mutate.ts';

const BYTES_MAX = 536;
const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';
const PIECES = [
  '\0',
  '\x01',
  '\x11',
  '\x21',
  '\x20',
  '\x12',
  '\x31',
  '\xff',
  '\0\x0c',
  '\0\x24',
  '\x02\x08',
  '\xff\xff',
  SIGNATURE,
  'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n',
  'CONNECT ',
  '\x16\x03\x01',
];

const header = fc
  .record({
    command: fc.constantFrom(0x21, 0x21, 0x21, 0x20, 0x22, 0x11),
    family: fc.constantFrom(0x11, 0x21, 0x21, 0x00, 0x12, 0x31),
    addresses: fc.uint8Array({ minLength: 36, maxLength: 36 }),
    /** ::ffff:a.b.c.d, which is to be read as a.b.c.d. */
    mapped: fc.boolean(),
    extra: fc.uint8Array({ maxLength: 40 }),
  })
  .map(({ command, family, addresses, mapped, extra }) => {
    const body = Buffer.from(addresses);
    if (mapped) body.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]);
    const block = Buffer.concat([family === 0x11 ? body.subarray(0, 12) : body, extra]);
    return Buffer.concat([
      Buffer.from(SIGNATURE, 'latin1'),
      Buffer.from([command, family, block.length >> 8, block.length & 255]),
      block,
    ]);
  });

/** The client as the layout has it. */
function clientOf(bytes: Buffer): { address: string; port: number } | null {
  if (bytes[12] === 0x20) return null;
  if (bytes[13] === 0x11) return { address: [...bytes.subarray(16, 20)].join('.'), port: bytes.readUInt16BE(24) };
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(16 + 2 * at).toString(16));
  const { address } = new net.SocketAddress({ address: groups.join(':'), family: 'ipv6' });
  return { address: address.replace(/^::ffff:(?=\d+\.)/, ''), port: bytes.readUInt16BE(48) };
}

fuzz('proxy-header', 1_000, async ({ check, whole }) => {
  const met = { ok: 0, refused: 0, 'need-more': 0 };
  await check(
    fc.property(header, edits(PIECES, 2), fc.double({ min: 0, max: 1, noNaN: true }), (sound, list, cut) => {
      const bytes = damaged(sound, list);
      const found = parseProxyHeader(bytes, BYTES_MAX);
      met[found.state] += 1;
      const part = parseProxyHeader(bytes.subarray(0, Math.floor(cut * bytes.length)), BYTES_MAX);
      if (part.state !== 'need-more') expect(found).toEqual(part);
      if (found.state === 'need-more') {
        expect(found.atLeast).toBeGreaterThan(bytes.length);
        expect(found.atLeast).toBeLessThanOrEqual(BYTES_MAX);
      }
      if (found.state !== 'ok') return;
      expect(bytes.toString('latin1').startsWith(SIGNATURE)).toBe(true);
      expect([0x20, 0x21]).toContain(bytes[12]);
      expect(found.bytes).toBe(16 + bytes.readUInt16BE(14));
      expect(found.bytes).toBeLessThanOrEqual(Math.min(bytes.length, BYTES_MAX));
      if (bytes[12] === 0x21) expect([0x11, 0x21]).toContain(bytes[13]);
      expect(found.client).toEqual(clientOf(bytes));
      // What follows is the client's, whatever it is.
      expect(parseProxyHeader(Buffer.concat([bytes, sound]), BYTES_MAX)).toEqual(found);
    }),
  );
  if (whole)
    expect(
      Object.values(met).every((count) => count > 0),
      JSON.stringify(met),
    ).toBe(true);
});
