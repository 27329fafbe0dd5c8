// The rows of docs/threat-model.md on a policy of many teams: whoever may write one pipeline's file, a row of the store, or what stands at the
// policy's URL, gets no more than the ceiling and the base allow, and learns nothing of others.
import { generateKeyPairSync } from 'node:crypto';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeBundle, readBundle } from '../../src/config/load-bundle.ts';
import { openStore } from '../../src/usage/store.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLines, PROCESSES_MS } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { writeFile, writePolicy } from '../support/temp.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

/** Clients of these addresses are these pipelines. */
const AS = { web: '127.0.0.21', api: '127.0.0.22', other: '127.0.0.23' } as const;
const [MINE, EVIL, SHARED] = ['mine.corp.test', 'evil.test', 'shared.test'];

let world: World;
let origin: Origin;

beforeAll(async () => {
  origin = await startOrigin(echo);
  const rule = (host: string) => ({ host, ports: [origin.port], protocol: 'any', addresses: LOOPBACK });
  const groups = Object.entries(AS).map(([pipeline, address]) => ({ from: [`${address}/32`], set: { pipeline } }));
  world = await startWorld(
    { allow: [rule(SHARED)], clients: { from: LOOPBACK, groups }, limits: { grants_poll_ms: 100 } },
    { [MINE]: ['127.0.0.1'], [EVIL]: ['127.0.0.1'], [SHARED]: ['127.0.0.1'] },
  );
  const folder = dirname(world.configFile);
  writePolicy(join(folder, 'ceiling.yaml'), { version: 1, allow: [rule('*.corp.test')] });
  writePolicy(join(folder, 'pipelines/web.yaml'), { version: 1, allow: [rule(MINE)] });
  writePolicy(join(folder, 'pipelines/api.yaml'), { version: 1, allow: [rule(EVIL), rule(MINE)] });
  writePolicy(join(folder, 'pipelines/greedy.yaml'), {
    version: 1,
    allow: [{ ...rule(MINE), for: { pipeline: '*' } }],
  });
  writeFile(join(folder, 'pipelines/*.yaml'), `version: 1\nallow: [${MINE}]\n`);
  world.write({
    layers: { ceiling: 'ceiling.yaml', pipelines: [{ file: 'pipelines/*.yaml', for: { pipeline: '{name}' } }] },
  });
  await auditLines(world.auditFile, (all) => all.some(({ event }) => event === 'policy'));
}, PROCESSES_MS);

afterAll(async () => {
  await world.close();
  await origin.close();
});

async function asked(host: string, who: keyof typeof AS): Promise<{ answer: string; whole: string }> {
  const client = await RawClient.connect(world.proxy.proxy, { localAddress: AS[who] });
  client.send(`CONNECT ${host}:${origin.port} HTTP/1.1\r\nHost: ${host}:${origin.port}\r\n\r\n`);
  const { status, reason, headers } = await client.readHead();
  const body = status === 200 ? '' : (await client.readAll()).toString('utf8');
  client.close();
  return { answer: `${status} ${reason}`, whole: `${JSON.stringify(headers)}${body}` };
}

const PASSES = '200 Connection established';
const REFUSED = '403 host-not-allowed';

describe('K1 a file of a pipeline that is outside the ceiling is not in force, and the others are', () => {
  it('its rules inside the ceiling neither', async () => {
    expect((await asked(MINE, 'api')).answer).toBe(REFUSED);
    expect((await asked(EVIL, 'api')).answer).toBe(REFUSED);
    expect((await asked(MINE, 'web')).answer).toBe(PASSES);
    for (const who of ['web', 'api', 'other'] as const) expect((await asked(SHARED, who)).answer).toBe(PASSES);
  });
});

describe('K2 a file of a pipeline cannot say whom it is for', () => {
  it('neither by its rules nor by its name', async () => {
    expect((await asked(MINE, 'other')).answer).toBe(REFUSED);
  });
});

describe('K3 what one pipeline was granted is told to no other', () => {
  it.each([MINE, `x.${MINE}`, 'mime.corp.test', 'nothing.corp.test'])('asking for %s', async (host) => {
    const { answer, whole } = await asked(host, 'other');
    expect(answer).toBe(REFUSED);
    expect(whole.replaceAll(host, '')).not.toMatch(/corp\.test|pipelines\/|web\.yaml|ceiling/);
  });
});

describe('K4 a row of the store grants nothing that the ceiling does not', () => {
  it('not outside, not for all, not for ever', async () => {
    const store = await openStore(join(world.dir, 'data', 'usage.db'), 'write');
    const now = Date.now();
    const row = {
      port: origin.port,
      protocol: 'any',
      addresses: '["127.0.0.0/8"]',
      reason: 'x',
      owner: 'x',
      granted_by: 'x',
    };
    const more = {
      ...row,
      created: now,
      expires: now + 60_000,
      revoked: 0,
      revoked_by: '',
      selector: '{"pipeline":["other"]}',
    };
    await store.db
      .insertInto('granted')
      .values([
        { ...more, id: 'outside', host: EVIL },
        { ...more, id: 'all', host: MINE, selector: '{}' },
        { ...more, id: 'ever', host: MINE, expires: now * 2 },
      ])
      .execute();
    await store.close();
    const seen = await auditLines(world.auditFile, (all) => all.filter(({ event }) => event === 'grant').length >= 3);
    const results = seen.flatMap((line) => (line.event === 'grant' ? [line.detail['result']] : []));
    expect(results).toEqual(['refused', 'refused', 'refused']);
    expect((await asked(EVIL, 'other')).answer).toBe(REFUSED);
    expect((await asked(MINE, 'other')).answer).toBe(REFUSED);
  });
});

describe('K5 a policy bundle that nobody trusted has signed, or that was altered, is not taken', () => {
  const [ours, theirs] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')];
  const good = makeBundle({ 'sallyport.yaml': 'version: 1\nallow: [a.test]\n' }, 5, 'now', ours.privateKey);

  it.each<[string, string]>([
    ['by another key', makeBundle({ 'sallyport.yaml': 'version: 1\n' }, 5, 'now', theirs.privateKey)],
    ['another text', good.replace('a.test', 'b.test')],
    ['another number', good.replace('"serial":5', '"serial":6')],
    ['a file out of its folder', good.replace('"sallyport.yaml"', '"../sallyport.yaml"')],
  ])('%s', (_, text) => {
    expect(() => readBundle('b', text, [ours.publicKey])).toThrow(/bundle/);
    expect(readBundle('b', good, [ours.publicKey]).serial).toBe(5);
  });
});
