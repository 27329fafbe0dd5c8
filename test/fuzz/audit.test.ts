// Audit logs that somebody or something damaged: verify, scan, repair, the writer and the projection end with an answer or a
// SallyportError; verify never calls complete what was changed; no line is counted twice, however the log was cut and mixed.
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { openAuditLog } from '../../src/audit/log.ts';
import { listSegments } from '../../src/audit/read.ts';
import { repairAudit } from '../../src/audit/repair.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { SallyportError } from '../../src/errors.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import fc from '../support/property.ts';
import { decidedRecord } from '../support/records.ts';
import { NOON, ScratchUsage } from '../support/usage.ts';
import { fuzz } from './budget.ts';
import { damaged, type Edit, edits } from './mutate.ts';

const PIECES = [
  ...['\n', '\n\n', '\r\n', '\0', '{', '}', '"', '\\', '\\ud800', ',', ':', '\xff', ' ', '{}\n', 'null\n', '[]\n'],
  ...[
    '0',
    '-1',
    '-0',
    '1e3',
    '1.5',
    '9007199254740991',
    '9007199254740993',
    '1e999',
    'null',
    'true',
    '""',
    '"__proto__"',
    '"seq":1',
    '"seq":99',
    '"event":"start"',
    '"time":"2026"',
    '"time":"+275760-09-13T00:00:00.000Z"',
    '"time":"-000001-01-01T00:00:00.000Z"',
    '"id":"r1"',
    '"bytes_up":9007199254740991',
    '"host":null',
    '"node":"n2"',
    '"__proto__":{}',
  ],
];

/** A change to the lines of one segment; places are parts of their number. */
interface Move {
  readonly kind: 'drop' | 'double' | 'swap' | 'copy' | 'cut';
  readonly from: number;
  readonly to: number;
}

const place = fc.double({ min: 0, max: 1, noNaN: true });
const move = fc.record<Move>({
  kind: fc.constantFrom('drop', 'double', 'swap', 'copy', 'cut'),
  from: place,
  to: place,
});

function moved(text: string, other: string, moves: readonly Move[]): string {
  const lines = text.split('\n').slice(0, -1);
  const others = other.split('\n').slice(0, -1);
  for (const { kind, from, to } of moves) {
    const at = Math.floor(from * lines.length);
    const there = Math.floor(to * lines.length);
    if (kind === 'drop') lines.splice(at, 1);
    else if (kind === 'double') lines.splice(there, 0, ...lines.slice(at, at + 3));
    else if (kind === 'swap' && lines.length > 1) [lines[at], lines[there]] = [lines[there] ?? '', lines[at] ?? ''];
    else if (kind === 'copy')
      lines.splice(at, 0, ...others.slice(Math.floor(to * others.length), Math.floor(to * others.length) + 2));
    else if (kind === 'cut') lines.length = at;
  }
  return lines.map((line) => `${line}\n`).join('');
}

interface Harm {
  readonly file: number;
  readonly moves: readonly Move[];
  readonly edits: readonly Edit[];
}

const harm = fc.record<Harm>({
  file: fc.nat({ max: 2 }),
  moves: fc.array(move, { maxLength: 3 }),
  edits: edits(PIECES, 3),
});
const SEGMENTS = ['audit.jsonl.2', 'audit.jsonl.1', 'audit.jsonl'] as const;

/** Three segments with whole requests, refusals, and two requests that are open over a rotation and at the end. */
function soundLog(world: ScratchUsage): string[] {
  let ms = NOON().getTime();
  world.log.close();
  fs.rmSync(world.file);
  world.reopened(() => new Date(ms++));
  world.write(6);
  world.log.decided(decidedRecord({ id: 'open-1' }));
  world.rotate('.2');
  world.write(6, 'a.example');
  world.rotate('.1');
  world.write(4, 'b.example');
  world.log.decided(decidedRecord({ id: 'open-2' }));
  world.log.close();
  return SEGMENTS.map((name) => fs.readFileSync(path.join(world.directory, name), 'latin1'));
}

function put(world: ScratchUsage, texts: readonly string[]): void {
  for (const name of fs.readdirSync(world.directory)) {
    if (!name.startsWith('usage.db')) fs.rmSync(path.join(world.directory, name), { recursive: true });
  }
  for (const [index, text] of texts.entries())
    fs.writeFileSync(path.join(world.directory, SEGMENTS[index]!), text, 'latin1');
}

/** What an act gives, or the code of its SallyportError; any other error is a finding. */
async function answer<T>(act: () => T | Promise<T>): Promise<T | string> {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    return error.code;
  }
}

/** Distinct lines that count as a request once: ended ones, and decided ones that are final. */
function countable(texts: readonly string[]): Set<string> {
  const found = new Set<string>();
  for (const line of texts.flatMap((text) => text.split('\n'))) {
    if (/"event":"(?:ended|decided)"/.test(line)) found.add(line);
  }
  return new Set(
    [...found].filter(
      (line) => line.includes('"event":"ended"') || line.includes('"verdict":"deny"') || line.includes('"outcome":'),
    ),
  );
}

const LATER = () => new Date(NOON().getTime() + 3_600_000);

async function counted(world: ScratchUsage): Promise<number> {
  const { allowed, denied } = await world.sums();
  return allowed + denied;
}

/** The lines as one text, so that a part of it is a run of lines. */
const joined = (texts: readonly string[]): string => `\n${texts.join('')}`;

async function judge(world: ScratchUsage, sound: readonly string[], texts: readonly string[]): Promise<void> {
  const verified = await verifyAudit(world.file);
  const read = listSegments(world.file).segments.map((segment) => fs.readFileSync(segment.path, 'latin1'));
  if (verified.complete) expect(joined(sound), 'changed, and called complete').toContain(joined(read));
  await answer(() => projectOnce(world.options()));
  const once = await counted(world);
  expect(once, 'a line was counted twice').toBeLessThanOrEqual(countable([...sound, ...texts]).size);
  await answer(() => projectOnce(world.options({ batchLines: 3 })));
  expect(await counted(world)).toBe(once);
}

/** The writer goes on, at the latest after a repair; what it writes is counted once. */
async function goOn(world: ScratchUsage): Promise<void> {
  const open = () =>
    openAuditLog({
      file: world.file,
      node: 'n1',
      limits: DEFAULT_LIMITS,
      whenFull: 'refuse',
      now: LATER,
      sync: 'none',
    });
  let log = await answer(open);
  if (typeof log === 'string') {
    expect(log).toBe('audit-damaged');
    await answer(() => repairAudit({ file: world.file, now: LATER }));
    log = await answer(open);
  }
  if (typeof log === 'string') return;
  log.decided(decidedRecord({ id: 'later', verdict: 'deny', reason: 'host-not-allowed', outcome: 'host-not-allowed' }));
  log.close();
  expect((await verifyAudit(world.file)).to).not.toBeNull();
  const before = await counted(world);
  await answer(() => projectOnce(world.options()));
  const after = await counted(world);
  await answer(() => projectOnce(world.options()));
  expect(await counted(world)).toBe(after);
  expect(after).toBeGreaterThanOrEqual(before);
}

fuzz('audit', 8, async ({ check }) => {
  const world = new ScratchUsage();
  const sound = soundLog(world);
  const cases = fc.record({
    harms: fc.array(harm, { minLength: 1, maxLength: 3 }),
    /** How many of the segments are counted before they are damaged. */
    before: fc.nat({ max: 3 }),
  });
  await check(
    fc.asyncProperty(cases, async ({ harms, before }) => {
      for (const suffix of ['', '-wal', '-shm']) fs.rmSync(world.store + suffix, { force: true });
      if (before > 0) {
        // The newest of them is FILE, as it was when it was written.
        put(world, sound.slice(0, before));
        fs.renameSync(path.join(world.directory, SEGMENTS[before - 1]!), world.file);
        await projectOnce(world.options());
      }
      const texts = [...sound];
      for (const { file, moves, edits: list } of harms) {
        const changed = moved(texts[file]!, texts[(file + 1) % 3]!, moves);
        texts[file] = damaged(Buffer.from(changed, 'latin1'), list).toString('latin1');
      }
      put(world, texts);
      if (before === 0) await answer(() => projectOnce(world.options({ batchLines: 5 })));
      await judge(world, sound, texts);
      await goOn(world);
    }),
  );
});
