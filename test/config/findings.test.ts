// A file with thousands of mistakes is answered in reasonable time, with what a person can read and the count of the rest.
import { describe, expect, it } from 'vitest';
import { inFolderOfItsOwn, loadText } from './support.ts';

inFolderOfItsOwn();

const rules = (...lines: string[]): string => `version: 1\nallow:\n${lines.map((line) => `  - ${line}\n`).join('')}`;

describe('a file full of mistakes', () => {
  it('gives the first fifty errors and the count of all', () => {
    const { error, problems } = loadText(rules(...Array<string>(5_000).fill('"*.com"')));
    expect(problems).toHaveLength(50);
    expect(error?.message).toContain('(and 4999 more)');
  });

  it('gives two hundred warnings and the count of the rest', () => {
    const { error, problems } = loadText(rules(...Array<string>(1_000).fill('a.example')));
    expect(error).toBeNull();
    expect(problems).toHaveLength(201);
    expect(problems.at(-1)?.message).toBe('799 more warnings');
  });
});
