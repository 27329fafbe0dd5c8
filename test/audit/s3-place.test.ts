// A bucket as the second place, against a store that checks every signature, hash and condition, and fails in every way that a store can.
import fs from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mirrorPlace } from '../../src/audit/mirror.ts';
import { S3Place } from '../../src/audit/s3-place.ts';
import { Shipper } from '../../src/audit/ship.ts';
import { verifyShipped } from '../../src/audit/verify-shipped.ts';
import type { BucketPlace } from '../../src/config/second-place.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { ScratchLog } from '../support/audit.ts';
import { BucketStore } from '../support/bucket-store.ts';
import { decidedRecord } from '../support/records.ts';
import { certificateFor, testCa } from '../support/tls.ts';

const ENV = { AWS_ACCESS_KEY_ID: 'AKIDTEST', AWS_SECRET_ACCESS_KEY: 'secret/+key' };

let store: BucketStore;
let scratch: ScratchLog;
let waits: number[];

beforeEach(async () => {
  store = await BucketStore.start();
  scratch = new ScratchLog();
  waits = [];
});
afterEach(async () => {
  scratch.close();
  await store.close();
});

function place(over: Partial<BucketPlace> = {}, env: Record<string, string> = ENV, limits = {}): S3Place {
  const bucket: BucketPlace = {
    ...{ kind: 's3', endpoint: store.endpoint, region: 'eu-central-1', bucket: 'acme-audit', prefix: 'egress/' },
    ...{ caFile: null, credentials: null },
    ...over,
  };
  return new S3Place({
    place: bucket,
    limits: { ...DEFAULT_LIMITS, ...limits },
    env,
    file: scratch.file,
    now: () => new Date(),
    wait: async (ms) => void waits.push(ms),
  });
}

const shipper = (to = place(), node = 'proxy-1'): Shipper =>
  new Shipper({
    ...{ file: scratch.file, node, checkpoints: null, rosterMax: 100, now: () => new Date() },
    ship: { place: to, key: null },
  });

/** A log with closed segments. */
function write(requests = 30): void {
  const log = scratch.open({ rotateBytes: 4_000 });
  for (let n = 0; n < requests; n++) log.decided(decidedRecord({ id: `r${n}`, verdict: 'deny' }));
  log.close();
}

const segments = (): string[] => [...store.objects.keys()].filter((key) => key.endsWith('.gz')).sort();
const plain = (): string[] =>
  fs
    .readdirSync(scratch.directory)
    .filter((name) => /^audit\.jsonl\.\d{12}$/.test(name))
    .map((name) => fs.readFileSync(join(scratch.directory, name), 'latin1'));
const unpacked = (): string[] =>
  segments().map((key) => gunzipSync(store.objects.get(key) as Buffer).toString('latin1'));
const leftovers = (): string[] => fs.readdirSync(scratch.directory).filter((name) => name.includes('.ship-'));

describe('a round to a bucket', () => {
  it('puts each closed segment there once, whole, with nothing left beside the log', async () => {
    write();
    const ship = shipper();
    const { shipped } = await ship.round();
    expect(store.wrong).toEqual([]);
    expect(segments()).toEqual(shipped.map((name) => `egress/proxy-1/${name}.gz`).sort());
    expect(unpacked()).toEqual(plain());
    expect(await ship.round()).toMatchObject({ shipped: [], waiting: 0 });
    expect(store.asked.filter((asked) => /^PUT .*\.gz$/.test(asked))).toHaveLength(shipped.length);
    expect([...store.objects.keys()]).toContain('egress/proxy-1/audit.jsonl.checkpoint.json');
    expect(leftovers()).toEqual([]);
  });

  it.each(['understood', 'ignored', 'refused'] as const)(
    'never writes over what is there, where conditions are %s',
    async (conditions) => {
      store.conditions = conditions;
      write();
      const { shipped } = await shipper().round();
      expect(unpacked()).toEqual(plain());
      const key = `egress/proxy-1/${shipped[0]}.gz`;
      // The checkpoint of a process that was killed before it was written: the files are there.
      store.objects.delete('egress/proxy-1/audit.jsonl.checkpoint.json');
      store.asked.length = 0;
      expect((await shipper().round()).shipped).toEqual(shipped);
      expect(store.asked.filter((asked) => /^PUT .*\.gz$/.test(asked))).toEqual([]);
      const forged = gzipSync('forged');
      store.objects.set(key, forged);
      store.objects.delete('egress/proxy-1/audit.jsonl.checkpoint.json');
      await expect(shipper().round()).rejects.toMatchObject({ code: 'ship-conflict' });
      expect(store.objects.get(key)).toBe(forged);
      expect(leftovers()).toEqual([]);
    },
  );

  it.each<[string, Parameters<BucketStore['fail']>]>([
    ['is busy', ['PUT', 'busy', 'busy']],
    ['cuts the upload', ['PUT', 'cut', 'cut', 'cut']],
    ['loses its answer', ['PUT', 'lost']],
    ['breaks off a listing', ['GET', 'torn']],
    ['is busy with a look', ['HEAD', 'busy']],
  ])('goes on in the same round where the store %s', async (_what, faults) => {
    write();
    store.fail(...faults);
    await shipper().round();
    expect(unpacked()).toEqual(plain());
    expect(store.faults).toEqual([]);
    expect(waits.length).toBeGreaterThan(0);
    for (const ms of waits) expect(ms).toBeLessThanOrEqual(10_000);
  });

  it('gives up after as many attempts as it may, and the next round goes on', async () => {
    write();
    store.fail('PUT', 'busy', 'busy', 'busy');
    const ship = shipper(place({}, ENV, { ship_attempts_max: 3 }));
    await expect(ship.round()).rejects.toMatchObject({
      code: 'ship-failed',
      message: expect.stringMatching(/503 SlowDown/),
    });
    expect(store.faults).toEqual([]);
    expect(leftovers()).toEqual([]);
    store.fail('PUT', 'busy', 'busy');
    await ship.round();
    expect(unpacked()).toEqual(plain());
  });

  it('ends a request in which nothing moves', async () => {
    write();
    store.fail('PUT', 'hang');
    const ship = shipper(place({}, ENV, { ship_attempts_max: 1, ship_timeout_ms: 1_000 }));
    await expect(ship.round()).rejects.toThrow(/nothing moved for 1000 ms/);
    store.faults.length = 0;
    await shipper().round();
    expect(unpacked()).toEqual(plain());
  });

  it('does not believe a store that keeps half of a file', async () => {
    write();
    store.fail('PUT', 'half');
    await expect(shipper().round()).rejects.toMatchObject({
      code: 'ship-failed',
      message: expect.stringMatching(/has \d+ bytes there/),
    });
    // Nor later: it stands under the name of the segment.
    await expect(shipper().round()).rejects.toMatchObject({ code: 'ship-conflict' });
  });

  it('fetches nothing of the name of a segment that is far longer than it', async () => {
    write();
    const { shipped } = await shipper().round();
    const key = `egress/proxy-1/${shipped[0]}.gz`;
    const size = store.objects.get(key)?.length ?? 0;
    store.objects.delete('egress/proxy-1/audit.jsonl.checkpoint.json');
    for (const bytes of [2 * size + 65_536, 2 * size + 65_537]) {
      store.objects.set(key, Buffer.alloc(bytes));
      store.asked.length = 0;
      await expect(shipper().round()).rejects.toMatchObject({ code: 'ship-conflict' });
      expect(store.asked.includes(`GET ${key}`)).toBe(bytes <= 2 * size + 65_536);
    }
    expect(leftovers()).toEqual([]);
  });

  it('takes away what a process that was killed has left, and nothing of one that lives', async () => {
    const left = (pid: number): string => join(scratch.directory, `.audit.jsonl.000000000001-aaaaaaaa.gz.ship-${pid}`);
    // No process can have this number.
    const dead = left(2 ** 30);
    const alive = left(process.ppid);
    for (const file of [dead, alive]) fs.writeFileSync(file, 'half');
    place();
    expect([dead, alive].map((file) => fs.existsSync(file))).toEqual([false, true]);
  });
});

describe('who is not let in', () => {
  it.each<[string, Record<string, string>, RegExp]>([
    ['a wrong secret', { ...ENV, AWS_SECRET_ACCESS_KEY: 'other' }, /403 SignatureDoesNotMatch/],
    ['an unknown key', { ...ENV, AWS_ACCESS_KEY_ID: 'AKIDOTHER' }, /403 InvalidAccessKeyId/],
    ['half of the variables', { AWS_ACCESS_KEY_ID: 'AKIDTEST' }, /must both be set/],
    ['nothing', {}, /there are no credentials/],
  ])('hears so at once: %s', async (_what, env, why) => {
    write();
    await expect(shipper(place({}, env)).round()).rejects.toMatchObject({
      code: 'ship-credentials',
      message: expect.stringMatching(why),
    });
    expect(waits).toEqual([]);
    expect(leftovers()).toEqual([]);
  });

  it('says which bucket is not there', async () => {
    write();
    await expect(shipper(place({ bucket: 'acme-other' })).round()).rejects.toMatchObject({
      code: 'ship-failed',
      message: expect.stringMatching(/^s3:\/\/acme-other\/egress\/: .*404 NoSuchBucket/),
    });
  });

  it('shows no secret in what it says', async () => {
    write();
    const error = await shipper(place({}, { ...ENV, AWS_SECRET_ACCESS_KEY: 'hush' }))
      .round()
      .catch(String);
    expect(error).not.toContain('hush');
    expect(error).not.toContain('AKIDTEST');
  });
});

it('speaks TLS with a store of an own authority, and with no other', async () => {
  await store.close();
  store = await BucketStore.start(certificateFor(['127.0.0.1']));
  write();
  await expect(shipper(place({}, ENV, { ship_attempts_max: 1 })).round()).rejects.toMatchObject({
    code: 'ship-failed',
    message: expect.stringMatching(/certificate/),
  });
  expect(store.asked).toEqual([]);
  await shipper(place({ caFile: testCa().caFile })).round();
  expect([store.wrong, unpacked()]).toEqual([[], plain()]);
  expect(() => place({ caFile: '/nowhere/ca.pem' })).toThrow(/\/nowhere\/ca\.pem cannot be read: ENOENT/);
});

it('signs the token of a session', async () => {
  store.token = 'session/token==';
  write();
  await shipper(place({}, { ...ENV, AWS_SESSION_TOKEN: 'session/token==' })).round();
  expect([store.wrong, unpacked()]).toEqual([[], plain()]);
});

it('is read back over many pages, and verified as a folder is; what is not ours is left there', async () => {
  store.pageKeys = 2;
  write(60);
  await shipper().round();
  await shipper(place(), 'proxy/2 ü').round();
  for (const key of ['egress/x', 'egress/../../up/a', 'egress/proxy-1/a/b', 'egress/a<&>b/.hidden', 'other/proxy-9/a'])
    store.objects.set(key, Buffer.from('x'));
  const dir = join(scratch.directory, 'mirror');
  const fetched: string[] = [];
  await mirrorPlace(place(), dir, { wanted: () => true, fetched: (name) => fetched.push(name) });
  expect(fs.readdirSync(dir).sort()).toEqual(['a<&>b', 'proxy%2F2%20%C3%BC', 'proxy-1']);
  expect(store.wrong).toEqual([]);
  fs.rmSync(join(dir, 'a<&>b'), { recursive: true });
  const found = await verifyShipped({
    dir,
    checkpoints: dir,
    keys: [],
    expected: ['proxy-1', 'proxy/2 ü'],
    window: null,
  });
  expect(found).toMatchObject({ missing: [], logs: [{ complete: true }, { complete: true }] });
});

it('copies what has the longest name that a file may have', async () => {
  write();
  await shipper().round();
  const name = `${'ü'.repeat(127)}x`;
  store.objects.set(`egress/proxy-1/${name}`, Buffer.from('x'));
  const dir = join(scratch.directory, 'mirror');
  await mirrorPlace(place(), dir, { wanted: () => true, fetched: () => {} });
  expect(fs.readFileSync(join(dir, 'proxy-1', name), 'utf8')).toBe('x');
});

it.each([
  ['of a file', `egress/proxy-1/${'ü'.repeat(200)}`, 400],
  ['of a node', `egress/${'x'.repeat(256)}/a`, 256],
])('says which name %s is too long for a copy', async (_, key, bytes) => {
  write();
  await shipper().round();
  store.objects.set(key, Buffer.from('x'));
  const dir = join(scratch.directory, 'mirror');
  await expect(mirrorPlace(place(), dir, { wanted: () => true, fetched: () => {} })).rejects.toMatchObject({
    code: 'ship-failed',
    message: expect.stringMatching(new RegExp(`^s3://\\S+: the name "[xü]{60}…" has ${bytes} bytes`)),
  });
});
