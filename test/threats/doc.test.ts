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

describe('docs/threat-model.md', () => {
  it('has a row for each row of the suite, with its title and its file, and no other', () => {
    expect(rows.length).toBeGreaterThan(100);
    expect([...rows].sort()).toEqual([...new Set(tests)].sort());
  });

  it('has each row once', () => {
    expect(new Set(rows.map((row) => row.split(' ', 1)[0])).size).toBe(rows.length);
  });

  it('names no limit that does not exist', () => {
    const named = [...PAGE.matchAll(/`([a-z]+(?:_[a-z]+)+_(?:ms|bytes|max|s|fields|entries|hour))`/g)].map(
      ([, name]) => name,
    );
    expect(named.length).toBeGreaterThan(10);
    for (const name of named) expect(LIMIT_NAMES).toContain(name);
  });
});
