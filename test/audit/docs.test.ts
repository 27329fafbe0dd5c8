// docs/audit-log.md shows lines: they must be lines that a reader takes, with keys that the page explains.
import fs from 'node:fs';
import { expect, it } from 'vitest';
import { parseLine } from '../../src/audit/parse.ts';

const page = fs.readFileSync(new URL('../../docs/audit-log.md', import.meta.url), 'utf8');
const examples = page.split('\n').filter((line) => line.startsWith('{"time"'));

it('shows sound lines of every kind', () => {
  const events = examples.map((line) => parseLine(line)?.event);
  expect(events).not.toContain(undefined);
  expect(new Set(events)).toEqual(new Set(['decided', 'ended', 'start', 'gap', 'reopen']));
});

it('explains every key that it shows', () => {
  const explained = new Set(
    [...page.matchAll(/^\| (`[^|]+) \|/gm)].flatMap(([, cell]) =>
      [...(cell ?? '').matchAll(/`(\w+)`/g)].map((m) => m[1]),
    ),
  );
  const shown = new Set(examples.flatMap((line) => Object.keys(JSON.parse(line))));
  expect([...shown].filter((key) => !explained.has(key))).toEqual([]);
});
