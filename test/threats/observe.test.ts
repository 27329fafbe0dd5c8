// Observe mode of docs/threat-model.md: it lifts "not on the allowlist" and a wrong first message, and nothing else.
import { describe, expect, it } from 'vitest';
import { helloMessage, records, sni } from '../net/hello-builder.ts';
import {
  ALLOWED,
  connect,
  DENIED,
  isDecided,
  isEnded,
  malformed,
  refused,
  refusedAfterLookup,
  row,
  useStage,
} from './stage.ts';

const CASE_MS = 10_000;
const stage = useStage({
  policy: (one) => ({
    mode: 'observe',
    allow: [one.rule(ALLOWED), one.rule('tls.allowed.test', { protocol: 'tls' })],
    deny: ['gist.test'],
    observe: { addresses: ['127.0.0.3/32'] },
  }),
  names: {
    'tls.allowed.test': ['127.0.0.1'],
    'unlisted.test': ['127.0.0.3'],
    'private.test': ['10.0.0.1'],
    'metadata.test': ['169.254.169.254'],
    'gist.test': ['127.0.0.3'],
  },
});
const at = (host: string): string => connect(`${host}:{p}`);

row('B1 observe mode does not lift grammar, deny rules or the address guard', stage, [
  ['a deny rule', at('gist.test'), refused(403, 'host-denied')],
  ['a deny rule in capitals with a dot', at('GIST.TEST.'), refused(403, 'host-denied')],
  ['malformed', at('a@b.test'), malformed],
  [
    'a body on CONNECT',
    `CONNECT ${DENIED}:{p} HTTP/1.1\r\nContent-Length: 1\r\n\r\nx`,
    refused(400, 'connect-with-body'),
  ],
  ['an unlisted name with a private address', at('private.test'), refusedAfterLookup(403, 'address-prohibited')],
  ['an unlisted name with a loopback address', at(DENIED), refusedAfterLookup(403, 'address-prohibited')],
  ['an unlisted name with a metadata address', at('metadata.test'), refusedAfterLookup(403, 'metadata-prohibited')],
  ['a loopback literal', at('127.0.0.3'), refused(403, 'ip-literal-not-allowed')],
  ['a mapped literal', at('[::ffff:127.0.0.3]'), refused(403, 'ip-literal-not-allowed')],
  ['a NAT64 literal', at('[64:ff9b::7f00:3]'), refused(403, 'ip-literal-not-allowed')],
  ['a metadata literal', at('169.254.169.254'), refused(403, 'metadata-prohibited')],
  ['localhost', at('localhost'), refused(403, 'host-not-allowed')],
  [
    'a listed name in a URL of another scheme',
    'GET ftp://allowed.test/ HTTP/1.1\r\nHost: x\r\n\r\n',
    refused(400, 'target-malformed'),
  ],
]);

describe('B2 observe mode lets an unlisted name pass, and the record says what would have been', () => {
  it('to the internal range that observe.addresses names', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(at('unlisted.test')));
    expect((await client.readHead()).status).toBe(200);
    expect((await client.readAll()).toString()).toBe('decoy');
    client.close();
    const lines = await stage.lines(mark, 2);
    expect(lines.filter(isDecided)).toMatchObject([{ verdict: 'observe', reason: 'host-not-allowed' }]);
    expect(lines.filter(isEnded)).toMatchObject([{ verdict: 'observe', outcome: 'closed' }]);
    expect(stage.dialled(mark)).toEqual([0, 0, 1, 0]);
    await stage.good(mark, 2);
  });

  it('never to the proxy itself', { timeout: CASE_MS }, async () => {
    const { proxy, admin } = stage.world.proxy;
    for (const port of [proxy.port, admin?.port])
      await stage.run(connect(`unlisted.test:${port}`), refusedAfterLookup(403, 'self-prohibited'));
  });
});

describe('B3 observe mode alters no byte of a tunnel that it would have cut', () => {
  it.each([
    ['another server name', records(helloMessage({ extensions: [sni('denied.test')] }))],
    ['no TLS at all', Buffer.from('SSH-2.0-x\r\n')],
  ])('%s', { timeout: CASE_MS }, async (_, bytes) => {
    const mark = stage.mark();
    const client = await stage.tunnel('tls.allowed.test');
    client.send(bytes);
    expect((await client.read(bytes.length)).equals(bytes)).toBe(true);
    client.end();
    await client.readAll();
    const [ended] = (await stage.lines(mark, 2)).filter(isEnded);
    expect(ended).toMatchObject({ verdict: 'observe', outcome: 'closed', bytes_up: bytes.length });
    expect(['sni-mismatch', 'not-tls']).toContain(ended?.reason);
    await stage.good(mark, 2);
  });
});
