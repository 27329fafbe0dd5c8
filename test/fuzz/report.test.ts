// Reports full of names that want to be something else. The structure of each format is that of the same report with plain
// names, as its own readers see it: lines in a terminal, cells in a spreadsheet, elements where Markdown is rendered.

import { micromark } from 'micromark';
import { gfm, gfmHtml } from 'micromark-extension-gfm';
import { expect } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { renderCsv } from '../../src/report/render-csv.ts';
import { renderHtml } from '../../src/report/render-html.ts';
import { renderMarkdown } from '../../src/report/render-markdown.ts';
import { renderTable } from '../../src/report/render-table.ts';
import type { Report } from '../../src/report/report.ts';
import { parseCsv } from '../report/csv.ts';
import { claimed, importAttempts, reportOf, writeHistory } from '../report/history.ts';
import { parseHtml, skeletonOf } from '../report/page.ts';
import fc from '../support/property.ts';
import { fuzz } from './budget.ts';

const PIECES = [
  ...[
    '<',
    '>',
    '&',
    '"',
    "'",
    '|',
    '\\',
    '\\|',
    '`',
    '``',
    '*',
    '**',
    '_',
    '__',
    '~~',
    '#',
    '# ',
    '- ',
    '1. ',
    '> ',
    '    ',
    '\t',
    '[',
    ']',
    '](',
    '![',
    '[^1]',
    ':',
    ':tada:',
    '@',
    '@team',
    '+',
    '=',
    '-',
    '=1+1',
    '+1',
    '%',
    ',',
    ';',
    '!',
    '{',
    '}',
    '$',
    '^',
  ],
  ...[
    '<b>',
    '</td>',
    '<!--',
    '-->',
    '<![CDATA[',
    '<script>',
    '&lt;',
    '&#60;',
    '&#x3c',
    'http://e.test',
    'https:',
    'ftp://e.test',
    'HTTP://',
    'www.e.test',
    'WWW.',
    'mailto:a@e.test',
    'a@e.test',
    'xmpp:a@e.test',
    'www',
    '://',
    '//',
    '---',
    '===',
    '[x]',
    '\n\n',
    '[a]: /b',
  ],
  ...[
    '\n',
    '\r',
    '\r\n',
    '\x0b',
    '\x0c',
    '\0',
    '\x07',
    '\x08',
    '\x1b',
    '\x1b[2J',
    '\x1b]8;;http://e\x07',
    '\x7f',
    '\x85',
    '\x9b',
    '\xa0',
    '\xad',
    '\u061c',
    '\u200b',
    '\u200e',
    '\u202e',
    '\u2028',
    '\u2029',
    '\u2066',
    '\u3000',
    '\ufeff',
    '\ufe0f',
    '\uff1d',
    '\uff0b',
    '\uff20',
    '\u{e0001}',
    '\ud800',
    '\u180e',
    '\u3164',
    '\uffa0',
    '\u0301',
  ],
  ...['a', 'b.test', '443', ' ', '  '],
];

const name = fc.oneof(
  { weight: 5, arbitrary: fc.array(fc.constantFrom(...PIECES), { maxLength: 6 }).map((parts) => parts.join('')) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 10 }) },
);

/** Fields that hold what a client, an operator or a catalog wrote. */
const FOREIGN = new Set([
  'host',
  'names',
  'denied_names',
  'pipelines',
  'jobs',
  'pipeline',
  'job',
  'rule',
  'group',
  'counted_in',
  'title',
  'hint',
  'pattern',
  'why',
  'fix',
  'name',
  'message',
  'notes',
  'agent_versions',
]);

/** The report with every foreign text replaced. */
function renamed(value: unknown, next: () => string, foreign = false): unknown {
  if (typeof value === 'string') return foreign ? next() : value;
  if (Array.isArray(value)) return value.map((inner) => renamed(inner, next, foreign));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, renamed(inner, next, FOREIGN.has(key))]));
}

const plain = { width: Number.POSITIVE_INFINITY, paint: (_style: string, text: string) => text };

/** The elements that a renderer makes of Markdown, without their texts. */
function elements(markdown: string): string[] {
  const html = micromark(markdown, {
    allowDangerousHtml: true,
    allowDangerousProtocol: true,
    extensions: [gfm()],
    htmlExtensions: [gfmHtml()],
  });
  return html.match(/<[^>]*>/g) ?? [];
}

const MOVING = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;
const moving = (text: string): string[] => [...text].filter((c) => c !== '\n' && MOVING.test(c));

fuzz('report', 20, async ({ check }) => {
  const history = writeHistory(
    {
      allow: [{ group: 'buildkite-agent' }, { group: 'amazon-s3' }, 'ok.example'],
      expected_denials: ['known.example'],
    },
    [
      { host: 'agent-new.buildkite.com', verdict: 'deny', identity: claimed('p', 'j') },
      {
        host: 'x.example',
        verdict: 'deny',
        identity: claimed('p', 'j'),
        nearest: { pattern: 'p', rule: 'r', why: 'w', fix: 'f' },
      },
      { host: 'known.example', verdict: 'deny' },
      { host: 'seen.example', verdict: 'observe', identity: claimed('q', 'k') },
      { host: 'a.s3.amazonaws.com', rule: 'art-s3', group: 'amazon-s3', identity: claimed('p', 'j') },
      { host: 'ok.example', open: true },
    ],
  );
  await importAttempts(history, [{ to: '140.82.112.3', port: 22, second: 0 }]);
  const base = await reportOf(history, { pipeline: null }, DEFAULT_LIMITS, { by: 'step', timeline: true });
  const whole: Report = { ...base, filter: { pipeline: 'p', job: 'j' }, optional: base.optional.slice(0, 6) };
  const benign = renamed(whole, () => 'x') as Report;
  const lines = renderTable(benign, plain).split('\n').length;
  const cells = parseCsv(renderCsv(benign)).map((row) => row.length);
  const skeleton = elements(renderMarkdown(benign));
  expect(skeleton).toContain('<table>');
  const page = skeletonOf(parseHtml(renderHtml(benign)));
  await check(
    fc.property(fc.array(name, { minLength: 1, maxLength: 4 }), fc.integer({ min: 20, max: 200 }), (names, width) => {
      let at = 0;
      const report = renamed(whole, () => names[at++ % names.length]!) as Report;
      const table = renderTable(report, plain);
      const narrow = renderTable(report, { ...plain, width });
      expect([table, narrow].flatMap(moving)).toEqual([]);
      expect([table, narrow].map((text) => text.split('\n').length)).toEqual([lines, lines]);
      const csv = renderCsv(report);
      expect(moving(csv.replaceAll('\r\n', '\n'))).toEqual([]);
      const rows = parseCsv(csv);
      expect(rows.map((row) => row.length)).toEqual(cells);
      // A spreadsheet takes white space and full-width forms for what stands behind them.
      for (const cell of rows.flat()) expect(cell.normalize('NFKC').trimStart()).not.toMatch(/^[=+\-@]/);
      const markdown = renderMarkdown(report);
      expect(moving(markdown)).toEqual([]);
      expect(elements(markdown)).toEqual(skeleton);
      // A page leaves out a column in which nothing stands.
      const html = renderHtml(renamed(whole, () => names[at++ % names.length]! || 'x') as Report);
      expect(moving(html)).toEqual([]);
      expect(skeletonOf(parseHtml(html))).toEqual(page);
    }),
  );
});
