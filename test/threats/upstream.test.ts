// Section "Upstream" of docs/threat-model.md: what fails behind an allowed name, and how soon. A full backlog on loopback
// stands for an origin that never answers a SYN: no routable address is ever contacted.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launch } from '../support/proxy-process.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { ALLOWED, connect, failed, isDecided, refusedAfterLookup, row, useStage, works } from './stage.ts';

const CASE_MS = 10_000;

// Listens with room for one, never accepts, and fills that room itself: further SYNs are dropped by the kernel.
const DEAF = `
import socket, sys
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(0)
held = []
for _ in range(4):
    c = socket.socket(); c.setblocking(False); c.connect_ex(s.getsockname()); held.append(c)
held[0].setblocking(True); held[0].settimeout(10); held[0].getpeername()
print('deaf', s.getsockname()[1], flush=True)
sys.stdin.read()
import threading; threading.Event().wait()
`;
let deaf: { readonly child: { kill(signal: 'SIGKILL'): boolean } };
let deafPort = 0;

beforeAll(async () => {
  const running = launch(['python3', writeFile(join(tempDir('deaf'), 'deaf.py'), DEAF)]);
  deaf = running;
  deafPort = Number((await running.printed(/deaf (\d+)/))[1]);
});
afterAll(() => void deaf.child.kill('SIGKILL'));

const stage = useStage({
  policy: (one) => ({
    allow: [
      one.rule(ALLOWED),
      one.rule('nobody.test', { addresses: ['127.0.0.4/32'] }),
      one.rule('second.test', { addresses: ['127.0.0.1/32', '127.0.0.4/32'] }),
      one.rule('inside.test'),
      one.rule('missing.test'),
      one.rule('deaf.test', { ports: [deafPort], protocol: 'any' }),
      one.rule('http.test', { protocol: 'http', ports: [deafPort, one.port] }),
    ],
    limits: { connect_timeout_ms: 1_000 },
  }),
  names: {
    'nobody.test': ['127.0.0.4'],
    'second.test': ['127.0.0.4', '127.0.0.1'],
    'inside.test': ['127.0.0.3'],
    'deaf.test': ['127.0.0.1'],
    'http.test': ['127.0.0.1'],
  },
});
const at = (host: string): string => connect(`${host}:{p}`);

row('U1 an origin that refuses is a 502, and so is a name that does not exist', stage, [
  ['refused', at('nobody.test'), failed(502, 'connect-refused')],
  ['no such name', at('missing.test'), refusedAfterLookup(502, 'dns-failed')],
  ['the first address refuses, the second serves', at('second.test'), works('second.test')],
]);

row('U3 an allowed name with a forbidden address is a 403', stage, [
  ['loopback that the rule does not list', at('inside.test'), refusedAfterLookup(403, 'address-prohibited')],
]);

describe('U2 an origin that never answers is a 504 in bounded time', () => {
  it('by CONNECT', { timeout: CASE_MS }, () =>
    stage.run(connect(`deaf.test:${deafPort}`), failed(504, 'connect-timeout')),
  );

  it('by a plain request', { timeout: CASE_MS }, () =>
    stage.run(`GET http://http.test:${deafPort}/ HTTP/1.1\r\nHost: http.test\r\n\r\n`, failed(504, 'connect-timeout')),
  );

  it('a client that leaves meanwhile ends the dial, and the record says so', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(connect(`deaf.test:${deafPort}`));
    await stage.lines(mark, 1);
    client.socket.resetAndDestroy();
    const lines = await stage.lines(mark, 2);
    expect(lines[1]).toMatchObject({ event: 'ended', outcome: 'client-gone', bytes_up: 0 });
    await stage.good(mark, 2);
  });

  it('while it waits, others are served', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const waiting = await Promise.all(Array.from({ length: 20 }, () => stage.client()));
    for (const client of waiting) client.send(connect(`deaf.test:${deafPort}`));
    await stage.lines(mark, 20);
    await stage.good();
    for (const client of waiting) {
      expect((await client.readHead()).status).toBe(504);
      client.close();
    }
  });
});

describe('U3 an allowed name with a forbidden address is a 403: it says why', () => {
  it('the class stands in the body and in the record', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(at('inside.test')));
    const answer = await stage.holdsRefusal(client, mark, {
      kind: 'refused',
      status: 403,
      code: 'address-prohibited',
      resolves: true,
    });
    expect(answer.body).toContain('loopback');
    // What the case before has begun may end only now.
    expect(stage.since(mark).filter(isDecided)).toMatchObject([{ dropped: ['127.0.0.3 loopback'] }]);
    client.close();
  });
});
