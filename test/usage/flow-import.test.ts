// Flow logs into the usage store: files as they come, once each record, bounded, and kept as long as the counts.
import fs from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { parseCidr } from '../../src/policy/address.ts';
import { type FlowOptions, importFlows } from '../../src/usage/flow-import.ts';
import { Keeper } from '../../src/usage/keep.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { rebuildStore } from '../../src/usage/rebuild.ts';
import { openStore, type Store } from '../../src/usage/store.ts';
import { tempDir } from '../support/temp.ts';
import { NOON, ScratchUsage } from '../support/usage.ts';

const OPTIONS: FlowOptions = {
  now: NOON().getTime(),
  zoneMs: 0,
  format: 'auto',
  fields: null,
  scope: {
    clients: [parseCidr('10.0.0.0/16')].filter((cidr) => cidr !== null),
    proxies: new Set(['10.0.0.5']),
    proxyPorts: new Set([3_128]),
  },
  rowsMax: 1_000,
};
const START = Math.floor(NOON().getTime() / 1_000) - 3_600;
const vpc = (n: number, over = '') =>
  `2 123456789010 eni-1 10.0.1.5 140.82.112.3 ${40_000 + n} 22 6 3 180 ${START + n} ${START + n} REJECT OK${over}`;
const kernel = (n: number) =>
  `2026-01-31T11:00:${String(n % 60).padStart(2, '0')}+0000 agent-1 kernel: refused: IN= OUT=eth0 SRC=10.0.1.5 DST=8.8.8.8 LEN=60 ID=${n} PROTO=UDP SPT=40000 DPT=53`;

let directory: string;
let store: Store;
beforeEach(() => {
  directory = tempDir('flows');
  store = openStore(path.join(directory, 'usage.db'), 'write');
  return () => store.close();
});

function file(name: string, text: string | Buffer): string {
  const at = path.join(directory, name);
  fs.writeFileSync(at, text);
  return at;
}
const rows = async () => Number((await store.db.selectFrom('flow').select('key').execute()).length);

describe('importFlows', () => {
  it('takes a file plain, packed, and as CloudWatch has it: each record once', async () => {
    const lines = Array.from({ length: 50 }, (_, n) => vpc(n));
    const text = `${lines.join('\n')}\n`;
    const plain = file('flows.log', text);
    expect(await importFlows(store, plain, OPTIONS)).toMatchObject({ format: 'vpc', lines: 50, taken: 50, known: 0 });
    const same = [
      plain,
      file('flows.log.gz', gzipSync(text)),
      file('watch.log', lines.map((line) => `2026-01-31T11:00:00.000Z ${line}`).join('\r\n')),
    ];
    for (const again of same)
      expect(await importFlows(store, again, OPTIONS)).toMatchObject({ lines: 50, taken: 0, known: 50, bad: 0 });
    // A file that has grown, with a line that stands twice.
    fs.appendFileSync(plain, `${vpc(50)}\n${vpc(50)}\n`);
    expect(await importFlows(store, plain, OPTIONS)).toMatchObject({ lines: 52, taken: 1, known: 51 });
    expect(await rows()).toBe(51);
  });

  it('names bad lines with their numbers, the first twenty of them, and takes the others', async () => {
    const lines = [vpc(1), ...Array.from({ length: 25 }, () => '<script>'), vpc(2), vpc(3, ' more')];
    const done = await importFlows(store, file('flows.log', lines.join('\n')), OPTIONS);
    expect(done).toMatchObject({ taken: 2, bad: 26 });
    expect(done.bad_lines).toHaveLength(20);
    expect(done.bad_lines[0]).toEqual({ file: done.file, line: 2, why: 'it has not 14 fields' });
    expect(JSON.stringify(done)).not.toContain('script');
  });

  it('counts what is no attempt, and what the network lost', async () => {
    const lines = [
      vpc(1).replace('10.0.1.5', '10.9.9.9'),
      vpc(2).replace('140.82.112.3', '10.0.0.5'),
      vpc(3).replace(/ 40003 22 /, ' 22 40003 '),
      vpc(4).replace('140.82.112.3', '224.0.0.1'),
      vpc(5).replace(' OK', ' SKIPDATA'),
    ];
    const done = await importFlows(store, file('flows.log', lines.join('\n')), OPTIONS);
    expect(done).toMatchObject({ taken: 0, left: { foreign: 1, proxy: 1, answer: 1, local: 1 }, lost: 1 });
  });

  it('tells the two formats apart by the first line of either', async () => {
    const log = ['-- Journal begins at … --', '2026-01-31T11:00:00+0000 a kernel: usb 1-1: new', kernel(1), kernel(2)];
    const done = await importFlows(store, file('kern.log', log.join('\n')), OPTIONS);
    expect(done).toMatchObject({ format: 'kernel', taken: 2, other: 2, bad: 0 });
    const empty = importFlows(store, file('notes.txt', 'hello\nworld\n'), OPTIONS);
    await expect(empty).rejects.toMatchObject({
      code: 'flow-log-invalid',
      message: expect.stringContaining('none of its 2 lines'),
    });
    // Told which one it is, it is believed.
    const told = await importFlows(store, file('odd.log', `hello\n${vpc(1)}`), { ...OPTIONS, format: 'vpc' });
    expect(told).toMatchObject({ taken: 1, bad: 1 });
  });

  it('refuses a file that is not there, is damaged, or has one endless line, in bounded memory', async () => {
    const broken = gzipSync(Array.from({ length: 2_000 }, (_, n) => vpc(n)).join('\n')).subarray(0, 2_000);
    for (const at of [
      path.join(directory, 'none.log'),
      file('broken.gz', broken),
      file('long.log', 'x'.repeat(3_000_000)),
    ])
      await expect(importFlows(store, at, OPTIONS)).rejects.toMatchObject({ code: 'flow-log-invalid' });
    const long = await importFlows(store, file('long2.log', `${vpc(1)}\n${'x'.repeat(3_000_000)}\n${vpc(2)}`), OPTIONS);
    expect(long).toMatchObject({ taken: 2, bad: 1, bad_lines: [{ line: 2, why: 'it is too long' }] });
  });

  it('holds flow_rows_max records and counts the rest; what is known stays known', async () => {
    const text = Array.from({ length: 1_200 }, (_, n) => vpc(n)).join('\n');
    const at = file('flows.log', text);
    expect(await importFlows(store, at, OPTIONS)).toMatchObject({ taken: 1_000, known: 0, overflow: 200 });
    expect(await importFlows(store, at, OPTIONS)).toMatchObject({ taken: 0, known: 1_000, overflow: 200 });
    expect(await rows()).toBe(1_000);
    expect(await importFlows(store, at, { ...OPTIONS, rowsMax: 1_100 })).toMatchObject({ taken: 100, overflow: 100 });
  });
});

describe('in the store', () => {
  it('records go with the days of usage.keep', async () => {
    const world = new ScratchUsage();
    world.write(5);
    await projectOnce({ ...world.options(), store });
    const day = 86_400;
    const old = vpc(1).replaceAll(String(START + 1), String(START - 40 * day));
    await importFlows(store, file('flows.log', [old, vpc(2)].join('\n')), OPTIONS);
    const keeper = new Keeper({ hourly: 10, daily: 30 });
    while (await keeper.step(store, NOON().getTime()));
    expect(await store.db.selectFrom('flow').select('first').execute()).toEqual([{ first: (START + 2) * 1_000 }]);
  });

  it('a rebuild carries them over, for they are of no audit log; from a damaged store it cannot', async () => {
    const world = new ScratchUsage();
    world.write(5);
    const options = { ...world.options(), limits: DEFAULT_LIMITS, now: NOON };
    await projectOnce(options);
    const first = openStore(world.store, 'write');
    await importFlows(first, file('flows.log', Array.from({ length: 900 }, (_, n) => vpc(n)).join('\n')), OPTIONS);
    await importFlows(first, file('kern.log', kernel(1)), { ...OPTIONS, rowsMax: 10_000 });
    await first.close();
    expect(await rebuildStore(options)).toMatchObject({ lines: 9, flows: 901 });
    const again = openStore(world.store, 'read');
    expect(await again.db.selectFrom('flow').select('key').execute()).toHaveLength(901);
    await again.close();
    fs.writeFileSync(world.store, 'this is no database');
    expect(await rebuildStore({ ...options, now: () => new Date(NOON().getTime() + 1) })).toMatchObject({
      flows: null,
    });
  });
});
