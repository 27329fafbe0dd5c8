// How long a report takes over a store of one million usage rows; the target is 2 s for the whole command's work.
// The rows are made here, in a temporary folder, in the shape that busy weeks have: many short jobs, each with its own actor.
// Usage: node test/bench/report.ts           1,000,000 rows, prints the times, exits 1 above the target
//        node test/bench/report.ts --quick   20,000 rows, checks only that the sums are those that were put in
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { Policy } from '../../src/policy/decide.ts';
import { buildReport, type Parts } from '../../src/report/report.ts';
import { createView } from '../../src/report/view.ts';
import { openStore } from '../../src/usage/store.ts';

const TARGET_MS = 2_000;
const HOURS = 168;
const FIRST_HOUR = 490_000;
const HOUR_MS = 3_600_000;

interface Sums {
  tunnels: number;
  denied: number;
  bytesUp: number;
  bytesDown: number;
}

/** The same numbers in every run. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Fills the dimensions and `rows` usage rows; gives back what they sum up to. */
function fill(file: string, rows: number): Sums {
  const db = new DatabaseSync(file);
  const random = randomFrom(42);
  const sums: Sums = { tunnels: 0, denied: 0, bytesUp: 0, bytesDown: 0 };
  const targets = Math.max(50, Math.ceil(rows / 200));
  const jobs = Math.ceil(rows / 16);
  const pipelines = 200;
  db.exec('PRAGMA synchronous = OFF; BEGIN');
  db.exec("INSERT INTO node (id, name) VALUES (1, 'bench')");
  const target = db.prepare('INSERT INTO target (id, host, port) VALUES (?, ?, 443)');
  for (let id = 1; id <= targets; id += 1)
    target.run(id, id % 3 === 0 ? `bucket-${id}.s3.amazonaws.com` : `host-${id}.example`);
  const pipeline = db.prepare('INSERT INTO pipeline (id, name, claimed) VALUES (?, ?, 1)');
  for (let id = 1; id <= pipelines; id += 1) pipeline.run(id, `pipeline-${id}`);
  const actor = db.prepare(
    `INSERT INTO actor (id, kind, organization, pipeline, branch, step, queue, job, agent, "user", client) VALUES (?, 'claimed', '', ?, '', ?, '', ?, ?, '', ?)`,
  );
  for (let id = 1; id <= jobs; id += 1)
    actor.run(
      id,
      `pipeline-${1 + (id % pipelines)}`,
      `step-${id % 7}`,
      `job-${id}`,
      `agent-${id % 500}`,
      `10.0.${id % 200}.9`,
    );
  const rule = db.prepare('INSERT INTO rule (id, rule, grp) VALUES (?, ?, ?)');
  rule.run(1, '', '');
  rule.run(2, 'art-s3', 'amazon-s3');
  for (let id = 3; id <= 40; id += 1) rule.run(id, `sallyport.yaml:${id}`, '');
  const usage = db.prepare('INSERT OR IGNORE INTO usage VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  for (let made = 0; made < rows; ) {
    const hour = FIRST_HOUR + Math.floor((made / rows) * HOURS);
    const targetId = 1 + Math.min(random(targets), random(targets), random(targets));
    const actorId = 1 + Math.floor((made / rows) * Math.max(1, jobs - 400)) + random(Math.min(400, jobs));
    const denied = random(20) === 0;
    const ruleId = denied ? 1 : targetId % 3 === 0 ? 2 : 3 + (targetId % 38);
    const [requests, up, down] = [1 + random(9), denied ? 0 : random(100_000), denied ? 0 : random(10_000_000)];
    const ends = denied ? ['deny', 'host-not-allowed', 'host-not-allowed'] : ['allow', 'allowed', 'closed'];
    const at = hour * HOUR_MS + random(1_000);
    const pipelineId = 1 + (actorId % pipelines);
    const done = usage.run(
      hour,
      targetId,
      actorId,
      ruleId,
      pipelineId,
      'connect',
      ...ends,
      requests,
      up,
      down,
      at,
      at + 2_000,
    );
    if (Number(done.changes) === 0) continue;
    made += 1;
    if (denied) sums.denied += requests;
    else sums.tunnels += requests;
    sums.bytesUp += up;
    sums.bytesDown += down;
  }
  db.exec(`INSERT INTO "window" VALUES (1, ${FIRST_HOUR * HOUR_MS}, ${(FIRST_HOUR + HOURS) * HOUR_MS})`);
  db.exec('COMMIT');
  db.close();
  return sums;
}

const quick = process.argv.includes('--quick');
const rows = quick ? 20_000 : 1_000_000;
const dir = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
try {
  const file = join(dir, 'usage.db');
  await openStore(file, 'write').close();
  const expected = fill(file, rows);
  const config = loadConfigHere({ file: null, now: 0 });
  const window = { from: FIRST_HOUR * HOUR_MS, to: (FIRST_HOUR + HOURS) * HOUR_MS };
  const measure = async (
    name: string,
    pipeline: string | null,
    job: string | null,
    parts: Parts = { by: null, timeline: false },
  ): Promise<number> => {
    const cpu = process.cpuUsage();
    const started = performance.now();
    const store = openStore(file, 'read');
    const view = createView({ catalog: config.catalog, rules: new Policy(config.policy).rules(), expectedDenials: [] });
    const report = await buildReport(store, view, { ...window, pipeline, job }, parts);
    await store.close();
    const took = performance.now() - started;
    const used = process.cpuUsage(cpu);
    if (pipeline === null && job === null) {
      const { tunnels, denied, bytes_up: bytesUp, bytes_down: bytesDown } = report.totals;
      assert.deepEqual({ tunnels, denied, bytesUp, bytesDown }, expected);
      const inRows = [...report.required, ...report.optional.flatMap(({ hosts }) => hosts), ...report.other];
      assert.equal(
        inRows.reduce((sum, row) => sum + row.tunnels, 0),
        expected.tunnels,
      );
      assert.equal(
        report.pipelines.reduce((sum, row) => sum + row.tunnels, 0),
        expected.tunnels,
      );
      assert.equal(
        report.denied.reduce((sum, row) => sum + row.count, 0),
        expected.denied,
      );
      for (const list of [report.breakdown?.rows, report.timeline?.points])
        if (list !== undefined)
          assert.equal(
            list.reduce((sum, row) => sum + row.tunnels, 0),
            expected.tunnels,
          );
    } else assert.ok(report.totals.requests > 0);
    if (!quick)
      console.log(
        `${name.padEnd(24)} ${took.toFixed(0).padStart(6)} ms, CPU ${((used.user + used.system) / 1_000).toFixed(0).padStart(5)} ms`,
      );
    return took;
  };
  if (quick) {
    await measure('everything', null, null);
    await measure('by agent, with plots', null, null, { by: 'agent', timeline: true });
    await measure('one pipeline', 'pipeline-7', null);
    await measure('one job', null, 'job-500');
    console.log(`sums are equal over ${rows} rows`);
  } else {
    console.log(`${rows} usage rows, SQLite ${process.versions['sqlite']}, Node ${process.versions.node}`);
    const worst = Math.max(
      await measure('everything, cold', null, null),
      await measure('everything, again', null, null),
      await measure('with plots (json, html)', null, null, { by: null, timeline: true }),
      await measure('by agent', null, null, { by: 'agent', timeline: false }),
      await measure('one pipeline', 'pipeline-7', null),
      await measure('one job', null, 'job-500'),
    );
    if (worst > TARGET_MS) {
      console.log(`slower than the target of ${TARGET_MS} ms`);
      process.exitCode = 1;
    }
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
