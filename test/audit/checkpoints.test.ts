// Checkpoints in a place of their own, and the roster in them: what is seen when somebody has been at the segments, at a checkpoint, or at
// all of a node.
import { generateKeyPairSync } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Checkpoint, checkpointText, isSigned, parseCheckpoint } from '../../src/audit/checkpoint.ts';
import { FolderPlace } from '../../src/audit/folder-place.ts';
import { RosterBook } from '../../src/audit/roster.ts';
import { Shipper } from '../../src/audit/ship.ts';
import { verifyShipped } from '../../src/audit/verify-shipped.ts';
import { ScratchLog } from '../support/audit.ts';
import { decidedRecord } from '../support/records.ts';

const KEY = generateKeyPairSync('ed25519');
const NAME = 'audit.jsonl.checkpoint.json';

let scratches: ScratchLog[];
let dir: string;
let second: string;
let now: string;

beforeEach(() => {
  scratches = [new ScratchLog(), new ScratchLog()];
  const [{ directory } = { directory: '' }] = scratches;
  dir = join(directory, 'shipped');
  second = join(directory, 'checkpoints');
  now = '2026-03-01T12:00:00.000Z';
});
afterEach(() => {
  for (const scratch of scratches) scratch.close();
});

const to = (place: string) => ({ place: new FolderPlace(place), key: KEY.privateKey });
const shipper = (index: number, over: Partial<ConstructorParameters<typeof Shipper>[0]> = {}): Shipper =>
  new Shipper({
    file: (scratches[index] as ScratchLog).file,
    node: `proxy-${index + 1}`,
    ship: to(dir),
    checkpoints: to(second),
    rosterMax: 100,
    now: () => new Date(now),
    ...over,
  });

/** A log with some closed segments; more requests make more of them. */
function write(index: number, requests = 30): void {
  const scratch = scratches[index] as ScratchLog;
  const log = scratch.open({ rotateBytes: 4_000, node: `proxy-${index + 1}` });
  for (let n = 0; n < requests; n++) log.decided(decidedRecord({ id: `r${n}`, verdict: 'deny' }));
  log.close();
}

const verify = (over: Partial<Parameters<typeof verifyShipped>[0]> = {}) =>
  verifyShipped({ dir, checkpoints: second, keys: [KEY.publicKey], expected: [], window: null, ...over });
const checkpoint = (place: string, node: string): Checkpoint =>
  parseCheckpoint(fs.readFileSync(join(place, node, NAME), 'utf8')) as Checkpoint;
const whys = async (): Promise<string> =>
  (await verify()).logs.flatMap(({ problems }) => problems.map(({ why }) => why)).join('\n');

/** Two nodes that have seen each other, at noon. */
async function twoNodes(): Promise<{ first: Shipper; second: Shipper }> {
  write(0);
  write(1);
  const nodes = { first: shipper(0), second: shipper(1) };
  await nodes.first.round();
  await nodes.second.round();
  await shipper(0).round();
  return nodes;
}

describe('the place of checkpoints', () => {
  it('has what the checkpoints beside the segments have', async () => {
    await twoNodes();
    expect(checkpoint(second, 'proxy-1').files).toEqual(checkpoint(dir, 'proxy-1').files);
    expect(isSigned(checkpoint(second, 'proxy-2'), [KEY.publicKey])).toBe(true);
    expect(await verify()).toMatchObject({ missing: [], logs: [{ complete: true }, { complete: true }] });
  });

  it('shows what was removed together with the checkpoint beside it', async () => {
    const { first } = await twoNodes();
    const old = fs.readFileSync(join(dir, 'proxy-1', NAME));
    write(0, 30);
    const { shipped } = await first.round();
    expect(shipped.length).toBeGreaterThan(0);
    for (const name of shipped) fs.rmSync(join(dir, 'proxy-1', `${name}.gz`));
    fs.writeFileSync(join(dir, 'proxy-1', NAME), old);
    // By the checkpoint beside them all is well, but for what the other node has not seen yet.
    expect(await verify({ checkpoints: dir })).toMatchObject({ logs: [{ complete: true }, { complete: true }] });
    expect(await whys()).toContain('it was shipped and is not here');
  });

  it('is written though the segments cannot be, and the other way round', async () => {
    write(0);
    fs.writeFileSync(dir, '');
    await expect(shipper(0).round()).rejects.toThrow(/EEXIST|ENOTDIR/);
    expect(checkpoint(second, 'proxy-1').files).toEqual({});
    fs.rmSync(dir);
    fs.rmSync(second, { recursive: true });
    fs.writeFileSync(second, '');
    await expect(shipper(0).round()).rejects.toThrow(/EEXIST|ENOTDIR/);
    expect(fs.readdirSync(join(dir, 'proxy-1')).length).toBeGreaterThan(1);
    expect(Object.keys(checkpoint(dir, 'proxy-1').files).length).toBeGreaterThan(0);
  });

  it('can be all there is', async () => {
    write(0);
    expect(await shipper(0, { ship: null }).round()).toMatchObject({ shipped: [], waiting: 0 });
    expect(checkpoint(second, 'proxy-1').last?.seq).toBeGreaterThan(30);
    expect(fs.existsSync(dir)).toBe(false);
  });

  it('knows that a process has ended in good order', async () => {
    write(0);
    await shipper(0).round(true);
    expect(checkpoint(second, 'proxy-1').stopped).toBe(true);
    await shipper(0).round();
    expect(checkpoint(second, 'proxy-1').stopped).toBe(false);
  });
});

describe('the roster', () => {
  it('names the other logs, and is kept over processes', async () => {
    await twoNodes();
    const seen = { first: now, last: now, seq: checkpoint(second, 'proxy-2').last?.seq };
    expect(checkpoint(second, 'proxy-1').roster).toEqual({ 'proxy-2/audit.jsonl': seen });
    fs.rmSync(join(second, 'proxy-2'), { recursive: true });
    now = '2026-03-01T13:00:00.000Z';
    await shipper(0).round();
    expect(checkpoint(second, 'proxy-1').roster).toEqual({ 'proxy-2/audit.jsonl': seen });
  });

  it('misses a node of which all was removed, in the time in which it was seen', async () => {
    await twoNodes();
    for (const place of [dir, second]) fs.rmSync(join(place, 'proxy-2'), { recursive: true });
    expect(await verify()).toMatchObject({ missing: ['proxy-2'], logs: [{ node: 'proxy-1', complete: true }] });
    const at = (from: string, until: string) => verify({ window: { from: Date.parse(from), to: Date.parse(until) } });
    expect(await at('2026-03-01T11:00Z', '2026-03-01T12:30Z')).toMatchObject({ missing: ['proxy-2'] });
    expect(await at('2026-03-01T12:01Z', '2026-03-01T13:00Z')).toMatchObject({ missing: [] });
    expect(await at('2026-03-01T11:00Z', '2026-03-01T12:00Z')).toMatchObject({ missing: [] });
  });

  it('misses one log of a node that has others', async () => {
    await twoNodes();
    for (const place of [dir, second])
      fs.renameSync(join(place, 'proxy-2', NAME), join(place, 'proxy-2', 'other.jsonl.checkpoint.json'));
    expect(await whys()).toMatch(/is of audit\.jsonl[\s\S]*other nodes have seen this log/);
  });

  it('sees that an older checkpoint was put back everywhere', async () => {
    const { second: node } = await twoNodes();
    const old = fs.readFileSync(join(second, 'proxy-2', NAME));
    const gone = fs.readdirSync(join(dir, 'proxy-2'));
    now = '2026-03-01T13:00:00.000Z';
    write(1, 60);
    await node.round();
    await shipper(0).round();
    expect(await verify()).toMatchObject({ missing: [], logs: [{ complete: true }, { complete: true }] });
    for (const name of fs.readdirSync(join(dir, 'proxy-2')))
      if (!gone.includes(name)) fs.rmSync(join(dir, 'proxy-2', name));
    for (const place of [dir, second]) fs.writeFileSync(join(place, 'proxy-2', NAME), old);
    expect(await whys()).toMatch(/another node has seen one from 2026-03-01T13:00:00\.000Z: an older one was put back/);
  });

  it('is signed', async () => {
    await twoNodes();
    const found = checkpoint(second, 'proxy-1');
    const text = JSON.stringify({ ...found, roster: {} });
    expect(isSigned(parseCheckpoint(text) as Checkpoint, [KEY.publicKey])).toBe(false);
    expect(isSigned(found, [KEY.publicKey])).toBe(true);
    // Whatever the order of keys in the file.
    const turned = JSON.stringify(Object.fromEntries(Object.entries(found).reverse()));
    expect(isSigned(parseCheckpoint(turned) as Checkpoint, [KEY.publicKey])).toBe(true);
    expect(checkpointText(found, null)).toContain('"signature"');
  });

  it('takes nothing in that would make the checkpoint unreadable, or says that it is from tomorrow', async () => {
    write(0);
    const of = (node: string, log: string, time = now): string =>
      checkpointText(
        { ...{ format: 1, node, time, log, last: null, stopped: false }, files: {}, roster: {} },
        KEY.privateKey,
      );
    // As a bucket lists it: names below the folder of a node.
    const here: Record<string, string> = {
      'evil/sub/x.jsonl': of('evil', 'sub/x.jsonl'),
      [`evil/${'x'.repeat(256)}`]: of('evil', 'x'.repeat(256)),
      'evil/z\0.jsonl': of('evil', 'z\0.jsonl'),
      'proxy-2/audit.jsonl': of('proxy-2', 'audit.jsonl', '2026-03-01T13:00:00.000Z'),
      'proxy-3/audit.jsonl': of('proxy-3', 'audit.jsonl', '2026-03-01T13:00:00.001Z'),
    };
    const place = new FolderPlace(dir);
    const names = Object.keys(here).map((name) => [
      name.slice(0, name.indexOf('/')),
      name.slice(name.indexOf('/') + 1),
    ]);
    place.folders = async () => [...new Set(names.map(([folder = '']) => folder))];
    const { list, read } = place;
    place.list = async (folder) => {
      const logs = names.flatMap(([one, log]) => (one === folder ? [`${log}.checkpoint.json`] : []));
      return logs.length > 0 ? new Set(logs) : list.call(place, folder);
    };
    place.read = async (folder, name) =>
      here[`${folder}/${name.replace('.checkpoint.json', '')}`] ?? read.call(place, folder, name);
    await shipper(0, { ship: { place, key: KEY.privateKey }, checkpoints: null }).round();
    expect(Object.keys(checkpoint(dir, 'proxy-1').roster).sort()).toEqual([
      `evil/${'x'.repeat(256)}`,
      'proxy-2/audit.jsonl',
    ]);
  });

  it('keeps those that spoke last, up to its limit, and says that it leaves some out', async () => {
    const entry = (hour: number) => {
      const time = `2026-03-01T${String(hour).padStart(2, '0')}:00:00.000Z`;
      return { first: time, last: time, seq: hour };
    };
    const roster = Object.fromEntries([1, 2, 3].map((hour) => [`proxy-${hour}/audit.jsonl`, entry(hour)]));
    const book = new RosterBook({ node: 'me', log: 'audit.jsonl' }, 3);
    expect(book.recall(roster)).toBe(false);
    expect(book.recall({ 'proxy-4/audit.jsonl': entry(4), 'me/audit.jsonl': entry(9) })).toBe(true);
    expect(Object.keys(book.roster)).toEqual([4, 3, 2].map((hour) => `proxy-${hour}/audit.jsonl`));
    expect(book.recall({ 'evil/sub/x.jsonl': entry(9), '/x': entry(9), evil: entry(9) })).toBe(false);
    book.recall({ 'proxy-4/audit.jsonl': { ...entry(2), seq: 1 } });
    expect(book.roster['proxy-4/audit.jsonl']).toEqual({ ...entry(4), first: entry(2).first });
  });
});
