// Every format, with names that want to be markup, formulas, terminal commands or other names.
import { describe, expect, it } from 'vitest';
import { findingsOf } from '../../src/report/findings.ts';
import { csvCell, inert, markdownCell } from '../../src/report/inert.ts';
import { renderCsv } from '../../src/report/render-csv.ts';
import { renderLinesTable } from '../../src/report/render-lines.ts';
import { MARKDOWN_BYTES_MAX, MARKDOWN_ROWS_MAX, renderMarkdown } from '../../src/report/render-markdown.ts';
import { renderTable } from '../../src/report/render-table.ts';
import type { Report } from '../../src/report/report.ts';
import { shorten, textTable } from '../../src/report/text-table.ts';
import { bytesText } from '../../src/report/words.ts';
import { decidedRecord } from '../support/records.ts';
import { parseCsv } from './csv.ts';
import { claimed, type Event, importAttempts, reportOf, writeHistory } from './history.ts';

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
    const history = writeHistory(POLICY, [
      { host: name, verdict: 'deny', identity: claimed(name, name) },
      { host: name, rule: name, group: name, identity: claimed(name, name) },
    ]);
    await importAttempts(history, [{ to: '140.82.112.3', port: 22, second: 0 }]);
    const found = await reportOf(history);
    expect(found.direct.rows).toMatchObject([{ attempts: 1, claimed: true }]);
    const table = renderTable(found, plain);
    const markdown = renderMarkdown(found);
    const csv = renderCsv(found);
    for (const text of [table, markdown, csv]) expect(moving(text.replaceAll('\r\n', '\n'))).toEqual([]);
    expect(markdown).not.toMatch(/<[a-z/!]|\]\(|(?<!&#\d+);?\bhttp:\/\/|^# /im);
    // Each table row has the cells of its head.
    for (const table of markdown.split(/\n\n/).filter((each) => each.startsWith('| ')))
      expect(
        new Set(
          table
            .trimEnd()
            .split('\n')
            .map((line) => line.split('|').length),
        ).size,
      ).toBe(1);
    for (const cells of parseCsv(csv)) {
      expect(cells).toHaveLength(35);
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

  it('an IPv6 address stands in brackets before its port', async () => {
    const identity = claimed('web', 'j1');
    const found = await report([
      { host: '2001:db8::1', port: 8443, identity, rule: 'x:1' },
      { host: '2001:db8::2', verdict: 'deny', reason: 'ip-literal-not-allowed', identity },
    ]);
    const shown = [
      renderTable(found, plain),
      renderMarkdown(found),
      ...findingsOf(found, ['drift']).map(({ message }) => message),
    ];
    for (const text of shown) expect(text).not.toMatch(/db8::[12]:\d/);
    expect(shown[0]).toContain('[2001:db8::2]:443');
    expect(shown[0]).toContain('[2001:db8::1]:8443');
    const line = {
      ...decidedRecord({ id: 'r1' }),
      host: '2001:db8::1',
      time: 'now',
      seq: 1,
      node: 'n',
      event: 'decided',
    } as const;
    expect(renderLinesTable([line], Number.POSITIVE_INFINITY)).toContain('[2001:db8::1]:443');
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
    expect(painted).toEqual([
      expect.stringMatching(/^!! BUILDKITE HOST REFUSED 2 TIMES: agent-new\.buildkite\.com:443: /),
    ]);
    expect(text.startsWith('!! BUILDKITE HOST REFUSED')).toBe(true);
    const order = [
      '!! BUILDKITE',
      'DENIED (2)',
      'WOULD BE DENIED (1)',
      'REQUIRED HOSTS',
      'OPTIONAL HOSTS',
      'OWN RULES',
      'OPTIONAL GROUPS NEVER USED',
      'AGENTS AND JOBS',
      'PIPELINES',
    ];
    const places = order.map((title) => text.indexOf(title));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(places[0]).toBe(0);
    for (const line of text.split('\n').filter((each) => /^ {2}\S+:\d+ /.test(each)))
      expect(line.length).toBeLessThanOrEqual(100);
  });

  it('Markdown makes nothing of the filter that is shown in the window', async () => {
    const found = await report(events);
    const text = renderMarkdown({ ...found, filter: { pipeline: '<img src=x>', job: '[a](http://b)' } });
    expect(text).not.toMatch(/<img|\]\(/);
  });

  it('a refused Buildkite host is the first thing in Markdown and CSV too, and a flood of them hides nothing', async () => {
    const markdown = renderMarkdown(await report(events));
    expect(markdown.split('\n')[0]).toMatch(/^> ### BUILDKITE HOST REFUSED 2 TIMES/);
    const [head = [], first = []] = parseCsv(renderCsv(await report(events)));
    expect(first[head.indexOf('alarm')]).toContain('BUILDKITE HOST');
    const flood = Array.from({ length: 60 }, (_, n): Event => ({ host: `x${n}.buildkite.com`, verdict: 'deny' }));
    const flooded = await report([...flood, ...events]);
    const text = renderTable(flooded, plain);
    expect(text.match(/^!! /gm)).toHaveLength(5);
    expect(text).toContain('… and 56 more');
    expect(renderMarkdown(flooded)).toContain('41 more Buildkite hosts');
  });

  it('Markdown has at most 200 rows a table and says how many it leaves out', async () => {
    const many = Array.from({ length: 205 }, (_, n): Event => ({ host: `h${n}.example`, verdict: 'deny' }));
    const text = renderMarkdown(await report(many));
    expect(text).toContain(`Tables have at most ${MARKDOWN_ROWS_MAX} rows`);
    expect(text).toContain('5 more are in the JSON format.');
    expect(text.match(/^\| h\d+\.example:443 /gm)).toHaveLength(MARKDOWN_ROWS_MAX);
  });

  it('Markdown fits an annotation of 1 MiB whatever pipelines call themselves, and ends each section with its count', async () => {
    const found = await report(events);
    // The longest that a claim may be, of characters that escaping makes five of.
    const names = Array.from({ length: 100 }, (_, n) => `${n}${'<'.repeat(1_000)}`);
    const [row] = found.denied;
    if (row === undefined) throw new Error('no row');
    const rows = Array.from({ length: 400 }, () => ({ ...row, pipelines: names, jobs: names, hint: names.join('') }));
    const pipelines = found.pipelines.flatMap((each) => names.map((pipeline) => ({ ...each, pipeline })));
    const heavy = {
      denied: rows,
      would_deny: rows,
      expected_denied: rows,
      pipelines,
      denied_total: 400,
      would_deny_total: 400,
    };
    const text = renderMarkdown({ ...found, ...heavy });
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(MARKDOWN_BYTES_MAX);
    expect(Buffer.byteLength(text)).toBeGreaterThan(MARKDOWN_BYTES_MAX / 2);
    expect(text).toContain('### Pipelines');
    expect(text.match(/more are in the JSON format/g)?.length).toBeGreaterThanOrEqual(2);
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
    ['    code', '&#32;   code'],
    ['- item', '&#45; item'],
    ['12. item', '&#49;&#50;. item'],
    ['12.5', '12.5'],
    ['-3', '-3'],
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
