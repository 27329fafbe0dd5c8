// Requests inside inspected CONNECTs, through the real log into both stores: counted by the day below their host, never among the
// tunnels, once whatever happens, within their bound over a restart, exported, imported, deleted when they are old, and reported.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadCatalog } from '../../src/catalog/load.ts';
import type { StorePlace } from '../../src/config/store-place.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Decided, Ended, Identity } from '../../src/policy/record.ts';
import { PATHS_MAX, readPaths } from '../../src/report/paths.ts';
import { readOpen } from '../../src/report/query.ts';
import { renderCsv } from '../../src/report/render-csv.ts';
import { renderHtml } from '../../src/report/render-html.ts';
import { renderMarkdown } from '../../src/report/render-markdown.ts';
import { buildReport } from '../../src/report/report.ts';
import { createView } from '../../src/report/view.ts';
import { exportUsage } from '../../src/usage/export.ts';
import { importUsage } from '../../src/usage/import.ts';
import { Keeper } from '../../src/usage/keep.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore, type Store } from '../../src/usage/store.ts';
import { OVERFLOW } from '../../src/usage/tally.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { NOON, ScratchUsage } from '../support/usage.ts';

const DAY = 86_400_000;
const BEGIN = Date.UTC(2026, 0, 31);
const ALL = { from: BEGIN, to: BEGIN + 3 * DAY, pipeline: null, job: null };
const NEAREST = { pattern: 'GET /acme/**', rule: 'p.yaml:3', why: 'no', fix: '{ methods: [POST], path: "/acme/x" }' };

const job = (name: string, pipeline = 'web'): Identity => ({
  kind: 'job',
  attributes: { job: name, pipeline },
  claimed: {},
});

class Inspected extends ScratchUsage<StorePlace> {
  clock = BEGIN;
  #id = 0;

  constructor(store?: StorePlace) {
    super({ ...(store === undefined ? {} : { store }), now: () => new Date(this.clock) });
  }

  /** A request of a job inside a CONNECT, let through or refused. */
  ask(what: string, over: Partial<Decided> & Partial<Pick<Ended, 'bytes_up'>> = {}): void {
    const [method = '', asked = ''] = what.split(' ');
    const { bytes_up = 10, ...record } = over;
    const id = `i${this.#id++}`;
    const inside = { id, tunnel: 't1', method, path: asked, identity: job('j1'), ...record };
    this.log.decided(decidedRecord(inside));
    if (record.verdict === 'deny') return;
    const { addresses: _1, nearest: _2, user_agent: _3, target: _4, dropped: _5, outcome: _6, ...ended } = inside;
    this.log.ended(endedRecord({ ...ended, bytes_up, bytes_down: 20 }));
  }

  refuse(what: string, over: Partial<Decided> = {}): void {
    const refused = { verdict: 'deny', reason: 'request-not-allowed', outcome: 'request-not-allowed' } as const;
    this.ask(what, { ...refused, nearest: NEAREST, ...over });
  }

  async read<T>(work: (store: Store) => Promise<T>): Promise<T> {
    const store = await openStore(this.store, 'write');
    try {
      return await work(store);
    } finally {
      await store.close();
    }
  }
}

const STORES = [
  ['SQLite', async () => undefined, false],
  [
    'PostgreSQL (skipped where it is not installed)',
    async () => (await Postgres.start()).place(),
    postgresBin === null,
  ],
] as const;

for (const [name, place, skipped] of STORES) {
  describe.skipIf(skipped)(`requests below a host on ${name}`, { timeout: 120_000 }, () => {
    it('are counted once below it, and the CONNECT as one tunnel', async () => {
      const world = new Inspected(await place());
      world.log.decided(decidedRecord({ id: 't1', identity: job('j1') }));
      world.ask('GET /acme/x?token=s3cret&page=1');
      world.ask('GET /acme/x?token=other');
      world.ask('GET /acme/y', { identity: job('j2', 'api') });
      world.refuse('POST /acme/x');
      world.refuse('POST /acme/x', { identity: job('j3') });
      world.clock += DAY;
      world.ask('GET /acme/x', { bytes_up: 1 });
      world.ask('PUT /acme/z', { verdict: 'observe', reason: 'request-not-allowed', nearest: NEAREST });
      world.log.ended(endedRecord({ id: 't1', identity: job('j1') }));
      await projectOnce(world.options());
      await projectOnce(world.options());
      expect(await world.sums()).toMatchObject({ allowed: 1, denied: 0, up: 100, down: 2_000, open: [] });
      const times = (first: number, last: number) => ({
        first_seen: new Date(BEGIN + first).toISOString(),
        last_seen: new Date(BEGIN + last).toISOString(),
      });
      const host = { host: 'github.com', port: 443 };
      const found = await world.read((store) => readPaths(store, ALL));
      const hint = `Add under the rule of github.com: ${NEAREST.fix}`;
      const refused = { reason: 'request-not-allowed', nearest: NEAREST, hint };
      expect(found).toEqual({
        paths: [
          { ...host, method: 'GET', path: '/acme/x', requests: 3, bytes_up: 21, bytes_down: 60, ...times(0, DAY) },
          { ...host, method: 'GET', path: '/acme/y', requests: 1, bytes_up: 10, bytes_down: 20, ...times(0, 0) },
        ],
        paths_total: 2,
        denied_paths: [
          {
            ...{ ...host, method: 'POST', path: '/acme/x', requests: 2, would_deny: false, ...refused, ...times(0, 0) },
            ...{ pipelines: ['web'], jobs: ['j1', 'j3'] },
          },
          {
            ...{
              ...host,
              method: 'PUT',
              path: '/acme/z',
              requests: 1,
              would_deny: true,
              ...refused,
              ...times(DAY, DAY),
            },
            ...{
              nearest: null,
              hint: expect.stringContaining('sallyport explain https://github.com'),
              pipelines: ['web'],
              jobs: ['j1'],
            },
          },
        ],
        denied_paths_total: 2,
      });
    });

    it('are found by pipeline, by day, and where they were refused by job', async () => {
      const world = new Inspected(await place());
      world.ask('GET /web');
      world.ask('GET /api', { identity: job('j2', 'api') });
      world.refuse('POST /web');
      world.clock += DAY;
      world.ask('GET /later');
      await projectOnce(world.options());
      const paths = (over: { from?: number; to?: number; pipeline?: string; job?: string }) =>
        world.read(async (store) => {
          const { paths: passed, denied_paths: denied } = await readPaths(store, { ...ALL, ...over });
          return [...passed, ...denied].map((row) => `${row.method} ${row.path}`);
        });
      expect(await paths({ pipeline: 'api' })).toEqual(['GET /api']);
      expect(await paths({ job: 'j1' })).toEqual(['POST /web']);
      expect(await paths({ from: BEGIN + DAY + 5_000_000 })).toEqual(['GET /later']);
      expect(await paths({ to: BEGIN + 1, pipeline: 'web' })).toEqual(['GET /web', 'POST /web']);
    });

    it('keep their bound over a restart, and the rest is counted together', async () => {
      const world = new Inspected(await place());
      const limits = { ...DEFAULT_LIMITS, usage_paths_per_day: 10 };
      for (let n = 0; n < 8; n++) world.ask(`GET /${n}`);
      await projectOnce(world.options({ limits }));
      for (let n = 4; n < 20; n++) world.ask(`GET /${n}`);
      await projectOnce(world.options({ limits }));
      const { paths } = await world.read((store) => readPaths(store, ALL));
      expect(paths.map((row) => [row.path, row.requests])).toEqual([
        [OVERFLOW, 10],
        ...['/4', '/5', '/6', '/7'].map((one) => [one, 2]),
        ...['/0', '/1', '/2', '/3', '/8', '/9'].map((one) => [one, 1]),
      ]);
    });

    it('are no open tunnels while they last', async () => {
      const world = new Inspected(await place());
      world.log.decided(decidedRecord({ id: 't1' }));
      world.log.decided(decidedRecord({ id: 'i', tunnel: 't1', method: 'GET', path: '/x' }));
      await projectOnce(world.options());
      expect((await world.read(readOpen)).map(({ id }) => id)).toEqual(['t1']);
    });

    it('go through an export into another store, once', async () => {
      const world = new Inspected();
      world.ask('GET /acme/x');
      world.refuse('POST /acme/x');
      await projectOnce(world.options());
      const file = path.join(world.directory, 'export.jsonl');
      await world.read((store) => exportUsage(store, file, NOON()));
      const other = new Inspected(await place());
      await other.read((store) => importUsage(store, file));
      await other.read((store) => importUsage(store, file));
      const [from, to] = [
        await world.read((store) => readPaths(store, ALL)),
        await other.read((store) => readPaths(store, ALL)),
      ];
      expect(to).toEqual(from);
      expect(to.paths_total + to.denied_paths_total).toBe(2);
      fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('"method":"GET"', '"method":7'));
      await expect(other.read((store) => importUsage(store, file))).rejects.toMatchObject({ code: 'export-invalid' });
    });

    it('are deleted with the days that are', async () => {
      const world = new Inspected(await place());
      world.ask('GET /old', { identity: job('j-old', 'old') });
      world.refuse('POST /old', { identity: job('j-old', 'old') });
      world.clock += 3 * DAY;
      world.ask('GET /new');
      await projectOnce(world.options());
      await world.read(async (store) => {
        const keeper = new Keeper({ hourly: 1, daily: 2 }, 1);
        for (let steps = 0; await keeper.step(store, world.clock); steps++) expect(steps).toBeLessThan(100);
        const rows = await store.db.selectFrom('path').select('path').execute();
        expect(rows).toEqual([{ path: '/new' }]);
        const actors = await store.db.selectFrom('actor').select('pipeline').execute();
        expect(actors).toEqual([{ pipeline: 'web' }]);
      });
    });
  });
}

describe('a report', () => {
  it('lists them in every format, harmless, and at most PATHS_MAX of them', async () => {
    const world = new Inspected();
    const limits = { ...DEFAULT_LIMITS, usage_paths_per_day: 2_000 };
    for (let n = 0; n <= PATHS_MAX; n++) world.ask(`GET /acme/${n}`);
    for (let n = 0; n < 3; n++) world.refuse('POST /acme/<script>|=1+1');
    await projectOnce(world.options({ limits }));
    const view = createView({ catalog: loadCatalog([]), rules: [], expectedDenials: [] });
    const report = await world.read((store) => buildReport(store, view, ALL));
    expect([report.paths.length, report.paths_total]).toEqual([PATHS_MAX, PATHS_MAX + 1]);
    expect(report.totals).toMatchObject({ requests: 0, tunnels: 0, denied: 0 });
    const csv = renderCsv(report).split('\r\n');
    expect(csv.filter((line) => line.startsWith('denied-path,'))).toHaveLength(1);
    expect(csv.filter((line) => line.startsWith('path,'))).toHaveLength(PATHS_MAX);
    const markdown = renderMarkdown(report);
    expect(markdown).toContain('### Denied below inspected hosts');
    expect(markdown).toContain('### Below inspected hosts');
    expect(markdown).not.toContain('<script>');
    const html = renderHtml(report);
    expect(html).toContain('Denied below inspected hosts');
    expect(html).not.toContain('<script>');
  });
});
