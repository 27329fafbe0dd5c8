// Whether a query finds every line of its window in whatever file it stands, and says the truth about what is not there.
import fs from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { filterMatches, type RequestFilter } from '../../src/audit/filter.ts';
import { type Completeness, queryAudit } from '../../src/audit/query.ts';
import { parseCidr } from '../../src/policy/address.ts';
import { parseRuleText } from '../../src/policy/pattern.ts';
import type { Identity } from '../../src/policy/record.ts';
import { ScratchLog } from '../support/audit.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const HOUR = 3_600_000;
const START = Date.parse('2026-01-31T00:00:00.000Z');
const DENIED = { verdict: 'deny', reason: 'host-not-allowed' } as const;
const ALL: RequestFilter = { host: null, job: null, pipeline: null, client: null, verdict: null, id: null };

let scratch: ScratchLog;
let file: string;
let now: number;
beforeEach(() => {
  scratch = new ScratchLog();
  file = scratch.file;
  now = START;
});
afterEach(() => scratch.close());

const open = (over = {}): AuditLog => scratch.open({ now: () => new Date(now), ...over });
const at = (hour: number): number => START + hour * HOUR;

/** A refusal at each full hour, named after it; the file is rotated before the hours named. */
function history(hours: number, rotateBefore: Readonly<Record<number, string>> = {}): AuditLog {
  const log = open();
  for (let hour = 0; hour < hours; hour++) {
    now = at(hour);
    const to = rotateBefore[hour];
    if (to !== undefined) {
      fs.renameSync(file, file + to);
      log.reopen();
    }
    log.decided(decidedRecord({ id: `h${hour}`, ...DENIED }));
  }
  return log;
}

function pack(name: string): string {
  fs.writeFileSync(`${name}.gz`, gzipSync(fs.readFileSync(name)));
  fs.rmSync(name);
  return `${name}.gz`;
}

async function query(
  from: number | null = null,
  to: number | null = null,
  filter: Partial<RequestFilter> = {},
): Promise<Completeness & { readonly ids: readonly string[] }> {
  const ids: string[] = [];
  const asked = { ...ALL, ...filter };
  const found = await queryAudit({
    file,
    window: {
      from: from === null ? Number.NEGATIVE_INFINITY : at(from),
      to: to === null ? Number.POSITIVE_INFINITY : at(to),
    },
    matches: (line) => filterMatches(asked, line),
    take: async (matches) => {
      for (const { line, text } of matches) {
        expect(JSON.parse(text)).toEqual(line);
        if ('id' in line) ids.push(line.id);
      }
      return true;
    },
  });
  if (found === null) throw new Error('it was ended');
  return { ...found, ids };
}

const whys = ({ problems }: Completeness): string[] => problems.map(({ why }) => why);
const names = ({ files }: Completeness): string[] => files.map((one) => path.basename(one));

/** Changes one line of a file, counting from 0. */
function spoil(name: string, number: number, to: string): void {
  const texts = scratch.texts(name);
  texts[number] = to;
  fs.writeFileSync(name, `${texts.join('\n')}\n`);
}

describe('a query', () => {
  it('finds the lines of plain and packed segments in their order, from its beginning on and before its end', async () => {
    history(9, { 3: '-20260131', 6: '.1' });
    pack(`${file}-20260131`);
    const found = await query(1, 8);
    expect(found.ids).toEqual(['h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'h7']);
    // Two reopen notes stand among them.
    expect(found).toMatchObject({ complete: true, matched: 9, lines: 11, problem_count: 0, unopened: [] });
    expect(found.first).toEqual({ seq: 2, time: '2026-01-31T01:00:00.000Z' });
    expect(found.last?.time).toBe('2026-01-31T07:00:00.000Z');
  });

  it('reads only the segments that its time touches, with the line before and the line after', async () => {
    history(9, { 2: '.3', 4: '.2', 6: '.1' });
    spoil(`${file}.3`, 0, 'rubbish');
    spoil(file, 2, 'rubbish');
    const found = await query(4, 6);
    expect(found).toMatchObject({ complete: true, ids: ['h4', 'h5'] });
    expect(names(found)).toEqual(['audit.jsonl.2', 'audit.jsonl.1', 'audit.jsonl']);
    expect((await query(3, 6)).complete).toBe(true);
    expect(names(await query(0, 2))).toEqual(['audit.jsonl.3', 'audit.jsonl.2']);
  });

  it('counts damage where it may lie in the window, and only there', async () => {
    history(9);
    spoil(file, 4, 'rubbish');
    expect(await query(0, 3)).toMatchObject({ complete: true, ids: ['h0', 'h1', 'h2'] });
    expect(await query(6, 9)).toMatchObject({ complete: true, ids: ['h6', 'h7', 'h8'] });
    for (const [from, to] of [
      [4, 5],
      [0, null],
      [3.5, 3.6],
    ] as const) {
      const found = await query(from, to);
      expect(found.complete).toBe(false);
      expect(found.problems[0]).toMatchObject({ file, line: 5, why: 'not a line of an audit log' });
    }
  });

  it('sees a segment that is missing, in the middle and at the beginning', async () => {
    history(9, { 3: '.2', 6: '.1' });
    fs.rmSync(`${file}.1`);
    expect(whys(await query(2, 8))[0]).toContain('4 lines are missing');
    expect((await query(6.5, null)).complete).toBe(true);
    expect((await query(null, 2)).complete).toBe(true);
    // The missing lines may be of any time between the two that are there.
    expect((await query(4, 5)).complete).toBe(false);
    fs.rmSync(`${file}.2`);
    expect(whys(await query(1, 8))).toEqual([expect.stringContaining('the log begins here, with line 8')]);
    expect(whys(await query(1, 2))).toEqual([expect.stringContaining('what came before is not there')]);
    expect(await query()).toMatchObject({ complete: true, ids: ['h6', 'h7', 'h8'] });
  });

  it('says what was changed, and what could not be written', async () => {
    const log = history(3);
    now = at(3);
    log.note({ event: 'gap', policy: 'p', detail: { dropped: 2, cause: 'ENOSPC' } });
    log.decided(decidedRecord({ id: 'h3', ...DENIED }));
    spoil(file, 1, scratch.texts()[1]?.replace('github.com', 'gitlab.com') ?? '');
    expect(whys(await query())).toEqual([
      'prev is not the hash of the line before: one of the two was changed',
      'gap: 2 records could not be written (ENOSPC)',
    ]);
    expect(whys(await query(2.5))).toEqual(['gap: 2 records could not be written (ENOSPC)']);
  });

  it('takes the torn end of the newest file for a line that is being written', async () => {
    history(3);
    fs.appendFileSync(file, '{"time":"2026-01-31T02');
    expect((await query()).complete).toBe(true);
  });
});

describe('an archive', () => {
  it('that breaks off is read as far as it goes, and named', async () => {
    history(9, { 3: '.2', 6: '.1' });
    const whole = gzipSync(fs.readFileSync(`${file}.2`));
    fs.rmSync(`${file}.2`);
    fs.writeFileSync(`${file}.2.gz`, whole.subarray(0, whole.length - 20));
    const found = await query(0, 9);
    expect(found.complete).toBe(false);
    expect(whys(found)[0]).toMatch(/audit\.jsonl\.2\.gz cannot be read to its end: unexpected end of file/);
    expect((await query(6, 9)).complete).toBe(true);
  });

  it('of another kind matters only where its lines are missed', async () => {
    history(9, { 3: '.2', 6: '.1' });
    fs.renameSync(`${file}.2`, `${file}.2.xz`);
    const unopened = [`${file}.2.xz`];
    expect(await query(6, 9)).toMatchObject({ complete: true, unopened });
    expect(await query(1, 9)).toMatchObject({ complete: false, unopened });
    // Nothing was said of the beginning, but something is there that may be older.
    expect(whys(await query())).toEqual([expect.stringContaining('or is in an archive that was not read')]);
    fs.writeFileSync(`${file}.1.gz`, 'not gzip');
    fs.rmSync(`${file}.1`);
    fs.rmSync(file);
    expect(await query(6, 9)).toMatchObject({ complete: false, files: [], unopened: [`${file}.1.gz`, ...unopened] });
  });

  it('beside its own plain file counts once', async () => {
    history(4, { 2: '.1' });
    fs.writeFileSync(`${file}.1.gz`, gzipSync(fs.readFileSync(`${file}.1`)));
    expect(await query()).toMatchObject({ complete: true, ids: ['h0', 'h1', 'h2', 'h3'] });
  });

  it('may be made, and segments renamed, while the log is read', async () => {
    history(9, { 3: '.2', 6: '.1' });
    const ids: string[] = [];
    const found = await queryAudit({
      file,
      window: { from: at(0), to: at(99) },
      matches: ({ event }) => event === 'decided',
      take: async (matches) => {
        for (const { line } of matches) if ('id' in line) ids.push(line.id);
        if (fs.existsSync(`${file}.3.gz`)) return true;
        fs.renameSync(`${file}.2`, `${file}.3`);
        fs.renameSync(`${file}.1`, `${file}.2`);
        fs.renameSync(file, `${file}.1`);
        for (const suffix of ['.3', '.2']) pack(file + suffix);
        return true;
      },
    });
    expect(found).toMatchObject({ complete: true, matched: 9 });
    expect(ids).toEqual(['h0', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'h7', 'h8']);
  });
});

describe('a branch of an upgrade', () => {
  /** Forked at hour 1; the old process writes at hours 2 and 3, the new one at hour 2 and later. */
  function upgraded(later = 50): string {
    const old = open();
    old.decided(decidedRecord({ id: 'a' }));
    now = at(1);
    const fork = old.handOver();
    const log = open({ takeOver: fork });
    now = at(2);
    log.decided(decidedRecord({ id: 'new', ...DENIED }));
    old.ended(endedRecord({ id: 'a' }));
    now = at(3);
    old.note({ event: 'stop', policy: 'p', detail: {} });
    old.close();
    now = at(later);
    log.decided(decidedRecord({ id: 'later', ...DENIED }));
    log.close();
    return fs.readdirSync(scratch.directory).find((name) => /\.drain-\d+$/.test(name)) ?? '';
  }

  it('is read after the main chain, packed or not, as far as the time touches it', async () => {
    const branch = upgraded();
    expect(await query()).toMatchObject({ complete: true, ids: ['a', 'new', 'later', 'a'] });
    expect(names(await query(4, 60))).toEqual(['audit.jsonl']);
    pack(path.join(scratch.directory, branch));
    const found = await query(2, 3);
    expect(found).toMatchObject({ complete: true, ids: ['new', 'a'] });
    expect(names(found)).toContain(`${branch}.gz`);
  });

  it('that is missing makes incomplete whatever its process may have written', async () => {
    const branch = upgraded();
    fs.rmSync(path.join(scratch.directory, branch));
    const missing = [expect.stringContaining(`the branch ${branch} is missing`)];
    expect(whys(await query(2, 3))).toEqual(missing);
    expect(whys(await query())).toEqual(missing);
    expect((await query(49, 60)).complete).toBe(true);
  });

  it('is missed where the segment that names it need not be read', async () => {
    const branch = upgraded(4);
    fs.rmSync(path.join(scratch.directory, branch));
    const log = open();
    for (const [hour, to] of [
      [10, '.8'],
      [11, '.9'],
    ] as const) {
      now = at(hour);
      fs.renameSync(file, file + to);
      log.reopen();
    }
    const found = await query(11.5);
    expect(names(found)).toEqual(['audit.jsonl']);
    expect(whys(found)).toEqual([expect.stringContaining(`the branch ${branch} is missing`)]);
    // A drain takes a day at most.
    expect((await query(26)).complete).toBe(true);
  });
});

describe('what is found', () => {
  it('is handed over in pieces, and not further once it is not wanted', async () => {
    const log = open();
    for (let n = 0; n < 6_000; n++) log.decided(decidedRecord({ id: `r${n}`, ...DENIED }));
    const sizes: number[] = [];
    const ask = (wanted: number) =>
      queryAudit({
        file,
        window: { from: at(0), to: at(1) },
        matches: () => true,
        take: async (matches) => {
          sizes.push(matches.reduce((sum, { text }) => sum + text.length, 0));
          return sizes.length < wanted;
        },
      });
    expect(await ask(99)).toMatchObject({ matched: 6_000 });
    expect(sizes.length).toBeGreaterThan(2);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1_048_576);
    sizes.length = 0;
    expect(await ask(2)).toBeNull();
    expect(sizes.length).toBe(2);
  });

  const job = (pipeline: string, id: string): Identity => ({
    kind: 'job',
    attributes: { pipeline, job: id },
    claimed: {},
  });
  const claim: Identity = { kind: 'claimed', attributes: {}, claimed: { pipeline: 'web', job: 'j9' } };
  const host = (text: string) => {
    const parsed = parseRuleText(text);
    if (!parsed.ok) throw new Error(parsed.problem);
    return { host: parsed };
  };
  it.each<[string, Partial<RequestFilter>, readonly string[]]>([
    ['everything', {}, ['r1', 'r2', 'r3', 'r4', 'r4']],
    ['a host', host('a.example'), ['r1']],
    ['a pattern, which is never its own domain', host('*.a.example'), ['r2']],
    ['a host and a port', host('*.a.example:443'), []],
    ['an address', host('[2001:db8::1]'), ['r3']],
    ['a job', { job: 'j2' }, ['r2']],
    ['a pipeline, claimed or proven', { pipeline: 'web' }, ['r1', 'r3']],
    ['a glob of pipelines', { pipeline: 'deploy-*' }, ['r2']],
    ['a range of clients', { client: parseCidr('10.0.0.0/24') }, ['r1', 'r3', 'r4', 'r4']],
    ['a client', { client: parseCidr('10.1.0.9') }, ['r2']],
    ['a verdict', { verdict: 'allow' }, ['r4', 'r4']],
    ['an id', { id: 'r4' }, ['r4', 'r4']],
    ['two of them', { id: 'r4', verdict: 'deny' }, []],
  ])('is what was asked for: %s', async (_what, filter, ids) => {
    const log = open();
    log.decided(decidedRecord({ id: 'r1', host: 'a.example', identity: job('web', 'j1'), ...DENIED }));
    log.decided(
      decidedRecord({
        id: 'r2',
        host: 'x.a.example',
        port: 8443,
        client: '10.1.0.9',
        identity: job('deploy-x', 'j2'),
        ...DENIED,
      }),
    );
    log.decided(decidedRecord({ id: 'r3', host: '2001:db8::1', identity: claim, ...DENIED }));
    log.decided(decidedRecord({ id: 'r4' }));
    log.ended(endedRecord({ id: 'r4' }));
    log.note({ event: 'start', policy: 'p', detail: {} });
    const found = await query(null, null, filter);
    expect(found.ids).toEqual(ids);
    // A note is of no request.
    expect(found.matched).toBe(Object.keys(filter).length === 0 ? ids.length + 1 : ids.length);
  });
});
