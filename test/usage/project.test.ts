import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AuditLog, openAuditLog } from '../../src/audit/log.ts';
import { repairAudit } from '../../src/audit/repair.ts';
import { DEFAULT_LIMITS, type Limits } from '../../src/limits.ts';
import { projectOnce, startProjection } from '../../src/usage/project.ts';
import { type ProjectionOptions, type ProjectionProblem, Projector } from '../../src/usage/projector.ts';
import { rebuildStore } from '../../src/usage/rebuild.ts';
import { openStore } from '../../src/usage/store.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { tempDir } from '../support/temp.ts';

const now = () => new Date('2026-01-31T12:00:00.000Z');
let file: string;
let store: string;
let problems: ProjectionProblem[];
let log: AuditLog;
let next = 0;

beforeEach(() => {
  const directory = tempDir('project');
  file = path.join(directory, 'audit.jsonl');
  store = path.join(directory, 'usage.db');
  problems = [];
  next = 0;
  log = reopened();
});
afterEach(() => log.close());

function reopened(): AuditLog {
  return openAuditLog({ file, node: 'n1', limits: DEFAULT_LIMITS, whenFull: 'refuse', now, sync: 'none' });
}

function options(over: Partial<ProjectionOptions> = {}): ProjectionOptions {
  return { auditFile: file, store, limits: DEFAULT_LIMITS, onProblem: (problem) => problems.push(problem), ...over };
}

/** Whole requests of 100 bytes up and 2,000 down; one in five is refused. */
function write(count: number, host = 'github.com'): void {
  for (let n = 0; n < count; n++) {
    const id = `r${next++}`;
    if (next % 5 === 0) {
      log.decided(
        decidedRecord({
          id,
          host: 'evil.example',
          verdict: 'deny',
          reason: 'host-not-allowed',
          rule: null,
          group: null,
        }),
      );
    } else {
      log.decided(decidedRecord({ id, host }));
      log.ended(endedRecord({ id, host }));
    }
  }
}

async function sums() {
  const reader = openStore(store, 'read');
  try {
    const rows = await reader.db.selectFrom('usage').selectAll().execute();
    const of = (verdict: string) => rows.filter((row) => row.verdict === verdict);
    const total = (of: typeof rows, key: 'requests' | 'bytes_up' | 'bytes_down') =>
      of.reduce((sum, row) => sum + row[key], 0);
    const meta = await reader.db.selectFrom('meta').selectAll().execute();
    const open = await reader.db.selectFrom('open_request').select('id').execute();
    return {
      allowed: total(of('allow'), 'requests'),
      denied: total(of('deny'), 'requests'),
      up: total(rows, 'bytes_up'),
      down: total(rows, 'bytes_down'),
      open: open.map(({ id }) => id),
      damaged: Number(meta.find(({ key }) => key === 'damaged_lines')?.value ?? 0),
      missing: Number(meta.find(({ key }) => key === 'missing_lines')?.value ?? 0),
    };
  } finally {
    await reader.close();
  }
}

const of = (count: number) => ({
  allowed: count * 0.8,
  denied: count * 0.2,
  up: count * 80,
  down: count * 1_600,
  damaged: 0,
  missing: 0,
});

function rotate(to: string): void {
  fs.renameSync(file, file + to);
  log.reopen();
}

describe('projectOnce', () => {
  it('counts what is in the log, and nothing a second time', async () => {
    write(100);
    expect(await projectOnce(options())).toEqual({ lines: 180 });
    expect(await sums()).toMatchObject(of(100));
    expect(await projectOnce(options())).toEqual({ lines: 0 });
    write(50);
    await projectOnce(options({ batchLines: 7 }));
    expect(await sums()).toMatchObject(of(150));
    expect(problems).toEqual([]);
  });

  it('makes an empty store where there is no log yet', async () => {
    log.close();
    fs.rmSync(file);
    expect(await projectOnce(options())).toEqual({ lines: 0 });
    expect(await sums()).toMatchObject(of(0));
  });

  it('keeps open requests over a restart of the projection, until they end', async () => {
    log.decided(decidedRecord({ id: 'open' }));
    await projectOnce(options());
    expect(await sums()).toMatchObject({ allowed: 0, open: ['open'] });
    log.ended(endedRecord({ id: 'open' }));
    await projectOnce(options());
    expect(await sums()).toMatchObject({ allowed: 1, open: [] });
  });

  it('fills dimensions, denials and window', async () => {
    const nearest = { pattern: '*.a.example', rule: 'r', why: 'w', fix: 'f' };
    log.decided(
      decidedRecord({ id: 'd', host: 'x.example', verdict: 'deny', reason: 'host-not-allowed', rule: null, nearest }),
    );
    await projectOnce(options());
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
    const ms = now().getTime();
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
    write(10);
    const whole = fs.readFileSync(file);
    log.close();
    for (const cut of [1, 100, whole.length - 1]) {
      fs.writeFileSync(file, whole.subarray(0, whole.length - cut));
      await projectOnce(options());
    }
    fs.writeFileSync(file, whole);
    await projectOnce(options());
    expect(await sums()).toMatchObject(of(10));
    expect(problems).toEqual([]);
  });

  it('follows rotation, wherever it stood when the file was renamed', async () => {
    write(10);
    await projectOnce(options());
    write(5);
    rotate('.old'); // not a name of a segment: only the open file and then the newer one would show it
    fs.renameSync(`${file}.old`, `${file}.1`);
    write(10);
    rotate('-20260131');
    write(5);
    await projectOnce(options({ batchLines: 4 }));
    expect(await sums()).toMatchObject(of(30));
    expect(problems).toEqual([]);
  });

  it('goes on in step with another that was faster in between', async () => {
    const slow = new Projector(options({ batchLines: 10 }));
    write(50);
    await slow.step();
    await projectOnce(options());
    write(50);
    while ((await slow.step()).more);
    await slow.close();
    expect(await sums()).toMatchObject(of(100));
  });
});

describe('a damaged log', () => {
  it('counts and reports damaged lines with their place, and goes on after them', async () => {
    write(5);
    log.close();
    const lines = fs.readFileSync(file, 'latin1').split('\n');
    lines[2] = 'rubbish';
    lines[5] = 'x'.repeat(2_000_000);
    fs.writeFileSync(file, lines.join('\n'));
    await projectOnce(options({ batchLines: 3 }));
    // r1 lost its decided line, which changes nothing; r2 lost its ended line and stays open.
    expect(await sums()).toMatchObject({ allowed: 3, denied: 1, open: ['r2'], damaged: 2, missing: 0 });
    expect(problems.map(({ code, file: at, line }) => [code, at, line])).toEqual([
      ['audit-damaged', file, 3],
      ['audit-damaged', file, 6],
    ]);
  });

  it('counts and reports missing lines', async () => {
    write(5);
    log.close();
    const lines = fs.readFileSync(file, 'latin1').split('\n');
    lines.splice(2, 2);
    fs.writeFileSync(file, lines.join('\n'));
    await projectOnce(options());
    expect(await sums()).toMatchObject({ allowed: 3, missing: 2, damaged: 0 });
    expect(problems).toMatchObject([{ line: 3, message: expect.stringContaining('2 lines') }]);
  });

  it('bounds its reports where a whole file is damaged', async () => {
    write(5);
    fs.appendFileSync(file, 'rubbish\n'.repeat(1_000));
    await projectOnce(options());
    expect(await sums()).toMatchObject({ ...of(5), damaged: 1_000 });
    expect(problems).toHaveLength(11);
  });

  it('counts the torn end of a segment as damaged once a newer one has begun', async () => {
    write(5);
    fs.appendFileSync(file, '{"time":"2026');
    rotate('.1');
    write(5);
    await projectOnce(options());
    expect(await sums()).toMatchObject({ ...of(10), damaged: 1 });
  });

  it('goes on after a repair that cut off what it had read', async () => {
    write(5);
    fs.appendFileSync(file, 'rubbish\n'.repeat(500));
    await projectOnce(options());
    log.close();
    repairAudit({ file, now });
    log = reopened();
    write(5);
    await projectOnce(options());
    expect(await sums()).toMatchObject({ ...of(10), damaged: 500 });
  });

  it('notices the same while it follows', async () => {
    const projector = new Projector(options());
    write(5);
    fs.appendFileSync(file, 'rubbish\n'.repeat(500));
    while ((await projector.step()).more);
    log.close();
    repairAudit({ file, now });
    log = reopened();
    for (let turn = 0; turn < 3; turn++) await projector.step();
    write(5);
    while ((await projector.step()).more);
    await projector.close();
    expect(await sums()).toMatchObject({ ...of(10), damaged: 500 });
  });

  it('says how many lines were rotated away before they could be counted', async () => {
    write(5);
    await projectOnce(options());
    write(5);
    rotate('.1');
    fs.rmSync(`${file}.1`);
    write(5);
    await projectOnce(options());
    expect(await sums()).toMatchObject({ allowed: 8, denied: 2, missing: 9 });
    expect(problems).toMatchObject([{ message: expect.stringContaining('9 lines that are missing') }]);
  });

  it('counts a new log that took the place of the old one from its beginning', async () => {
    write(10);
    await projectOnce(options());
    log.close();
    fs.rmSync(file);
    log = reopened();
    log.note({ event: 'start', policy: 'p', detail: {} });
    write(5);
    await projectOnce(options());
    expect(await sums()).toMatchObject({ allowed: 12, denied: 3 });
    expect(problems).toMatchObject([{ message: expect.stringContaining('not the log that was counted before') }]);
  });

  it('does not count again what an old copy of the log holds', async () => {
    write(5);
    const copy = fs.readFileSync(file);
    write(5);
    await projectOnce(options());
    log.close();
    fs.writeFileSync(file, copy);
    await projectOnce(options());
    expect(await sums()).toMatchObject({ allowed: 8, denied: 2 });
    expect(problems).toMatchObject([{ message: expect.stringContaining('lost its end') }]);
  });
});

describe('bounds', () => {
  it('holds the number of names of an hour over a restart of the projection', async () => {
    const limits: Limits = { ...DEFAULT_LIMITS, usage_names_per_hour: 100 };
    for (let n = 0; n < 150; n++) {
      log.ended(endedRecord({ id: `n${n}`, host: `h${n}.example` }));
      if (n % 40 === 39) await projectOnce(options({ limits }));
    }
    await projectOnce(options({ limits }));
    const reader = openStore(store, 'read');
    const targets = await reader.db.selectFrom('target').selectAll().execute();
    const rows = await reader.db.selectFrom('usage').select('requests').execute();
    await reader.close();
    expect(targets).toHaveLength(101);
    expect(targets).toContainEqual({ id: expect.any(Number), host: '(overflow)', port: 0 });
    expect(rows.reduce((sum, row) => sum + row.requests, 0)).toBe(150);
  });
});

describe('rebuildStore', () => {
  it('sets a damaged store aside and counts from the log', async () => {
    write(20);
    fs.writeFileSync(store, 'rubbish '.repeat(100));
    await expect(projectOnce(options())).rejects.toMatchObject({ code: 'store-damaged' });
    const rebuilt = await rebuildStore({
      store,
      auditFile: file,
      limits: DEFAULT_LIMITS,
      now,
      onProblem: options().onProblem,
    });
    expect(rebuilt).toEqual({ aside: `${store}.damaged-2026-01-31T120000000Z`, lines: 36 });
    expect(fs.readFileSync(rebuilt.aside ?? '', 'utf8')).toContain('rubbish');
    expect(await sums()).toMatchObject(of(20));
  });

  it('is noticed by a projection that has the old file open', async () => {
    const projector = new Projector(options());
    write(10);
    await projector.step();
    await rebuildStore({ store, auditFile: file, limits: DEFAULT_LIMITS, now, onProblem: options().onProblem });
    write(10);
    while ((await projector.step()).more);
    await projector.close();
    expect(await sums()).toMatchObject(of(20));
  });
});

describe('startProjection', () => {
  /** Resolves when the worker has reported this seq. */
  async function reached(projection: { lag(): { seq: number } }, seq: number): Promise<void> {
    while (projection.lag().seq < seq) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  it('follows the log in a worker, and finishes it when told to stop', async () => {
    write(10);
    const projection = startProjection(options());
    await reached(projection, 18);
    expect(projection.lag()).toEqual({ bytes: 0, seq: 18 });
    write(10);
    await reached(projection, 36);
    write(10);
    await projection.stop();
    expect(await sums()).toMatchObject(of(30));
    expect(problems).toEqual([]);
  });

  it('reports a dead store, and goes on when it is mended', async () => {
    fs.mkdirSync(store);
    write(10);
    let reported = (_problem: ProjectionProblem) => {};
    const first = new Promise<ProjectionProblem>((resolve) => {
      reported = resolve;
    });
    const projection = startProjection(options({ onProblem: (problem) => reported(problem) }));
    expect(await first).toMatchObject({ code: 'store-unreadable' });
    fs.rmdirSync(store);
    await reached(projection, 18);
    await projection.stop();
    expect(await sums()).toMatchObject(of(10));
  });

  it('reports a damaged line of the log with its place', async () => {
    write(5);
    fs.appendFileSync(file, 'rubbish\n');
    const projection = startProjection(options());
    await reached(projection, 9);
    await projection.stop();
    expect(problems).toMatchObject([{ code: 'audit-damaged', file, line: 10 }]);
  });

  it('stops at once where there is nothing at all', async () => {
    const projection = startProjection(options({ auditFile: path.join(path.dirname(file), 'none.jsonl') }));
    await projection.stop();
    expect(projection.lag()).toEqual({ bytes: 0, seq: 0 });
  });
});
