import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { repairAudit } from '../../src/audit/repair.ts';
import { DEFAULT_LIMITS, type Limits } from '../../src/limits.ts';
import type { Identity } from '../../src/policy/record.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { Projector } from '../../src/usage/projector.ts';
import { openStore } from '../../src/usage/store.ts';
import fc from '../support/property.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { NOON, ScratchUsage, sumsOf } from '../support/usage.ts';

let world: ScratchUsage;
let file: string;
let store: string;

beforeEach(() => {
  world = new ScratchUsage();
  ({ file, store } = world);
});
afterEach(() => world.log.close());

describe('projectOnce', () => {
  it('counts what is in the log, and nothing a second time', async () => {
    world.write(100);
    expect(await projectOnce(world.options())).toEqual({ lines: 180 });
    expect(await world.sums()).toMatchObject(sumsOf(100));
    expect(await projectOnce(world.options())).toEqual({ lines: 0 });
    world.write(50);
    await projectOnce(world.options({ batchLines: 7 }));
    expect(await world.sums()).toMatchObject(sumsOf(150));
    expect(world.problems).toEqual([]);
  });

  it('makes an empty store where there is no log yet', async () => {
    world.log.close();
    fs.rmSync(file);
    expect(await projectOnce(world.options())).toEqual({ lines: 0 });
    expect(await world.sums()).toMatchObject(sumsOf(0));
  });

  it('keeps open requests over a restart of the projection, until they end', async () => {
    world.log.decided(decidedRecord({ id: 'open' }));
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 0, open: ['open'] });
    world.log.ended(endedRecord({ id: 'open' }));
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 1, open: [] });
  });

  it('fills dimensions, denials and window', async () => {
    const nearest = { pattern: '*.a.example', rule: 'r', why: 'w', fix: 'f' };
    world.log.decided(
      decidedRecord({ id: 'd', host: 'x.example', verdict: 'deny', reason: 'host-not-allowed', rule: null, nearest }),
    );
    await projectOnce(world.options());
    const reader = openStore(store, 'read');
    const row = await reader.db
      .selectFrom('usage')
      .innerJoin('target', 'target.id', 'usage.target_id')
      .innerJoin('actor', 'actor.id', 'usage.actor_id')
      .innerJoin('rule', 'rule.id', 'usage.rule_id')
      .innerJoin('node', 'node.id', 'usage.node_id')
      .innerJoin('denial', 'denial.target_id', 'usage.target_id')
      .selectAll()
      .executeTakeFirstOrThrow();
    const ms = NOON().getTime();
    expect(row).toMatchObject({
      host: 'x.example',
      port: 443,
      client: '10.0.0.7',
      rule: '',
      grp: 'github',
      name: 'n1',
      hour: Math.floor(ms / 3_600_000),
    });
    expect(JSON.parse(row.nearest)).toEqual(nearest);
    expect(await reader.db.selectFrom('window').selectAll().execute()).toEqual([{ node_id: 1, first: ms, last: ms }]);
    await reader.close();
  });

  it('waits for the rest of a half-written line', async () => {
    world.write(10);
    const whole = fs.readFileSync(file);
    world.log.close();
    for (const cut of [1, 100, whole.length - 1]) {
      fs.writeFileSync(file, whole.subarray(0, whole.length - cut));
      await projectOnce(world.options());
    }
    fs.writeFileSync(file, whole);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject(sumsOf(10));
    expect(world.problems).toEqual([]);
  });

  it('follows rotation, wherever it stood when the file was renamed', async () => {
    world.write(10);
    await projectOnce(world.options());
    world.write(5);
    world.rotate('.old'); // not a name of a segment: only the open file and then the newer one would show it
    fs.renameSync(`${file}.old`, `${file}.1`);
    world.write(10);
    world.rotate('-20260131');
    world.write(5);
    await projectOnce(world.options({ batchLines: 4 }));
    expect(await world.sums()).toMatchObject(sumsOf(30));
    expect(world.problems).toEqual([]);
  });

  it('goes on in step with another that was faster in between', async () => {
    const slow = new Projector(world.options({ batchLines: 10 }));
    world.write(50);
    await slow.step();
    await projectOnce(world.options());
    world.write(50);
    while ((await slow.step()).more);
    await slow.close();
    expect(await world.sums()).toMatchObject(sumsOf(100));
  });
});

describe('names that clients invent', () => {
  it('never stop the counting, whatever characters are in them', async () => {
    const name = fc.string({ unit: 'binary', maxLength: 6 });
    const hostile = [
      '\0',
      'a\0b',
      'a\0c',
      '\ud800',
      '\udfff',
      '\ufffd',
      '',
      "'",
      '"',
      '%',
      '\u202e',
      ...fc.sample(name, 100),
    ];
    for (const [n, text] of hostile.entries()) {
      const identity: Identity = { kind: 'claimed', attributes: {}, claimed: { pipeline: text, job: text } };
      world.log.decided(
        decidedRecord({ id: `${n}${text}`, host: text, identity, rule: text, group: text, client: text }),
      );
      world.log.ended(endedRecord({ id: `${n}${text}`, host: text, identity, rule: text, group: text, client: text }));
      world.log.decided(decidedRecord({ id: `open${n}${text}`, identity }));
    }
    // Small batches: rows that come back from the store must be found again by what the next batch says.
    await projectOnce(world.options({ batchLines: 7 }));
    expect(await world.sums()).toMatchObject({ allowed: hostile.length, damaged: 0 });
    expect(world.problems).toEqual([]);
  });
});

describe('a damaged log', () => {
  it('counts and reports damaged lines with their place, and goes on after them', async () => {
    world.write(5);
    world.log.close();
    const lines = fs.readFileSync(file, 'latin1').split('\n');
    lines[2] = 'rubbish';
    lines[5] = 'x'.repeat(2_000_000);
    fs.writeFileSync(file, lines.join('\n'));
    await projectOnce(world.options({ batchLines: 3 }));
    // r1 lost its decided line, which changes nothing; r2 lost its ended line and stays open.
    expect(await world.sums()).toMatchObject({ allowed: 3, denied: 1, open: ['r2'], damaged: 2, missing: 0 });
    expect(world.problems.map(({ code, file: at, line }) => [code, at, line])).toEqual([
      ['audit-damaged', file, 3],
      ['audit-damaged', file, 6],
    ]);
  });

  it('counts and reports missing lines', async () => {
    world.write(5);
    world.log.close();
    const lines = fs.readFileSync(file, 'latin1').split('\n');
    lines.splice(2, 2);
    fs.writeFileSync(file, lines.join('\n'));
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 3, missing: 2, damaged: 0 });
    expect(world.problems).toMatchObject([{ line: 3, message: expect.stringContaining('2 lines') }]);
  });

  it('bounds its reports where a whole file is damaged', async () => {
    world.write(5);
    fs.appendFileSync(file, 'rubbish\n'.repeat(1_000));
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ ...sumsOf(5), damaged: 1_000 });
    expect(world.problems).toHaveLength(11);
  });

  it('counts the torn end of a segment as damaged once a newer one has begun', async () => {
    world.write(5);
    fs.appendFileSync(file, '{"time":"2026');
    world.rotate('.1');
    world.write(5);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ ...sumsOf(10), damaged: 1 });
  });

  it('goes on after a repair that cut off what it had read', async () => {
    world.write(5);
    fs.appendFileSync(file, 'rubbish\n'.repeat(500));
    await projectOnce(world.options());
    world.log.close();
    repairAudit({ file, now: NOON });
    world.reopened();
    world.write(5);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ ...sumsOf(10), damaged: 500 });
  });

  it('notices the same while it follows', async () => {
    const projector = new Projector(world.options());
    world.write(5);
    fs.appendFileSync(file, 'rubbish\n'.repeat(500));
    while ((await projector.step()).more);
    world.log.close();
    repairAudit({ file, now: NOON });
    world.reopened();
    for (let turn = 0; turn < 3; turn++) await projector.step();
    world.write(5);
    while ((await projector.step()).more);
    await projector.close();
    expect(await world.sums()).toMatchObject({ ...sumsOf(10), damaged: 500 });
  });

  it('says how many lines were rotated away before they could be counted', async () => {
    world.write(5);
    await projectOnce(world.options());
    world.write(5);
    world.rotate('.1');
    fs.rmSync(`${file}.1`);
    world.write(5);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 8, denied: 2, missing: 9 });
    expect(world.problems).toMatchObject([{ message: expect.stringContaining('9 lines that are missing') }]);
  });

  it('counts a new log that took the place of the old one from its beginning', async () => {
    world.write(10);
    await projectOnce(world.options());
    world.log.close();
    fs.rmSync(file);
    world.reopened(() => new Date(NOON().getTime() + 1_000));
    world.log.note({ event: 'start', policy: 'p', detail: {} });
    world.write(5);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 12, denied: 3 });
    expect(world.problems).toMatchObject([{ message: expect.stringContaining('not the log that was counted before') }]);
  });

  it('does not count again what an old copy of the log holds', async () => {
    world.write(5);
    const copy = fs.readFileSync(file);
    world.write(5);
    await projectOnce(world.options());
    world.log.close();
    fs.writeFileSync(file, copy);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 8, denied: 2 });
    expect(world.problems).toMatchObject([{ message: expect.stringContaining('lost its end') }]);
  });
});

describe('a log that lost the segment that was counted last', () => {
  it('is not counted again; what is written after it is', async () => {
    world.write(5);
    world.rotate('.1');
    world.write(5);
    await projectOnce(world.options());
    world.log.close();
    fs.truncateSync(file);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 8, denied: 2 });
    expect(world.problems).toMatchObject([{ message: expect.stringContaining('not the log that was counted before') }]);
    world.reopened(() => new Date(NOON().getTime() + 1_000));
    world.write(5);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 12, denied: 3 });
  });
});

describe('a file that begins as another of the log does', () => {
  it('is named and left out, so that what is counted stays so', async () => {
    world.write(5);
    world.rotate('.1');
    world.write(5);
    await projectOnce(world.options());
    world.log.close();
    const begins = fs.readFileSync(file, 'latin1').split('\n').slice(0, 2).join('\n');
    fs.writeFileSync(`${file}.1`, `${begins}\n${fs.readFileSync(`${file}.1`, 'latin1')}`);
    for (const batchLines of [5_000, 3]) {
      await projectOnce(world.options({ batchLines }));
      expect(await world.sums()).toMatchObject({ allowed: 8, denied: 2 });
    }
    expect(world.problems[0]).toMatchObject({
      code: 'audit-damaged',
      file: `${file}.1`,
      message: expect.stringContaining('begins as another file'),
    });
  });
});

describe('bounds', () => {
  it('holds the number of names of an hour over a restart of the projection', async () => {
    const limits: Limits = { ...DEFAULT_LIMITS, usage_names_per_hour: 100 };
    for (let n = 0; n < 150; n++) {
      world.log.ended(endedRecord({ id: `n${n}`, host: `h${n}.example` }));
      if (n % 40 === 39) await projectOnce(world.options({ limits }));
    }
    await projectOnce(world.options({ limits }));
    const reader = openStore(store, 'read');
    const targets = await reader.db.selectFrom('target').selectAll().execute();
    const rows = await reader.db.selectFrom('usage').select('requests').execute();
    await reader.close();
    expect(targets).toHaveLength(101);
    expect(targets).toContainEqual({ id: expect.any(Number), host: '(overflow)', port: 0 });
    expect(rows.reduce((sum, row) => sum + row.requests, 0)).toBe(150);
  });

  it('what clients claim to be pushes out nobody who is proven, also over a restart', async () => {
    const limits: Limits = { ...DEFAULT_LIMITS, usage_names_per_hour: 100 };
    const claim = (n: number): Identity => ({ kind: 'claimed', attributes: {}, claimed: { pipeline: `p${n}` } });
    for (let n = 0; n < 150; n++) {
      world.log.ended(endedRecord({ id: `c${n}`, identity: claim(n) }));
      if (n % 60 === 59) await projectOnce(world.options({ limits }));
    }
    const proven = { kind: 'job', attributes: { pipeline: 'web', job: 'j1' }, claimed: {} } as const;
    world.log.ended(endedRecord({ id: 'proven', identity: proven }));
    await projectOnce(world.options({ limits }));
    const reader = openStore(store, 'read');
    const actors = await reader.db.selectFrom('actor').select(['kind', 'pipeline']).execute();
    await reader.close();
    expect(actors.filter(({ kind }) => kind === 'claimed')).toHaveLength(100);
    expect(actors.filter(({ kind }) => kind === '(overflow)')).toHaveLength(1);
    expect(actors).toContainEqual({ kind: 'job', pipeline: 'web' });
  });
});
