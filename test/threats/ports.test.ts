// Section "Port" of docs/threat-model.md: one to five digits, 1 to 65535, no default (RFC 9110 §9.3.6).
import { describe, it } from 'vitest';
import { ALLOWED, badTarget, connect, malformed, refused, row, useStage, works } from './stage.ts';

const stage = useStage();
const to = (port: string): string => connect(`${ALLOWED}:${port}`);
const otherPort = refused(403, 'port-not-allowed');

row('P1 numbers that are no port', stage, [
  ['0', to('0'), malformed],
  ['00000', to('00000'), malformed],
  ['65536', to('65536'), malformed],
  ['twenty digits', to('12345678901234567890'), malformed],
  ['4294967739, which is 443 modulo 2^32', to('4294967739'), malformed],
  ['-1', to('-1'), malformed],
  ['-443', to('-443'), malformed],
]);

describe('P1 numbers that are no port: wrapping', () => {
  it('the allowed port plus 65536 is not the allowed port', () =>
    stage.run(to(String(stage.port + 65_536)), malformed));
  it('the allowed port plus 2^32 is not the allowed port', () =>
    stage.run(to(String(stage.port + 2 ** 32)), malformed));
});

row('P2 there is no default port', stage, [
  ['none', connect(ALLOWED), malformed],
  ['an empty one', to(''), malformed],
  ['none on an address', connect('[::1]'), malformed],
  ['an empty one on an address', connect('[::1]:'), malformed],
]);

row('P3 what parseInt would accept', stage, [
  ['+443', to('+443'), malformed],
  ['443x', to('443x'), malformed],
  ['443.0', to('443.0'), malformed],
  ['4.43e2', to('4.43e2'), malformed],
  ['0x1bb', to('0x1bb'), malformed],
  ['1_000', to('1_000'), malformed],
  ['https', to('https'), malformed],
  ['443:443', to('443:443'), malformed],
  ['443:22', to('443:22'), malformed],
  ['22:443', to('22:443'), malformed],
  ['a NUL behind it', to('443\0'), badTarget],
  ['an encoded space behind it', to('443%20'), malformed],
  ['a path behind it', to('443/'), malformed],
  ['a query behind it', to('443?x'), malformed],
  ['a fragment behind it', to('443#x'), badTarget],
  ['a comma and a second one', to('443,22'), malformed],
  ['full-width digits', to('\xef\xbc\x94'), badTarget],
]);

row('P4 leading zeros are malformed, as documented', stage, [
  ['0443', to('0443'), malformed],
  ['the allowed port with a zero before it', to('0{p}'), malformed],
  ['00443', to('00443'), malformed],
]);

row('P5 an allowed host on a port outside its rule', stage, [
  ['22', to('22'), otherPort],
  ['25', to('25'), otherPort],
  ['80', to('80'), otherPort],
  ['443', to('443'), otherPort],
  ['65535', to('65535'), otherPort],
  ['1', to('1'), otherPort],
  ['the allowed one works', to('{p}'), works()],
]);
