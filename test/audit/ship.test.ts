// Closed segments in a second place: whole or not there, once, under names that logrotate cannot change; and what a verification of that
// place finds when somebody has been at it.
import { generateKeyPairSync } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Checkpoint, checkpointText, isSigned, parseCheckpoint } from '../../src/audit/checkpoint.ts';
import { FolderPlace } from '../../src/audit/folder-place.ts';
import { contentHash, nodeFolder } from '../../src/audit/second-place.ts';
import { Shipper } from '../../src/audit/ship.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { type Shipped, verifyShipped } from '../../src/audit/verify-shipped.ts';
import { ScratchLog } from '../support/audit.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const KEY = generateKeyPairSync('ed25519');
const OTHER = generateKeyPairSync('ed25519');

let scratch: ScratchLog;
let file: string;
let dir: string;

beforeEach(() => {
  scratch = new ScratchLog();
  ({ file } = scratch);
  dir = join(scratch.file, '..', 'second place');
});
afterEach(() => scratch.close());

const shipper = (over: Partial<ConstructorParameters<typeof Shipper>[0]> = {}): Shipper =>
  new Shipper({
    file,
    node: 'proxy-1',
    ship: { place: new FolderPlace(dir), key: KEY.privateKey },
    checkpoints: null,
    rosterMax: 1_000,
    now: () => new Date('2026-11-26T12:00:00Z'),
    ...over,
  });
const folder = (): string => join(dir, 'proxy-1');
const there = (): string[] => fs.readdirSync(folder()).sort();
const verify = (expected: readonly string[] = [], over = {}): Promise<Shipped> =>
  verifyShipped({ dir, checkpoints: dir, keys: [KEY.publicKey], expected, window: null, ...over });
const check = async (...expected: string[]) => (await verify(expected)).logs;
const why = async (...expected: string[]): Promise<string[]> =>
  (await check(...expected)).flatMap(({ problems }) => problems.map((one) => one.why));

/** Some closed segments and an open file. */
function written(requests = 40) {
  const log = scratch.open({ file, rotateBytes: 5_000 });
  for (let n = 0; n < requests; n++) {
    log.decided(decidedRecord({ id: `r${n}` }));
    log.ended(endedRecord({ id: `r${n}` }));
  }
  return log;
}

const closed = (): string[] => fs.readdirSync(join(file, '..')).filter((name) => /^audit\.jsonl\.\d{12}$/.test(name));

describe('a round', () => {
  it('ships what is closed, once, with a signed checkpoint of how far the log is', async () => {
    const log = written();
    const ship = shipper();
    const first = await ship.round();
    expect(first.shipped).toHaveLength(closed().length);
    expect(first).toMatchObject({ waiting: 0 });
    expect(there()).toEqual([...first.shipped.map((name) => `${name}.gz`), 'audit.jsonl.checkpoint.json'].sort());
    const packed = first.shipped.map((name) =>
      gunzipSync(fs.readFileSync(join(folder(), `${name}.gz`))).toString('latin1'),
    );
    const plain = closed().map((name) => fs.readFileSync(join(file, '..', name), 'latin1'));
    expect(packed).toEqual(plain);
    expect((await ship.round()).shipped).toEqual([]);
    const checkpoint = parseCheckpoint(
      fs.readFileSync(join(folder(), 'audit.jsonl.checkpoint.json'), 'utf8'),
    ) as Checkpoint;
    expect(isSigned(checkpoint, [KEY.publicKey])).toBe(true);
    const all = await verifyAudit(file);
    expect(checkpoint).toMatchObject({ node: 'proxy-1', last: { seq: all.to?.seq } });
    expect(await check('proxy-1')).toMatchObject([{ complete: true, problems: [] }]);
    log.close();
  });

  it('goes on where an earlier process ended, also where logrotate has renamed and packed the files', async () => {
    const log = written();
    const before = await shipper().round();
    for (const [index, name] of closed().entries()) {
      const from = join(file, '..', name);
      fs.writeFileSync(`${file}.${index + 1}.gz`, gzipSync(fs.readFileSync(from)));
      fs.rmSync(from);
    }
    expect((await shipper().round()).shipped).toEqual([]);
    for (let n = 100; n < 120; n++) log.decided(decidedRecord({ id: `r${n}`, verdict: 'deny' }));
    const after = await shipper().round();
    expect(after.shipped.length).toBeGreaterThan(0);
    expect(there()).toHaveLength(before.shipped.length + after.shipped.length + 1);
    expect(await check()).toMatchObject([{ complete: true }]);
    log.close();
  });

  it.each(['', '.gz'])('finds a file%s again that goes away while it is about to be read', async (ending) => {
    const log = written();
    const [name = ''] = closed();
    const from = join(file, '..', name);
    const there = `${from}${ending}`;
    if (ending !== '') {
      fs.writeFileSync(there, gzipSync(fs.readFileSync(from)));
      fs.rmSync(from);
    }
    // A packed one is opened once before, to see which lines it has.
    let looks = ending === '' ? 0 : 1;
    const open = fs.createReadStream;
    const spy = vi.spyOn(fs, 'createReadStream').mockImplementation((path, options) => {
      if (path === there && looks-- === 0) fs.renameSync(there, `${file}.7${ending}`);
      return open(path, options);
    });
    const ship = shipper();
    const first = await ship.round();
    spy.mockRestore();
    expect(first.waiting).toBe(1);
    expect((await ship.round()).shipped).toHaveLength(1);
    expect(await check()).toMatchObject([{ complete: true }]);
    log.close();
  });

  it('ships another log that is begun under the same name, and does not call the two one', async () => {
    written().close();
    const ship = shipper();
    const before = await ship.round();
    for (const name of [...closed(), 'audit.jsonl']) fs.rmSync(join(file, '..', name));
    const log = scratch.open({ file, rotateBytes: 5_000 });
    for (let n = 0; n < 60; n++) log.decided(decidedRecord({ id: `other${n}`, verdict: 'deny' }));
    const after = await ship.round();
    expect(after).toMatchObject({ waiting: 0 });
    expect(after.shipped).toHaveLength(closed().length);
    expect(there()).toHaveLength(before.shipped.length + after.shipped.length + 1);
    expect(await check()).toMatchObject([{ complete: false }]);
    log.close();
  });

  it('waits with a file that was renamed until the proxy goes on in another one', async () => {
    const log = written();
    const ship = shipper();
    const before = await ship.round();
    // As logrotate does it: what is written until SIGUSR2 comes goes on into the renamed file.
    fs.renameSync(file, `${file}.1`);
    expect(await ship.round()).toMatchObject({ shipped: [], waiting: 0 });
    log.decided(decidedRecord({ id: 'late', verdict: 'deny' }));
    log.reopen();
    expect((await ship.round()).shipped).toHaveLength(1);
    expect(there()).toHaveLength(before.shipped.length + 2);
    expect(await check()).toMatchObject([{ complete: true }]);
    log.close();
  });

  it('leaves what has the name of a segment and something else in it, and says so', async () => {
    written().close();
    const { shipped } = await shipper().round();
    const place = join(folder(), `${shipped[0]}.gz`);
    fs.writeFileSync(place, gzipSync('forged'));
    fs.rmSync(join(folder(), 'audit.jsonl.checkpoint.json'));
    await expect(shipper().round()).rejects.toMatchObject({ code: 'ship-conflict' });
    expect(gunzipSync(fs.readFileSync(place)).toString()).toBe('forged');
    expect(there().filter((name) => name.includes('.part'))).toEqual([]);
  });

  it('does not sign what somebody else wrote into its checkpoint, also not under the name of another node', async () => {
    written().close();
    const { shipped } = await shipper().round();
    const place = join(folder(), 'audit.jsonl.checkpoint.json');
    const text = fs.readFileSync(place, 'utf8');
    const { files } = parseCheckpoint(text) as Checkpoint;
    const [name = ''] = shipped;
    const forged = { ...(parseCheckpoint(text) as Checkpoint) };
    forged.files = {
      ...files,
      [name]: { sha256: 'f'.repeat(64), bytes: 1 },
      other: { sha256: 'e'.repeat(64), bytes: 1 },
    };
    const texts = [
      JSON.stringify(forged),
      checkpointText(forged, OTHER.privateKey),
      checkpointText({ ...forged, node: 'proxy-2' }, KEY.privateKey),
      checkpointText({ ...forged, log: 'other.jsonl' }, KEY.privateKey),
    ];
    for (const one of texts) {
      fs.writeFileSync(place, one);
      await shipper().round();
      expect(parseCheckpoint(fs.readFileSync(place, 'utf8'))).toMatchObject({ node: 'proxy-1', files });
      expect(await check()).toMatchObject([{ complete: true }]);
    }
  });

  it('ships again what the second place has lost, and leaves no half of a file', async () => {
    const log = written();
    const ship = shipper();
    const { shipped } = await ship.round();
    fs.rmSync(join(folder(), `${shipped[0]}.gz`));
    expect((await ship.round()).shipped).toEqual([shipped[0]]);
    fs.rmSync(folder(), { recursive: true });
    // Something stands where the folder has to be.
    fs.writeFileSync(folder(), '');
    await expect(ship.round()).rejects.toThrow(/EEXIST|ENOTDIR/);
    fs.rmSync(folder());
    await ship.round();
    expect(there().filter((name) => name.includes('.part'))).toEqual([]);
    expect(await check()).toMatchObject([{ complete: true }]);
    log.close();
  });
});

describe('a verification of the second place', () => {
  let shipped: readonly string[];
  const place = (index: number): string => join(folder(), `${shipped[index]}.gz`);
  const checkpointFile = (): string => join(folder(), 'audit.jsonl.checkpoint.json');
  const rewrite = (change: (of: Checkpoint) => Checkpoint, key = KEY.privateKey): void => {
    const of = parseCheckpoint(fs.readFileSync(checkpointFile(), 'utf8')) as Checkpoint;
    fs.writeFileSync(checkpointFile(), checkpointText(change(of), key));
  };

  beforeEach(async () => {
    written().close();
    ({ shipped } = await shipper().round());
    expect(shipped.length).toBeGreaterThan(2);
  });

  it.each<[string, () => void, RegExp]>([
    ['the newest file is gone', () => fs.rmSync(place(shipped.length - 1)), /was shipped and is not here/],
    ['a file in the middle is gone', () => fs.rmSync(place(1)), /was shipped and is not here/],
    [
      'a line was changed',
      () =>
        fs.writeFileSync(
          place(0),
          gzipSync(
            gunzipSync(fs.readFileSync(place(0)))
              .toString('latin1')
              .replace('"allow"', '"deny" '),
          ),
        ),
      /is not what was shipped/,
    ],
    ['a file is damaged', () => fs.truncateSync(place(1), 40), /cannot be unpacked/],
    ['the checkpoint is gone', () => fs.rmSync(checkpointFile()), /no checkpoint/],
    [
      'the checkpoint was changed',
      () => fs.writeFileSync(checkpointFile(), fs.readFileSync(checkpointFile(), 'utf8').replace('T12:00', 'T13:00')),
      /not signed by a key/,
    ],
    [
      'a file and its entry are gone',
      () => {
        fs.rmSync(place(shipped.length - 1));
        rewrite(
          (of) => ({ ...of, files: Object.fromEntries(Object.entries(of.files).slice(0, -1)) }),
          OTHER.privateKey,
        );
      },
      /not signed by a key/,
    ],
    [
      'an older checkpoint was put back',
      () => rewrite((of) => ({ ...of, last: { seq: 1, hash: 'a'.repeat(64) } })),
      /is older than line/,
    ],
    [
      'the checkpoint of another node was put there',
      () => rewrite((of) => ({ ...of, node: 'proxy-9' })),
      /is of audit\.jsonl of node proxy-9/,
    ],
  ])('finds that %s', async (_what, damage, expected) => {
    expect(await check()).toMatchObject([{ complete: true }]);
    damage();
    expect((await why()).join('\n')).toMatch(expected);
  });

  it('holds for the first place alone too, where another node has seen the checkpoint in the place that is for checkpoints', async () => {
    const third = join(dir, '..', 'third place');
    let seconds = 0;
    const over = {
      checkpoints: { place: new FolderPlace(third), key: KEY.privateKey },
      now: () => new Date(Date.parse('2026-11-26T12:00:00Z') + seconds++ * 1_000),
    };
    await shipper(over).round(true);
    const other = shipper({ ...over, node: 'proxy-2' });
    await other.round();
    await other.round(true);
    const seen = parseCheckpoint(fs.readFileSync(join(dir, 'proxy-2', 'audit.jsonl.checkpoint.json'), 'utf8'));
    expect(Object.keys(seen?.roster ?? {})).toContain('proxy-1/audit.jsonl');
    expect(await verify()).toMatchObject({ logs: [{ complete: true }, { complete: true }] });
  });

  it('unpacks no more of a file than was shipped', async () => {
    const size = gunzipSync(fs.readFileSync(place(0))).length;
    expect(await contentHash(place(0), size)).toBe(await contentHash(place(0)));
    expect(await contentHash(place(0), size - 1)).toBeNull();
    // Broken at its end, which nobody comes to.
    const long = gzipSync(Buffer.concat([gunzipSync(fs.readFileSync(place(0))), Buffer.alloc(10_000_000)]));
    fs.writeFileSync(place(0), long.subarray(0, -8));
    const problems = (await check()).flatMap((one) => one.problems.filter(({ file }) => file === place(0)));
    expect(problems.map((one) => one.why)).toContain('it is not what was shipped');
  });

  it('reads no checkpoint that is longer than any, and nothing that is no file', async () => {
    const text = fs.readFileSync(checkpointFile(), 'utf8');
    fs.writeFileSync(checkpointFile(), text.padEnd(33_554_432));
    expect(await check()).toMatchObject([{ complete: true }]);
    fs.writeFileSync(checkpointFile(), text.padEnd(33_554_433));
    expect(await why()).toEqual(['the checkpoint cannot be read']);
    fs.rmSync(checkpointFile());
    fs.mkdirSync(checkpointFile());
    expect(await why()).toEqual(['the checkpoint cannot be read']);
  });

  it('misses a node that is expected', async () => {
    expect(await verify(['proxy-1', 'proxy-2'])).toMatchObject({ missing: ['proxy-2'], logs: [{ complete: true }] });
  });
});

it('a node’s name leads nowhere else', () => {
  for (const node of ['..', '.', '../up', 'a/b', '/etc', 'a\0b', 'ä', 'a b']) {
    expect(nodeFolder(node)).toMatch(/^[A-Za-z0-9%_-][A-Za-z0-9%._-]*$/);
  }
  expect(nodeFolder('proxy-1.example')).toBe('proxy-1.example');
});
