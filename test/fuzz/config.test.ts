// Whatever stands in the file: a policy or a SallyportError with a place, never another error and never a hang.

import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { SHIPPED_POLICY } from '../../src/config/initial-policy.ts';
import { inFolderOfItsOwn, loadText } from '../config/support.ts';
import fc from '../support/property.ts';
import { fuzz } from './budget.ts';
import { damaged, edits } from './mutate.ts';

inFolderOfItsOwn();

const SHIPPED = readFileSync(SHIPPED_POLICY, 'utf8').replaceAll(/^\s*#.*\n/gm, '');

/** loadText throws what is no SallyportError; a refusal must say where. */
function answers(text: string): void {
  const { error, problems } = loadText(text);
  if (error === null) return;
  expect(problems.length).toBeGreaterThan(0);
  for (const { at, message, hint } of problems) {
    expect(at?.line).toBeGreaterThanOrEqual(1);
    expect(at?.column).toBeGreaterThanOrEqual(1);
    expect(message).not.toBe('');
    expect(hint).not.toBe('');
  }
}

const key = fc.constantFrom(
  'version',
  'allow',
  'deny',
  'clients',
  'from',
  'host',
  'group',
  'limits',
  'tests',
  'for',
  '__proto__',
  'x',
);
const scalar = fc.oneof(
  fc.constantFrom(
    null,
    true,
    0,
    443,
    -1,
    1.5,
    '',
    '*',
    '*.com',
    'a.example',
    '10.0.0.0/8',
    'buildkite-agent',
    '2026-02-30',
  ),
  fc.string({ maxLength: 12 }),
);
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    scalar,
    fc.array(tie('tree'), { maxLength: 4 }),
    fc.dictionary(key, tie('tree'), { maxKeys: 4 }),
  ),
}));

const PIECES = [
  ...[
    '\n',
    '\n  ',
    '\t',
    ': ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    '"',
    "'",
    '#',
    '&a ',
    '*a',
    '!!js/regexp x',
    '!!binary x',
    '<<: *a',
    '|',
    '>',
    '%',
    '@',
    '`',
    '?',
    '---\n',
    '...\n',
    '\0',
    '\x85',
    '\xff',
  ],
  ...[
    '~',
    'null',
    'true',
    '.inf',
    '.nan',
    '0x7f',
    '0o17',
    '1e400',
    '-0',
    '2026-02-30',
    '*.com',
    '*',
    '__proto__: 1\n',
    'constructor: 1\n',
    'version: 1\n',
    'a: &a [*a, *a]\n',
  ],
];

const text = fc.oneof(
  fc.string({ maxLength: 200, unit: 'binary' }),
  tree.map((value) => JSON.stringify({ version: 1, allow: value, clients: value, tests: value, modes: value })),
  edits(PIECES, 4).map((list) => damaged(Buffer.from(SHIPPED), list).toString('utf8')),
  fc
    .tuple(fc.nat({ max: SHIPPED.length }), fc.nat({ max: SHIPPED.length }))
    .map(([from, to]) => SHIPPED.slice(0, from) + SHIPPED.slice(to)),
);

fuzz('config', 20, ({ check }) => check(fc.property(text, answers)));
