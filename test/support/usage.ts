// A log and its usage store in a scratch folder: writes requests, counts them, reads the sums back.
import fs from 'node:fs';
import path from 'node:path';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import type { StorePlace } from '../../src/config/store-place.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Keep } from '../../src/usage/keep.ts';
import type { ProjectionOptions, ProjectionProblem } from '../../src/usage/projector.ts';
import { openStore } from '../../src/usage/store.ts';
import { decidedRecord, endedRecord } from './records.ts';
import { tempDir } from './temp.ts';

/** Days beyond any test's. */
const FOREVER: Keep = { hourly: 30_000, daily: 30_000 };

export const NOON = () => new Date('2026-01-31T12:00:00.000Z');

type InPlace = ProjectionOptions & { readonly store: StorePlace; readonly keep: Keep };

/** A SQLite file unless a test says otherwise. */
export class ScratchUsage<Place extends StorePlace = string> {
  readonly directory = tempDir('usage');
  readonly file = path.join(this.directory, 'audit.jsonl');
  readonly problems: ProjectionProblem[] = [];
  readonly store: Place;
  readonly node: string;
  log: AuditLog;
  #next = 0;

  constructor({ store, node, now }: { store?: Place; node?: string; now?: () => Date } = {}) {
    this.store = store ?? (path.join(this.directory, 'usage.db') as Place);
    this.node = node ?? 'n1';
    this.log = this.reopened(now);
  }

  reopened(now = NOON): AuditLog {
    const base = {
      file: this.file,
      node: this.node,
      limits: DEFAULT_LIMITS,
      whenFull: 'refuse',
      now,
      sync: 'none',
    } as const;
    this.log = openAuditLog(base);
    return this.log;
  }

  /** Deletes a rotated file, as logrotate does in the end. */
  dropRotated(to: string): void {
    fs.rmSync(this.file + to);
  }

  options(over: Partial<InPlace> = {}): InPlace {
    const onProblem = (problem: ProjectionProblem) => this.problems.push(problem);
    // Looking at the figures writes the ended lines of this turn.
    void this.log.stats;
    return { auditFile: this.file, store: this.store, limits: DEFAULT_LIMITS, keep: FOREVER, onProblem, ...over };
  }

  /** Whole requests of 100 bytes up and 2,000 down; one in five is refused. */
  write(count: number, host = 'github.com'): void {
    for (let n = 0; n < count; n++) {
      const id = `r${this.#next++}`;
      if (this.#next % 5 === 0) {
        const refused = { verdict: 'deny', reason: 'host-not-allowed', rule: null, group: null } as const;
        this.log.decided(decidedRecord({ id, host: 'evil.example', ...refused }));
      } else {
        this.log.decided(decidedRecord({ id, host }));
        this.log.ended(endedRecord({ id, host }));
      }
    }
  }

  rotate(to: string): void {
    fs.renameSync(this.file, this.file + to);
    this.log.reopen();
  }

  async sums() {
    const { db, close } = await openStore(this.store as StorePlace, 'read');
    const rows = await db.selectFrom('usage').selectAll().execute();
    const nodes = await db.selectFrom('node').selectAll().execute();
    const open = await db.selectFrom('open_request').select('id').execute();
    await close();
    const total = (of: typeof rows, key: 'requests' | 'bytes_up' | 'bytes_down') =>
      of.reduce((sum, row) => sum + row[key], 0);
    const requests = (verdict: string) =>
      total(
        rows.filter((row) => row.verdict === verdict),
        'requests',
      );
    const lost = (name: 'damaged_lines' | 'missing_lines') => nodes.reduce((sum, row) => sum + row[name], 0);
    return {
      allowed: requests('allow'),
      denied: requests('deny'),
      up: total(rows, 'bytes_up'),
      down: total(rows, 'bytes_down'),
      open: open.map(({ id }) => id),
      damaged: lost('damaged_lines'),
      missing: lost('missing_lines'),
    };
  }
}

/** What `write(count)` adds up to. */
export function sumsOf(count: number) {
  return { allowed: count * 0.8, denied: count * 0.2, up: count * 80, down: count * 1_600, damaged: 0, missing: 0 };
}
