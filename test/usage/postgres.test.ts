// Many proxies, one PostgreSQL: real servers, real logs, processes and workers that count them. What the store says must be
// what the logs say, to the last tunnel, whatever becomes of the server.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import type { PostgresPlace, StorePlace } from '../../src/config/store-place.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Line } from '../../src/policy/record.ts';
import { readFacts } from '../../src/report/query.ts';
import { type Projection, startProjection } from '../../src/usage/project.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { type ProjectionProblem, Projector } from '../../src/usage/projector.ts';
import { rebuildStore } from '../../src/usage/rebuild.ts';
import { openStore } from '../../src/usage/store.ts';
import { counted, logged } from '../support/fleet.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { NOON, ScratchUsage, sumsOf } from '../support/usage.ts';

const LIMITS = { ...DEFAULT_LIMITS, usage_store_timeout_ms: 2_000 };
const TIMEOUT = 180_000;

/** A node with a log of its own, on a store of all. */
function node(store: StorePlace, name: string, now = NOON): Node {
  return new ScratchUsage<StorePlace>({ store, node: name, now });
}

type Node = ScratchUsage<StorePlace>;

const linesOf = (world: Node): Line[] =>
  readFileSync(world.file, 'latin1')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

/** Requests that are finished, by node and host, as the logs have them. */
const expected = (worlds: readonly Node[]): string[] => logged(worlds.flatMap(linesOf));

const reached = (projection: Projection, seq: number) =>
  vi.waitUntil(() => projection.lag().seq >= seq, { timeout: TIMEOUT, interval: 20 });

describe.skipIf(postgresBin === null)('a PostgreSQL store (skipped where postgresql is not installed)', () => {
  it('counts as SQLite does: once, with what is open, damaged and missing', { timeout: TIMEOUT }, async () => {
    const server = await Postgres.start();
    const world = node(server.place(), 'n1');
    world.write(100);
    expect(await projectOnce(world.options())).toEqual({ lines: 180 });
    expect(await projectOnce(world.options())).toEqual({ lines: 0 });
    world.log.decided(decidedRecord({ id: 'open' }));
    world.write(50);
    await projectOnce(world.options({ batchLines: 7 }));
    expect(await world.sums()).toEqual({ ...sumsOf(150), open: ['open'] });
    world.log.ended(endedRecord({ id: 'open' }));
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 121, open: [] });
    const store = await openStore(server.place(), 'read');
    expect(await readFacts(store)).toMatchObject({ first: NOON().getTime(), damagedLines: 0, missingLines: 0 });
    await store.close();
  });

  it('takes names that PostgreSQL would refuse: NUL, half a surrogate pair, thousands of characters', {
    timeout: TIMEOUT,
  }, async () => {
    const server = await Postgres.start();
    const world = node(server.place(), 'n1');
    const names = ['a\0b', 'a\ud800b', `${'x"\\{},'.repeat(1_000)}`, 'ünï', 'x'.repeat(8_000)];
    names.forEach((pipeline, n) => {
      const identity = { kind: 'claimed', attributes: {}, claimed: { pipeline, job: `${n}` } } as const;
      world.log.decided(decidedRecord({ id: `c${n}`, identity }));
      world.log.ended(endedRecord({ id: `c${n}`, identity }));
    });
    const { lines } = await projectOnce(world.options({ limits: { ...LIMITS, audit_field_bytes: 8_192 } }));
    expect(lines).toBe(10);
    expect(await world.sums()).toMatchObject({ allowed: 5 });
    expect(await projectOnce(world.options())).toEqual({ lines: 0 });
  });

  it('four nodes, the server killed with -9 again and again: the counts are those of the logs', {
    timeout: TIMEOUT,
  }, async () => {
    const server = await Postgres.start();
    const worlds = ['n1', 'n2', 'n3', 'n4'].map((name) => node(server.place(), name));
    const problems: ProjectionProblem[] = [];
    const onProblem = (problem: ProjectionProblem) => problems.push(problem);
    for (const world of worlds) world.write(50);
    const projections = worlds.map((world) =>
      startProjection(world.options({ limits: LIMITS, onProblem, batchLines: 40 })),
    );
    for (let round = 0; round < 3; round++) {
      for (const [n, world] of worlds.entries()) {
        for (let batch = 0; batch < 10; batch++) world.write(20, `h${(n + batch) % 5}.example`);
        void world.log.stats;
      }
      // In the middle: some batches are in, some are on their way.
      const behind = round * 400;
      await reached(projections[round % 4] as Projection, behind + 40);
      await server.kill();
      const said = problems.length;
      for (const world of worlds) world.write(20, 'while-it-was-gone.example');
      // One at least has met that it is gone: all may have been waiting for lines.
      await vi.waitUntil(() => problems.length > said, { timeout: TIMEOUT, interval: 20 });
      await server.restart();
    }
    await Promise.all(worlds.map((world, n) => reached(projections[n] as Projection, linesOf(world).at(-1)?.seq ?? 0)));
    await Promise.all(projections.map((projection) => projection.stop()));
    expect(await counted(server)).toEqual(expected(worlds));
    expect(new Set(problems.map(({ code }) => code))).toEqual(new Set(['store-unreadable']));
  });

  it('nodes with one name are kept apart, what one has open too, and both hear of it', {
    timeout: TIMEOUT,
  }, async () => {
    const server = await Postgres.start();
    const first = node(server.place(), 'same');
    const second = node(server.place(), 'same', () => new Date('2026-01-31T13:00:00.000Z'));
    const note = { event: 'start', policy: 'p', detail: {} } as const;
    first.log.decided(decidedRecord({ id: 'a' }));
    second.log.note(note);
    second.log.decided(decidedRecord({ id: 'a' }));
    for (let round = 0; round < 3; round++) {
      for (const world of [first, second]) {
        world.write(10);
        await projectOnce(world.options());
      }
    }
    expect(await counted(server)).toEqual(expected([first, second]));
    expect(await first.sums()).toMatchObject({ open: ['a', 'a'] });
    expect(first.problems).toEqual([]);
    expect(second.problems).toMatchObject([{ message: expect.stringContaining('another log of a node same') }]);
  });

  it('a log that is rotated, and loses what is counted, goes on', { timeout: TIMEOUT }, async () => {
    const server = await Postgres.start();
    const world = node(server.place(), 'n1');
    world.write(10);
    await projectOnce(world.options());
    world.rotate('.1');
    world.write(10);
    world.dropRotated('.1');
    await projectOnce(world.options());
    world.write(10);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject(sumsOf(30));
    expect(world.problems).toEqual([]);
  });

  it('two nodes make the tables at once', { timeout: TIMEOUT }, async () => {
    const server = await Postgres.start();
    const worlds = ['n1', 'n2', 'n3', 'n4'].map((name) => node(server.place(), name));
    for (const world of worlds) world.write(20);
    await Promise.all(worlds.map((world) => projectOnce(world.options())));
    expect(await counted(server)).toEqual(expected(worlds));
    expect(worlds.flatMap(({ problems }) => problems)).toEqual([]);
  });

  it('processes that count one log at once count each line once', { timeout: TIMEOUT }, async () => {
    const server = await Postgres.start();
    const world = node(server.place(), 'n1');
    world.write(400);
    await Promise.all([5, 7, 11].map((batchLines) => projectOnce(world.options({ batchLines }))));
    expect(await world.sums()).toMatchObject(sumsOf(400));
  });

  it('rebuild takes out this log and counts it anew, and no other', { timeout: TIMEOUT }, async () => {
    const server = await Postgres.start();
    const worlds = ['n1', 'n2'].map((name) => node(server.place(), name));
    for (const world of worlds) world.write(20);
    for (const world of worlds) await projectOnce(world.options());
    const [world] = worlds as [Node];
    const { limits, onProblem } = world.options();
    const done = await rebuildStore({ store: server.place(), auditFile: world.file, limits, now: NOON, onProblem });
    expect(done).toEqual({ aside: null, lines: 36, flows: 0, grants: 0 });
    expect(await counted(server)).toEqual(expected(worlds));
  });

  it('a server that freezes holds nothing up, and is caught up with when it thaws', { timeout: TIMEOUT }, async () => {
    const server = await Postgres.start();
    const world = node(server.place(), 'n1');
    world.write(10);
    const limits = { ...LIMITS, usage_store_timeout_ms: 300 };
    const projector = new Projector(world.options({ limits }));
    while ((await projector.step()).more);
    server.freeze('SIGSTOP');
    world.write(10);
    await expect(projector.step()).rejects.toMatchObject({ code: 'store-unreadable' });
    await expect(projector.step()).rejects.toMatchObject({ code: 'store-unreadable' });
    server.freeze('SIGCONT');
    await vi.waitUntil(
      () =>
        projector.step().then(
          ({ more }) => !more,
          () => false,
        ),
      { timeout: TIMEOUT, interval: 100 },
    );
    await projector.close();
    expect(await world.sums()).toMatchObject(sumsOf(20));
  });
});

describe('a store that does not answer', () => {
  it('is given up after a time, says its place and no password, and lets the worker stop', {
    timeout: TIMEOUT,
  }, async () => {
    const silent = net.createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as net.AddressInfo;
    const store: PostgresPlace = {
      ...{ host: '127.0.0.1', port, database: 'db', user: 'u', password: 'secret-of-the-store', passwordFile: null },
      ssl: 'disable',
      ...{ rootCert: null, cert: null, key: null },
    };
    const world = node(store, 'n1');
    world.write(10);
    const limits = { ...LIMITS, usage_store_timeout_ms: 200 };
    const failure = projectOnce(world.options({ limits }));
    await expect(failure).rejects.toMatchObject({ code: 'store-unreadable' });
    await expect(failure).rejects.toThrow(`postgres://u@127.0.0.1:${port}/db`);
    // The worker waits a second for its connection, is told to stop meanwhile, and ends.
    const projection = startProjection(world.options({ limits }));
    await vi.waitUntil(() => world.problems.length > 0, { timeout: TIMEOUT, interval: 10 });
    await projection.stop();
    expect(JSON.stringify(world.problems)).not.toContain('secret-of-the-store');
    silent.close();
  });
});
