// A catalog file of an operator, whatever stands in it: a catalog, or one SallyportError that names the place.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { loadCatalog, SHIPPED_CATALOG } from '../../src/catalog/load.ts';
import { SallyportError } from '../../src/errors.ts';
import fc from '../support/property.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { fuzz } from './budget.ts';
import { damaged, edits } from './mutate.ts';

const SHIPPED = readdirSync(SHIPPED_CATALOG)
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => readFileSync(join(SHIPPED_CATALOG, name), 'utf8').replaceAll(/^\s*#.*\n/gm, ''));

const PIECES = [
  ...[
    '\n',
    '\n  ',
    '\n    ',
    '\t',
    ': ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    '"',
    '#',
    '&a ',
    '*a',
    '!!js/regexp x',
    '!!set',
    '|',
    '---\n',
    '\0',
    '\xff',
    '?',
  ],
  ...[
    '~',
    'true',
    '.nan',
    '-1',
    '65536',
    '*',
    '*.com',
    '{region}',
    '{',
    '{}',
    '{a}{b}',
    '{region}.{region}',
    'required',
    'optional',
    '__proto__: 1\n',
    'constructor',
    '../..',
    'x'.repeat(300),
  ],
];

fuzz('catalog', 40, async ({ check }) => {
  const folder = tempDir('fuzz-catalog');
  const empty = tempDir('fuzz-catalog-shipped');
  await check(
    fc.property(fc.constantFrom(...SHIPPED), edits(PIECES, 4), fc.boolean(), (text, list, asShipped) => {
      // A part of a file: the whole takes most of the time for what is sound.
      const start = list[0] === undefined ? 0 : Math.floor(list[0].at * text.length);
      const groups = text.indexOf('\n  - id:', start);
      const head = text.slice(0, text.indexOf('\n  - id:'));
      const part = groups < 0 ? text.slice(0, 6_000) : head + text.slice(groups, groups + 3_000);
      writeFile(join(folder, 'own.yaml'), damaged(Buffer.from(part), list).toString('utf8'));
      try {
        expect(loadCatalog(asShipped ? [] : [folder], asShipped ? folder : empty).groups.size).toBeGreaterThanOrEqual(
          0,
        );
      } catch (error) {
        if (!(error instanceof SallyportError)) throw error;
        expect(error.code).toBe('catalog-invalid');
        expect(error.problems.length).toBeGreaterThan(0);
        for (const { message, hint } of error.problems) expect([message, hint]).not.toContain('');
      }
    }),
  );
});
