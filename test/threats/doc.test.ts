// docs/threat-model.md and the suite say the same: each row names a test that is there, and each test has its row.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LIMIT_NAMES } from '../../src/limits.ts';

const PAGE = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'threat-model.md'), 'utf8');
const ROW = /^\| ([A-Z]\d+) \| (.*?) \| .* \| \[[^\]]+\]\(\.\.\/test\/threats\/([a-z-]+\.test\.ts)\) \|$/gm;
const TITLE = /\b(?:row|describe)\(\s*'([A-Z]\d+) ([^']*)'/g;

const rows = [...PAGE.matchAll(ROW)].map(([, id, title, file]) => `${id} ${title} (${file})`);
const titles = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.test.ts'))
  .flatMap((file) =>
    [...readFileSync(join(import.meta.dirname, file), 'utf8').matchAll(TITLE)].map(([, id, title]) => ({
      id,
      title: title as string,
      file,
    })),
  );
/** A further describe of a row repeats its title and goes on behind a colon. */
const isMore = (one: (typeof titles)[number]): boolean =>
  titles.some(({ id, title }) => id === one.id && one.title.startsWith(`${title}: `));
const tests = titles.filter((one) => !isMore(one)).map(({ id, title, file }) => `${id} ${title} (${file})`);

/** How often is looked, how long our own work may take, when to warn, how much a command tells. */
const OPERATORS =
  /^(?:drain_spread_ms|upgrade_timeout_ms|audit_(?:sync|heartbeat|disk)_\w+|ship_\w+|\w+_poll_ms|watch_interval_ms|usage_(?:store|lag)_\w+|replay_\w+)$/;

describe('docs/threat-model.md', () => {
  it('has a row for each row of the suite, with its title and its file, and no other', () => {
    expect(rows.length).toBeGreaterThan(100);
    expect([...rows].sort()).toEqual([...new Set(tests)].sort());
  });

  it('has each row once', () => {
    expect(new Set(rows.map((row) => row.split(' ', 1)[0])).size).toBe(rows.length);
  });

  it('says of each limit which attack it is for; those that only an operator meets stand here', () => {
    const [, table = ''] = /^## What the limits are for\n(.*?)^## /ms.exec(PAGE) ?? [];
    const named = [...table.matchAll(/^\| (?!attack|---)[^|]+ \| ([^|]+) \|/gm)].flatMap(
      ([, cell = '']) => cell.match(/\w+/g) ?? [],
    );
    expect(named.filter((name) => !LIMIT_NAMES.some((limit) => limit === name))).toEqual([]);
    expect(named.length).toBe(new Set(named).size);
    const ours = LIMIT_NAMES.filter((name) => OPERATORS.test(name));
    expect([...named, ...ours].toSorted()).toEqual(LIMIT_NAMES.toSorted());
  });
});
