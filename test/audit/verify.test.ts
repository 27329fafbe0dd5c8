import fs from 'node:fs';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { openAuditLog } from '../../src/audit/log.ts';
import { listSegments, readFileLines } from '../../src/audit/read.ts';
import { repairAudit } from '../../src/audit/repair.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { SallyportError } from '../../src/errors.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { tempDir } from '../support/temp.ts';

const now = () => new Date('2026-01-31T12:00:00.000Z');
let file: string;

beforeEach(() => {
  file = path.join(tempDir('verify'), 'audit.jsonl');
});

function open() {
  return openAuditLog({ file, node: 'n', limits: DEFAULT_LIMITS, whenFull: 'refuse', now });
}

/** Ids a, b, c: decided and ended, in this order. */
function writeThree(): string[] {
  const log = open();
  for (const id of ['a', 'b', 'c']) {
    log.decided(decidedRecord({ id }));
    log.ended(endedRecord({ id }));
  }
  log.close();
  return fs.readFileSync(file, 'latin1').split('\n').slice(0, -1);
}

function write(lines: readonly string[]): void {
  fs.writeFileSync(file, lines.map((line) => `${line}\n`).join(''), 'latin1');
}

async function whys(): Promise<string[]> {
  return (await verifyAudit(file)).problems.map(({ line, why }) => `${line}: ${why}`);
}

describe('verifyAudit', () => {
  it('says complete, and from where to where', async () => {
    writeThree();
    expect(await verifyAudit(file)).toEqual({
      complete: true,
      ...{ heartbeat_ms: null, silences: [], silence_count: 0, stopped: [] },
      files: [file],
      lines: 6,
      from: { seq: 1, time: '2026-01-31T12:00:00.000Z' },
      to: { seq: 6, time: '2026-01-31T12:00:00.000Z' },
      problems: [],
      problem_count: 0,
      open: 0,
    });
  });

  it('takes an empty or absent log as complete', async () => {
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 0, from: null });
  });

  it('finds each changed byte of a line, at the line or the one after', async () => {
    const lines = writeThree();
    const third = lines[2] ?? '';
    for (let at = 0; at < third.length; at += 7) {
      const flipped = third.slice(0, at) + String.fromCharCode(third.charCodeAt(at) ^ 1) + third.slice(at + 1);
      write([...lines.slice(0, 2), flipped, ...lines.slice(3)]);
      const { complete, problems } = await verifyAudit(file);
      expect([complete, at]).toEqual([false, at]);
      expect([3, 4, 5, 6]).toContain(problems[0]?.line);
    }
  });

  it('finds a line taken out', async () => {
    const lines = writeThree();
    write(lines.filter((_, index) => index !== 2 && index !== 3));
    expect(await whys()).toEqual([
      '3: seq jumps from 2 to 5: 2 lines are missing',
      '3: prev is not the hash of the line before: one of the two was changed',
    ]);
  });

  it('finds a line that stands twice', async () => {
    const lines = writeThree();
    write([...lines.slice(0, 2), lines[1] ?? '', ...lines.slice(2)]);
    expect((await whys())[0]).toContain('3: seq goes back from 2 to 2');
    expect((await whys()).join('\n')).toContain('a second ended line of request a');
  });

  it('finds an ended line without its decided line, but not where the log begins later', async () => {
    const lines = writeThree();
    const log = (from: number) => write(lines.slice(from));
    log(1);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, from: { seq: 2 } });
    write([...lines.slice(0, 2), ...lines.slice(3)]);
    expect((await whys()).join('\n')).toContain('request b ended, but was never decided');
  });

  it('finds what is no line, what is too long, what is cut off', async () => {
    const lines = writeThree();
    write([...lines.slice(0, 4), 'rubbish', 'x'.repeat(1_500_000)]);
    fs.appendFileSync(file, '{"time":');
    expect(await whys()).toEqual([
      '5: not a line of an audit log',
      '6: longer than any line that is written',
      '7: the last line is incomplete (a crash, or it is being written now)',
    ]);
  });

  it('finds a file that hides its beginning', async () => {
    const lines = writeThree();
    const forged = (lines[0] ?? '').replace('0'.repeat(64), '1'.repeat(64));
    write([forged]);
    expect(await whys()).toEqual(['1: the first line of the log names a line before it']);
  });

  it('finds a file that begins as another does and hides what else is in it', async () => {
    writeThree();
    fs.renameSync(file, `${file}.1`);
    const later = open();
    later.decided(decidedRecord({ id: 'd', verdict: 'deny' }));
    later.close();
    expect(await verifyAudit(file)).toMatchObject({ complete: true });
    const first = fs.readFileSync(file, 'latin1').split('\n')[0];
    fs.writeFileSync(`${file}.1`, `${first}\n${fs.readFileSync(`${file}.1`, 'latin1')}`, 'latin1');
    expect((await whys()).join('\n')).toContain('it begins as another file of the log does');
  });

  it('names compressed and unreadable segments, as they were not checked', async () => {
    writeThree();
    fs.writeFileSync(`${file}.2.gz`, 'x');
    fs.writeFileSync(`${file}.1`, 'rubbish\n');
    expect((await verifyAudit(file)).problems).toEqual([
      { file: `${file}.1`, line: 0, why: 'no sound line in this file' },
      { file: `${file}.2.gz`, line: 0, why: 'an archive that cannot be read: unpack it, or pack it with gzip' },
    ]);
  });

  it('checks what gzip has packed as what it has not, each segment once', async () => {
    const log = open();
    for (const name of ['.2', '.1']) {
      log.decided(decidedRecord({ id: name, verdict: 'deny' }));
      fs.renameSync(file, file + name);
      log.reopen();
    }
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    log.close();
    const plain = await verifyAudit(file);
    const pack = (name: string) => fs.writeFileSync(`${file}${name}.gz`, gzipSync(fs.readFileSync(file + name)));
    for (const name of ['.2', '.1']) pack(name);
    expect(await verifyAudit(file)).toEqual(plain);
    for (const name of ['.2', '.1']) fs.rmSync(file + name);
    const files = ['.2.gz', '.1.gz', ''].map((name) => file + name);
    expect(await verifyAudit(file)).toEqual({ ...plain, files });
    // Changed, and cut short.
    const [line = ''] = gunzipSync(fs.readFileSync(`${file}.2.gz`))
      .toString('latin1')
      .split('\n');
    fs.writeFileSync(`${file}.2.gz`, gzipSync(`${line.replace('"deny"', '"allow"')}\n`));
    expect(await whys()).toEqual(['1: prev is not the hash of the line before: one of the two was changed']);
    fs.writeFileSync(`${file}.2.gz`, gzipSync(`${line}\n${'x'.repeat(4_000_000)}`).subarray(0, -20));
    expect((await whys()).at(-1)).toContain('cannot be read to its end');
  });

  it('holds at most a hundred problems, and counts all', async () => {
    write([...writeThree(), ...Array(150).fill('rubbish')]);
    const verified = await verifyAudit(file);
    expect(verified.problems).toHaveLength(100);
    expect(verified.problem_count).toBe(150);
  });
});

describe('listSegments', () => {
  it('orders by the first number, not by name, and takes only what logrotate makes', () => {
    const log = open();
    for (const name of ['.2', '-20260131', '.1']) {
      log.decided(decidedRecord({ id: name, verdict: 'deny' }));
      fs.renameSync(file, file + name);
      log.reopen();
    }
    log.close();
    for (const other of ['.torn-7', '.damaged-20260131', '.lock', '-other.jsonl', '.bak'])
      fs.copyFileSync(file, file + other);
    fs.writeFileSync(path.join(path.dirname(file), 'audit-b.jsonl'), 'x');
    expect(listSegments(file).segments.map((segment) => segment.path.slice(file.length))).toEqual([
      '.2',
      '-20260131',
      '.1',
      '',
    ]);
  });
});

describe('readFileLines', () => {
  it('reads the same lines over chunk borders, from any offset', () => {
    const lines = Array.from({ length: 3_000 }, (_, n) => `${n}`.padEnd((n * 37) % 1_000, 'x'));
    write(lines);
    const read = [...readFileLines(file)];
    expect(read.map((line) => line.text)).toEqual(lines);
    const from = read[1_234]?.offset ?? 0;
    expect([...readFileLines(file, from)].map((line) => line.text)).toEqual(lines.slice(1_234));
    expect(read.at(-1)?.end).toBe(fs.statSync(file).size);
  });

  it('bounds a line without end, and finds the line after it', () => {
    fs.writeFileSync(file, `${'x'.repeat(5_000_000)}\nnext\n`);
    expect([...readFileLines(file)]).toMatchObject([
      { state: 'oversize', text: 'x'.repeat(200) },
      { state: 'whole', text: 'next' },
    ]);
  });
});

describe('repairAudit', () => {
  it.each([
    ['rubbish at the end', 'rubbish\nmore\n'],
    ['rubbish without a line end', 'rubbish\nmo'],
    ['a torn line', '{"time"'],
    ['NUL bytes', `${'\0'.repeat(5_000)}\n`],
  ])('sets %s aside, says so in the log, and the log opens', async (_what, tail) => {
    writeThree();
    fs.appendFileSync(file, tail);
    const repair = repairAudit({ file, now });
    expect(repair).toEqual({ movedTo: `${file}.damaged-2026-01-31T120000000Z`, movedBytes: tail.length, lastSeq: 6 });
    expect(fs.readFileSync(repair.movedTo ?? '', 'latin1')).toBe(tail);
    const log = open();
    log.decided(decidedRecord({ id: 'd', verdict: 'deny' }));
    log.close();
    expect((await verifyAudit(file)).problems).toMatchObject([
      { line: 7, why: expect.stringContaining(`${tail.length} damaged bytes`) },
    ]);
    expect((await verifyAudit(file)).lines).toBe(8);
  });

  it('keeps sound lines that stand after damage', () => {
    const lines = writeThree();
    write([...lines.slice(0, 4), 'rubbish', ...lines.slice(4), 'rubbish']);
    expect(repairAudit({ file, now })).toMatchObject({ movedBytes: 8, lastSeq: 6 });
    open().close();
  });

  it('continues the chain of the rotated segment where nothing in FILE is sound', async () => {
    writeThree();
    fs.renameSync(file, `${file}.1`);
    fs.writeFileSync(file, 'rubbish\n');
    expect(repairAudit({ file, now })).toMatchObject({ movedBytes: 8, lastSeq: 6 });
    open().close();
    expect(await verifyAudit(file)).toMatchObject({ lines: 7, problem_count: 1 });
  });

  it('does nothing to a sound log', () => {
    const lines = writeThree();
    expect(repairAudit({ file, now })).toEqual({ movedTo: null, movedBytes: 0, lastSeq: 6 });
    expect(fs.readFileSync(file, 'latin1')).toBe(`${lines.join('\n')}\n`);
  });

  it('keeps its hands off a log that is being written, or that is not there', () => {
    expect(() => repairAudit({ file, now })).toThrow(SallyportError);
    const log = open();
    expect(() => repairAudit({ file, now })).toThrow(expect.objectContaining({ code: 'audit-locked' }));
    log.close();
  });
});
