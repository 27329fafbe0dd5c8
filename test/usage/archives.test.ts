// A log whose older parts gzip has packed, counted for one report: the same counts as from the plain log, and what is wrong is told.
import fs from 'node:fs';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { branchPath } from '../../src/audit/branch.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { NOON, ScratchUsage } from '../support/usage.ts';

let world: ScratchUsage;
beforeEach(() => {
  world = new ScratchUsage();
});

async function counted(archives: boolean, batchLines = 7) {
  const store = openStore(':memory:', 'write');
  const options = { ...world.options({ batchLines }), store, ...(archives ? { archives: true as const } : {}) };
  const { lines } = await projectOnce(options);
  // Once more: no request counts twice.
  if (archives && world.problems.length === 0) await projectOnce(options);
  const rows = await store.db
    .selectFrom('usage')
    .innerJoin('target', 'target.id', 'target_id')
    .select(['host', 'verdict', 'requests', 'bytes_up'])
    .orderBy('host')
    .execute();
  const [node] = await store.db.selectFrom('node').selectAll().execute();
  const open = await store.db.selectFrom('open_request').select('id').execute();
  await store.close();
  return { lines, rows, open, damaged: node?.damaged_lines, missing: node?.missing_lines };
}

function pack(name: string): void {
  fs.writeFileSync(`${name}.gz`, gzipSync(fs.readFileSync(name)));
  fs.rmSync(name);
}

describe('archives', () => {
  it('count as the plain log does, with the branch of an upgrade and a request that ends in it', async () => {
    world.write(20, 'a.example');
    world.rotate('.2');
    world.write(20, 'b.example');
    world.rotate('.1');
    world.log.decided(decidedRecord({ id: 'old', host: 'c.example' }));
    const takeOver = world.log.handOver();
    const base = { file: world.file, node: 'n1', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: NOON } as const;
    const fresh = openAuditLog({ ...base, takeOver });
    fresh.decided(decidedRecord({ id: 'new', host: 'd.example' }));
    world.log.ended(endedRecord({ id: 'old', host: 'c.example' }));
    world.log.close();
    fresh.close();
    const plain = await counted(false);
    expect(plain).toMatchObject({ open: [{ id: 'new' }], damaged: 0, missing: 0 });
    expect(await counted(true)).toEqual(plain);
    for (const name of ['.2', '.1']) pack(world.file + name);
    pack(branchPath(world.file, takeOver.seq));
    expect(await counted(true)).toEqual(plain);
    expect(await counted(true, 5_000)).toEqual(plain);
    expect(world.problems).toEqual([]);
  });

  it('name damaged lines by their numbers, and go on after an archive that is cut short', async () => {
    world.write(20, 'a.example');
    world.rotate('.2');
    world.write(5, 'b.example');
    const archive = `${world.file}.2`;
    const lines = fs.readFileSync(archive, 'latin1').split('\n');
    lines[8] = 'damage';
    fs.writeFileSync(archive, `${lines.join('\n')}{"torn`);
    pack(archive);
    expect(await counted(true)).toMatchObject({ damaged: 2, missing: 0 });
    expect(world.problems.map(({ message }) => message.slice(archive.length))).toEqual([
      '.gz:9 is damaged and could not be counted',
      '.gz:37 is damaged and could not be counted',
    ]);
    world.problems.length = 0;
    const long = Array.from({ length: 3_000 }, () => lines[0]).join('\n');
    fs.writeFileSync(`${archive}.gz`, gzipSync(`${long}\n`).subarray(0, -30));
    const { rows, missing } = await counted(true);
    expect(rows.filter(({ host }) => host === 'b.example')).toMatchObject([{ requests: 4 }]);
    expect(missing).toBeGreaterThan(0);
    expect(world.problems[0]?.message).toContain('cannot be read to its end');
  });
});
