// Every format, with names that want to be markup, formulas, terminal commands or other names.
import { describe, expect, it } from 'vitest';
import { csvCell, inert, markdownCell } from '../../src/report/inert.ts';
import { renderCsv, renderMarkdown } from '../../src/report/render.ts';
import { renderTable } from '../../src/report/render-table.ts';
import type { Report } from '../../src/report/report.ts';
import { shorten, textTable } from '../../src/report/text-table.ts';
import { bytesText } from '../../src/report/words.ts';
import { parseCsv } from './csv.ts';
import { claimed, type Event, reportOf, writeHistory } from './history.ts';

const plain = { width: Number.POSITIVE_INFINITY, paint: (_style: string, text: string) => text };
const ESC = String.fromCharCode(27);
const RLO = String.fromCharCode(0x202e);
const POLICY = { allow: [{ group: 'buildkite-agent' }, { group: 'amazon-s3' }, 'ok.example'] };
const report = (events: readonly Event[]): Promise<Report> => reportOf(writeHistory(POLICY, events));

// Host names are checked by the proxy, pipelines and jobs are whatever a client claims; a report trusts neither.
const HOSTILE = [
  '<script>alert(1)</script>.example',
  `${ESC}[2J${ESC}]0;owned\u0007.example`,
  `${RLO}moc.elgoog.example`,
  '=HYPERLINK("http://evil.example","x")',
  '@SUM(1+1)',
  '| a | b |\n# title\n',
  '[click](http://evil.example)',
  '![img](http://evil.example/x.png)',
  '`code` **bold** &lt;b&gt;',
  `${'a'.repeat(60)}.${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(60)}.example`,
  'a\u200bb\u2028c\ud800d',
];

describe('hostile names are inert in every format', () => {
  it.each(HOSTILE)('%j', async (name) => {
    const found = await report([
      { host: name, verdict: 'deny', identity: claimed(name, name) },
      { host: name, rule: name, group: name, identity: claimed(name, name) },
    ]);
    const table = renderTable(found, plain);
    const markdown = renderMarkdown(found);
    const csv = renderCsv(found);
    for (const text of [table, markdown, csv]) expect(moving(text.replaceAll('\r\n', '\n'))).toEqual([]);
    expect(markdown).not.toMatch(/<[a-z/!]|\]\(|(?<!&#\d+);?\bhttp:\/\/|^# /im);
    for (const line of markdown.split('\n').filter((each) => each.startsWith('| '))) {
      expect([3, 5, 6, 9]).toContain(line.split('|').length - 2);
    }
    for (const cells of parseCsv(csv)) {
      expect(cells).toHaveLength(24);
      for (const cell of cells) expect(cell).not.toMatch(/^[=+\-@\t\r]/);
    }
    expect(JSON.parse(JSON.stringify(found))).toEqual(found);
  });
});

/** Characters that move a cursor, hide, or reorder: a line end is the only one that may stand in a report. */
function moving(text: string): string[] {
  return [...text].filter((c) => c !== '\n' && /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(c));
}

describe('the formats', () => {
  const events: Event[] = [
    { host: 'agent-new.buildkite.com', verdict: 'deny', times: 2 },
    { host: 'x.example', verdict: 'deny', times: 3 },
    { host: 'a.s3.amazonaws.com', rule: 'art-s3', group: 'amazon-s3', down: 2_500_000 },
    { host: 'seen.example', verdict: 'observe' },
  ];

  it('each states the window', async () => {
    const found = await report(events);
    const { from } = found.window;
    expect(from).not.toBeNull();
    for (const text of [renderTable(found, plain), renderMarkdown(found), renderCsv(found)])
      expect(text).toContain(from);
    const empty = await report([]);
    for (const text of [renderTable(empty, plain), renderMarkdown(empty)])
      expect(text).toContain('nothing was recorded in 2026-11-20');
  });

  it('the table shows a refused Buildkite host first and loudest', async () => {
    const found = await report(events);
    const painted: string[] = [];
    const text = renderTable(found, {
      width: 100,
      paint: (style, line) => {
        if (style === 'alarm') painted.push(line);
        return line;
      },
    });
    expect(painted).toEqual(['!! BUILDKITE HOST REFUSED 2 TIMES: agent-new.buildkite.com:443: builds may stop']);
    const order = [
      '!! BUILDKITE',
      'DENIED (2)',
      'WOULD BE DENIED (1)',
      'REQUIRED',
      'OPTIONAL',
      'OWN RULES',
      'OPTIONAL, NEVER USED',
      'PIPELINES',
    ];
    const places = order.map((title) => text.indexOf(title));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(places[0]).toBeGreaterThan(0);
    for (const line of text.split('\n').filter((each) => each.startsWith('  ') && /:\d+ /.test(each)))
      expect(line.length).toBeLessThanOrEqual(100);
  });

  it('Markdown makes nothing of the filter that is shown in the window', async () => {
    const found = await report(events);
    const text = renderMarkdown({ ...found, filter: { pipeline: '<img src=x>', job: '[a](http://b)' } });
    expect(text).not.toMatch(/<img|\]\(/);
  });

  it('the table says nothing of colours where paint does nothing, and cuts nothing without a width', async () => {
    const long = `${'n'.repeat(63)}.${'n'.repeat(63)}.${'n'.repeat(63)}.example`;
    const text = renderTable(await report([{ host: long, verdict: 'deny' }]), plain);
    expect(text).toContain(`${long}:443`);
    expect(text).not.toContain(ESC);
  });

  it('CSV has one row for each host and leaves JSON numbers as numbers', async () => {
    const rows = parseCsv(renderCsv(await report(events)));
    const head = rows[0] ?? [];
    const cell = (row: string[], name: string) => row[head.indexOf(name)];
    const denied = rows.filter((row) => cell(row, 'section') === 'denied');
    expect(denied.map((row) => [cell(row, 'host'), cell(row, 'denied')])).toEqual([
      ['agent-new.buildkite.com', '2'],
      ['x.example', '3'],
    ]);
    const s3 = rows.find((row) => cell(row, 'host') === '*.s3.amazonaws.com') ?? [];
    expect([cell(s3, 'section'), cell(s3, 'state'), cell(s3, 'tunnels'), cell(s3, 'names')]).toEqual([
      'optional',
      'used',
      '1',
      'a.s3.amazonaws.com',
    ]);
  });
});

describe('cells', () => {
  it.each([
    ['plain', 'plain'],
    ['a,b', '"a,b"'],
    ['say "x"', '"say ""x"""'],
    ['=1+1', "'=1+1"],
    ['-1', "'-1"],
    [' =1+1', "' =1+1"],
    ['\uff1d1+1', "'\uff1d1+1"],
    ['\u3000\uff20x', "'\u3000\uff20x"],
    ['\tx', "'\\u{9}x"],
    ['a\r\nb', 'a\\u{d}\\u{a}b'],
  ])('CSV %j is %s', (value, cell) => expect(csvCell(value)).toBe(cell));

  it('a number is never taken for a formula', () => expect(csvCell(-1)).toBe('-1'));

  it.each([
    ['a|b', 'a&#124;b'],
    ['<b>', '&#60;b&#62;'],
    ['https://x', 'https&#58;//x'],
    ['www.x.example', 'www&#46;x.example'],
    ['@team', '&#64;team'],
    [':tada:', '&#58;tada:'],
    ['h.example:443', 'h.example:443'],
  ])('Markdown %j is %s', (value, cell) => expect(markdownCell(value)).toBe(cell));

  it.each([
    [`${ESC}[31m`, '\\u{1b}[31m'],
    [`${RLO}x`, '\\u{202e}x'],
    ['\u009b1m', '\\u{9b}1m'],
    ['\udc00', '\\u{dc00}'],
    ['naïve 名前 👍', 'naïve 名前 👍'],
    ['\u{e0041}', '\\u{e0041}'],
  ])('a terminal sees %j as %s', (value, shown) => expect(inert(value)).toBe(shown));

  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1.0 kB'],
    [9_949, '9.9 kB'],
    [45_000_000, '45 MB'],
    [999_949, '1.0 MB'],
    [1.5e12, '1.5 TB'],
  ])('%d bytes are %s', (bytes, text) => expect(bytesText(bytes)).toBe(text));

  it('a cell that is too long is cut in its middle', () => {
    expect(shorten('abcdefghij', 5)).toBe('ab…ij');
    expect(shorten('abc', 3)).toBe('abc');
    expect(shorten('abc', 1)).toBe('…');
  });

  it('a table keeps within its width and leaves out empty columns', () => {
    const text = textTable(['a', 'empty', 'b'], [['x'.repeat(80), '', 'y'.repeat(80)]], { width: 60, right: [] });
    for (const line of text.trimEnd().split('\n')) expect(line.length).toBeLessThanOrEqual(60);
    expect(text).not.toContain('empty');
  });
});
