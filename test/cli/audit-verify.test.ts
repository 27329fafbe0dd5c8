// `sallyport audit verify` of a time and of several nodes, as it is typed: what is said, in both forms, and the exit code.
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FolderPlace } from '../../src/audit/folder-place.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { Shipper } from '../../src/audit/ship.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { tempDir } from '../support/temp.ts';
import { NOW, type } from './console.ts';

const MINUTE = 60_000;

/** A node that said something at these minutes before now. */
function node(folder: string, name: string, minutesAgo: readonly number[], stops = false): string {
  let now = 0;
  mkdirSync(join(folder, name), { recursive: true });
  const file = join(folder, name, 'audit.jsonl');
  const base = { file, node: name, limits: DEFAULT_LIMITS, whenFull: 'refuse', sync: 'none' } as const;
  const log = openAuditLog({ ...base, now: () => new Date(now) });
  for (const [index, minutes] of minutesAgo.entries()) {
    now = NOW - minutes * MINUTE;
    const last = stops && index === minutesAgo.length - 1;
    const event = index === 0 ? 'start' : last ? 'stop' : 'heartbeat';
    log.note({ event, policy: 'p', detail: { heartbeat_ms: MINUTE } });
  }
  log.close();
  return file;
}

const every = (from: number, to: number): number[] => Array.from({ length: from - to + 1 }, (_, n) => from - n);
const time = (minutesAgo: number): string => new Date(NOW - minutesAgo * MINUTE).toISOString();

describe('sallyport audit verify of several nodes', () => {
  it('says complete where each was there, or stopped in good order', async () => {
    const dir = tempDir('nodes');
    node(dir, 'proxy-1', every(30, 0));
    node(dir, 'proxy-2', every(30, 15), true);
    const { code, out, err } = await type([
      ...['audit', 'verify', '--log', dir, '--from', '25m', '--node', 'proxy-1', '--node', 'proxy-2'],
    ]);
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/^complete: proxy-1 \(.*audit\.jsonl\): lines 6 to \d+, .*\ncomplete: proxy-2 /);
    expect(out).toContain(`\n  stopped in good order from ${time(15)} on\n`);
    expect(out).toMatch(/\ncomplete from \S+ to \S+: 2 logs, 0 with gaps, 0 missing\n$/);
  });

  it('says who was silent, from when to when', async () => {
    const dir = tempDir('nodes');
    const one = node(dir, 'proxy-1', [...every(30, 20), ...every(10, 0)]);
    const two = node(dir, 'proxy-2', every(30, 12));
    const { code, out } = await type(['audit', 'verify', '--log', one, '--log', two, '--from', '25m', '--to', '5m']);
    expect(code).toBe(1);
    expect(out).toContain(`no line, no heartbeat and no stop from ${time(20)} to ${time(10)}: it was not running`);
    expect(out).toContain(`no stop from ${time(12)} to ${time(5)}:`);
    expect(out).toMatch(/\ngaps from \S+ to \S+: 2 logs, 2 with gaps, 0 missing\n$/);
    const before = await type(['audit', 'verify', '--log', one, '--from', '28m', '--to', '22m', '--json']);
    expect([before.code, JSON.parse(before.out)]).toMatchObject([
      0,
      { verdict: 'complete', nodes: [{ silences: [] }] },
    ]);
  });

  it('says who is missing', async () => {
    const dir = tempDir('nodes');
    const one = node(dir, 'proxy-1', every(30, 0));
    const { code, out } = await type([
      'audit',
      'verify',
      '--log',
      one,
      '--node',
      'proxy-1',
      '--node',
      'proxy-2',
      '--json',
    ]);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      ...{ from: null, to: null, verdict: 'missing-nodes', complete: false, missing: ['proxy-2'] },
      nodes: [{ node: 'proxy-1', complete: true, heartbeat_ms: MINUTE }],
    });
    const said = await type(['audit', 'verify', '--log', one, '--node', 'proxy-2']);
    expect(said.out).toMatch(/\nmissing: proxy-2: .*\nmissing nodes: 1 logs?, 0 with gaps, 1 missing\n$/);
  });

  it('says of one log without a time, too, where it was silent', async () => {
    const dir = tempDir('nodes');
    const { code, out } = await type(['audit', 'verify', '--log', node(dir, 'proxy-1', [30, 20])]);
    expect(code).toBe(1);
    expect(out).toMatch(/^not complete: .*, 1 problem\n {2}no line, no heartbeat and no stop from /);
  });

  it('names a file without a line where the file as a whole is meant', async () => {
    const log = node(tempDir('nodes'), 'proxy-1', every(30, 0));
    writeFileSync(`${log}.1`, 'rubbish\n');
    const { code, out } = await type(['audit', 'verify', '--log', log]);
    expect(code).toBe(1);
    expect(out).toContain(`\n  ${log}.1: no sound line in this file\n`);
  });

  it('never calls a time complete that is not over', async () => {
    const log = node(tempDir('nodes'), 'proxy-1', every(30, 0));
    const soon = await type(['audit', 'verify', '--log', log, '--from', '25m', '--to', time(-1)]);
    expect(soon).toMatchObject({
      code: 1,
      out: expect.stringMatching(/\nnot over yet from \S+ to \S+: 1 log, 0 with/),
    });
    const later = await type(['audit', 'verify', '--log', log, '--from', time(-1), '--to', time(-2), '--json']);
    expect([later.code, JSON.parse(later.out)]).toMatchObject([1, { verdict: 'not-over', complete: false }]);
    expect(await type(['audit', 'verify', '--log', log, '--from', '25m', '--to', time(0)])).toMatchObject({ code: 0 });
    const cut = node(tempDir('nodes'), 'proxy-2', every(30, 5));
    const gaps = await type(['audit', 'verify', '--log', cut, '--from', '25m', '--to', time(-1)]);
    expect(gaps.out).toMatch(/\ngaps from /);
  });

  it('refuses an empty folder, and two names for one thing', async () => {
    const empty = tempDir('nodes');
    expect(await type(['audit', 'verify', '--log', empty])).toMatchObject({ code: 1 });
    const both = await type(['audit', 'verify', '--log', empty, '--config', 'x.yaml']);
    expect([both.code, both.err]).toMatchObject([2, expect.stringContaining('both name an audit log')]);
  });
});

describe('sallyport audit verify of logs and their checkpoints', () => {
  /** Two nodes that have written checkpoints, and seen each other's. */
  async function signed() {
    const dir = tempDir('nodes');
    const place = join(tempDir('checkpoints'), 'here');
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const key = join(tempDir('key'), 'key.pub');
    writeFileSync(key, publicKey.export({ type: 'spki', format: 'pem' }));
    const files = ['proxy-1', 'proxy-2'].map((name) => node(dir, name, every(30, 0)));
    const to = { place: new FolderPlace(place), key: privateKey };
    const round = (name: string, at: number, log = 'audit.jsonl') =>
      new Shipper({
        ...{ file: join(dir, name, log), node: name, ship: null, checkpoints: to, rosterMax: 9 },
        now: () => new Date(at),
      }).round();
    for (const name of ['proxy-1', 'proxy-2', 'proxy-1']) await round(name, NOW);
    const verify = (...args: string[]) =>
      type(['audit', 'verify', '--log', dir, '--checkpoints', place, '--key', key, ...args]);
    return { dir, place, files, verify, round };
  }

  it('says that a log was cut off at its end, and that it is another one', async () => {
    const { verify, files } = await signed();
    const [file = ''] = files;
    expect(await verify()).toMatchObject({ code: 0, err: '' });
    const lines = readFileSync(file, 'latin1').split('\n');
    writeFileSync(file, `${lines.slice(0, 10).join('\n')}\n`);
    const cut = await verify();
    expect(cut).toMatchObject({
      code: 1,
      out: expect.stringMatching(/has line 31, which is not in it: it was cut off/),
    });
    // Whole in itself, and not what was signed.
    rmSync(file);
    node(join(file, '..', '..'), 'proxy-1', every(40, 0));
    expect(await verify()).toMatchObject({ code: 1, out: expect.stringContaining('or is another log') });
  });

  it('says that an older checkpoint was put back, though the log that was cut to it agrees', async () => {
    const { verify, files, place, round } = await signed();
    const [, file = ''] = files;
    const name = join(place, 'proxy-2', 'audit.jsonl.checkpoint.json');
    const [checkpoint, log] = [readFileSync(name), readFileSync(file)];
    rmSync(file);
    node(join(file, '..', '..'), 'proxy-2', every(40, 0));
    await round('proxy-2', NOW + 60_000);
    await round('proxy-1', NOW + 61_000);
    expect(await verify()).toMatchObject({ code: 0, err: '' });
    writeFileSync(name, checkpoint);
    writeFileSync(file, log);
    expect(await verify()).toMatchObject({ code: 1, out: expect.stringContaining('an older one was put back') });
  });

  it('misses one log of a node that has others', async () => {
    const { verify, files, round } = await signed();
    const [, file = ''] = files;
    const other = file.replace('audit.jsonl', 'other.jsonl');
    writeFileSync(other, readFileSync(file));
    await round('proxy-2', NOW, 'other.jsonl');
    await round('proxy-1', NOW);
    rmSync(other);
    const { code, out } = await verify('--json');
    expect([code, JSON.parse(out)]).toMatchObject([1, { verdict: 'gaps', missing: [] }]);
    expect(out).toContain('other nodes have seen its log other.jsonl, and it is not here');
  });

  it('misses a node that others have seen, and believes no other key', async () => {
    const { verify, dir, place } = await signed();
    rmSync(join(dir, 'proxy-2'), { recursive: true });
    const { code, out } = await verify('--json');
    expect([code, JSON.parse(out)]).toMatchObject([1, { verdict: 'missing-nodes', missing: ['proxy-2'] }]);
    const other = join(tempDir('key'), 'other.pub');
    writeFileSync(other, generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }));
    const strange = await type(['audit', 'verify', '--log', dir, '--checkpoints', place, '--key', other]);
    expect(strange).toMatchObject({ code: 1, out: expect.stringContaining('not signed by a key that was given') });
    rmSync(join(place, 'proxy-1'), { recursive: true });
    expect((await verify()).out).toContain('there is no checkpoint of it');
  });
});

it('a query says the same of its time', async () => {
  const log = node(tempDir('nodes'), 'proxy-1', [...every(30, 20), ...every(10, 0)]);
  const { code, out } = await type(['audit', 'query', '--log', log, '--from', '25m', '--to', '5m']);
  expect(code).toBe(1);
  expect(out).toContain(`no stop from ${time(20)} to ${time(10)}`);
  expect(out).not.toContain('heartbeat_ms');
  const soon = await type(['audit', 'query', '--log', log, '--from', '8m', '--to', '2030-01-01']);
  expect([soon.code, soon.out]).toMatchObject([0, expect.stringMatching(/^complete from .*: 0 found;/)]);
});
