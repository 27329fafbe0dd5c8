// What observe mode lifts below a host, and what records say of a path: the names of the query's keys, never their values.
import type http from 'node:http';
import { describe, expect, it } from 'vitest';
import { redecide } from '../../src/proxy/redecide.ts';
import { httpsOrigin, request, stageFor } from './inspected-support.ts';

const hello: http.RequestListener = (req, res) => void res.end(`${req.method} ${req.url}`);
const RULE = 'allow: [{ path: "/acme/**" }], deny: [{ path: "/acme/secret" }]';

describe('below an inspected host', () => {
  it('observe mode lifts that no line lets a request through, and neither a deny nor what nobody can read', async () => {
    const { client, target, rig } = await stageFor(await httpsOrigin(hello), { rule: `${RULE}, mode: observe` });
    const one = await client();
    const answers: (number | undefined)[] = [];
    for (const path of ['/evil', '/acme/secret', '/acme/../evil', '/acme/x']) {
      one.send(request(target, path));
      answers.push((await one.readResponse()).status);
    }
    expect(answers).toEqual([200, 403, 403, 200]);
    expect(rig.recorder.allDecided.slice(1).map(({ verdict, reason }) => `${verdict} ${reason}`)).toEqual([
      'observe request-not-allowed',
      'deny request-denied',
      'deny request-ambiguous',
      'observe host-not-allowed',
    ]);
  });

  it('records, and whoever watches them, get no value of a query', async () => {
    const { client, target, rig } = await stageFor(await httpsOrigin(hello), { rule: RULE });
    const one = await client();
    for (const path of ['/acme/x?token=s3cret&page=2', '/evil?token=s3cret', '/acme/../x?token=s3cret']) {
      one.send(request(target, path));
      await one.readResponse();
    }
    await rig.recorder.endedAt(1);
    const records = [...rig.recorder.allDecided, ...rig.recorder.allEnded];
    expect(JSON.stringify(records)).not.toContain('s3cret');
    expect(records.filter(({ path }) => path === '/acme/x?token=…&page=…')).toHaveLength(2);
  });
});

describe('a reload', () => {
  it('refuses a tunnel that nobody looks into where its rule is inspected now, and what the rule no longer lets through', async () => {
    const origin = await httpsOrigin((req, res) => {
      if (req.url === '/acme/slow') res.write('x');
      else res.end();
    });
    const { client, target, rig, ca, port } = await stageFor(origin, { rule: RULE });
    const rule = `host: git.test, ports: [${port}], addresses: [127.0.0.0/8]`;
    const head = `inspection: { ca: { cert: ${ca.cert}, key: ${ca.key} } }`;
    const inspected = await client();
    inspected.send(request(target, '/acme/slow'));
    await rig.recorder.decidedAt(2);
    rig.swapPolicy(`${head}\nallow: [{ ${rule} }]`);
    expect(await redecide(rig.ctx, 'keep')).toEqual({ decided: 2, refused: 0 });
    const { socket } = await rig.tunnel(target);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    rig.swapPolicy(`${head}\nallow: [{ ${rule}, inspect: true, allow: [{ path: /acme/slow }] }]`);
    expect(await redecide(rig.ctx, 'cut')).toEqual({ decided: 3, refused: 1 });
    await closed;
    rig.swapPolicy(`${head}\nallow: [{ ${rule}, inspect: true, allow: [{ path: /other }] }]`);
    expect(await redecide(rig.ctx, 'cut')).toEqual({ decided: 2, refused: 1 });
    expect(await rig.recorder.endedAt(2)).toMatchObject({ path: '/acme/slow', outcome: 'policy-changed' });
  });
});
