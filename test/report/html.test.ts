// The HTML report: parsed as a browser parses it, it needs no network and no script, its policy lets nothing else in, and it is
// readable without seeing it. What names can do to it is in test/fuzz/report.test.ts, what a browser makes of it in page.test.ts.
import { hash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { html } from '../../src/report/html.ts';
import { roundUp } from '../../src/report/plots.ts';
import { renderHtml } from '../../src/report/render-html.ts';
import { claimed, type Event, reportOf, writeHistory } from './history.ts';
import { attribute, type Element, parseHtml, textOf } from './page.ts';

const EVENTS: Event[] = [
  { host: 'agent-new.buildkite.com', verdict: 'deny' },
  { host: '<img src=x onerror=alert(1)>', verdict: 'deny', identity: claimed('"><script>alert(1)</script>', 'j') },
  {
    host: 'a.s3.amazonaws.com',
    rule: 'art-s3',
    group: 'amazon-s3',
    down: 2_500_000,
    up: 100,
    identity: claimed('web', 'j'),
  },
  { host: 'ok.example', rule: 'x:3', hour: 5, times: 3 },
  { host: 'seen.example', verdict: 'observe', hour: 6 },
];
const POLICY = { allow: [{ group: 'buildkite-agent' }, { group: 'amazon-s3' }, 'ok.example'] };

async function page(events: readonly Event[] = EVENTS) {
  const history = writeHistory(POLICY, events);
  const report = await reportOf(history, {}, DEFAULT_LIMITS, { by: 'job', timeline: true });
  const text = renderHtml(report);
  return { report, text, ...{ parsed: parseHtml(text) } };
}

describe('the page', () => {
  it('is HTML that a parser has nothing to mend in, in UTF-8', async () => {
    const { parsed } = await page();
    expect(parsed.errors).toEqual([]);
    expect(attribute(parsed.all('html')[0] as Element, 'lang')).toBe('en');
    expect(parsed.all('meta').map((meta) => attribute(meta, 'charset'))).toContain('utf-8');
  });

  it('allows its own style sheet by its hash and nothing else, before anything could be loaded', async () => {
    const { parsed } = await page();
    const [style] = parsed.all('style');
    const sheet = textOf(style as Element);
    const policy = parsed.all('meta').find((meta) => attribute(meta, 'http-equiv') === 'Content-Security-Policy');
    expect(attribute(policy as Element, 'content')).toBe(
      `default-src 'none'; style-src 'sha256-${hash('sha256', sheet, 'base64')}'; base-uri 'none'; form-action 'none'`,
    );
    expect(parsed.elements.indexOf(policy as Element)).toBeLessThan(parsed.elements.indexOf(style as Element));
    expect(sheet).not.toMatch(/url\(|@import|expression/);
  });

  it('has no script, no frame, no form, and refers to nothing outside itself', async () => {
    const { parsed } = await page();
    for (const tag of ['script', 'link', 'img', 'iframe', 'object', 'embed', 'form', 'base', 'image', 'use'])
      expect(parsed.all(tag), tag).toEqual([]);
    for (const element of parsed.elements)
      for (const { name, value } of element.attrs) {
        expect(name).not.toMatch(/^on|^style$|^src$|^xlink/);
        if (name === 'href') expect(value).toMatch(/^#[a-z-]+$/);
      }
  });

  it('begins with the alarm, which stands before everything else that it says', async () => {
    const { parsed, text } = await page();
    const alert = parsed.elements.filter((element) => attribute(element, 'role') === 'alert');
    expect(alert.map(textOf)).toEqual([
      expect.stringContaining('BUILDKITE HOST REFUSED ONCE: agent-new.buildkite.com:443'),
    ]);
    expect(text.indexOf('role="alert"')).toBeLessThan(text.indexOf('<main>'));
  });

  it('shows hostile names as what they are', async () => {
    const { parsed } = await page();
    expect(parsed.all('th').map(textOf)).toContain('<img src=x onerror=alert(1)>:443');
  });
});

describe('without seeing it', () => {
  it('each table has a caption, heads with a scope, and a region that a keyboard can scroll', async () => {
    const { parsed } = await page();
    const tables = parsed.all('table');
    expect(tables.length).toBeGreaterThan(5);
    expect(parsed.all('caption')).toHaveLength(tables.length);
    for (const head of parsed.all('th')) expect(attribute(head, 'scope')).toMatch(/^(col|row)$/);
    for (const table of tables) {
      const region = table.parentNode as Element;
      expect([attribute(region, 'role'), attribute(region, 'tabindex')]).toEqual(['region', '0']);
    }
  });

  it('ids are unique, and what refers to one finds it', async () => {
    const { parsed } = await page();
    const ids = parsed.elements.flatMap((element) => attribute(element, 'id') ?? []);
    expect(new Set(ids).size).toBe(ids.length);
    const named = parsed.elements.flatMap((element) => [
      ...(attribute(element, 'aria-labelledby')?.split(' ') ?? []),
      ...(attribute(element, 'aria-describedby')?.split(' ') ?? []),
      ...(attribute(element, 'href')?.slice(1).split(' ') ?? []),
    ]);
    expect(named.filter((id) => !ids.includes(id))).toEqual([]);
  });

  it('each plot is an image with a name and a sentence, and its numbers stand in a table', async () => {
    const { parsed } = await page();
    const plots = parsed.all('svg').filter((svg) => attribute(svg, 'role') === 'img');
    expect(plots.map((svg) => attribute(svg, 'aria-labelledby'))).toEqual([
      'use-title',
      'denials-title',
      'bytes-title',
    ]);
    expect(textOf(parsed.byId('bytes-table')[0]?.parentNode as Element)).toContain('amazon-s3');
    expect(parsed.all('details')).toHaveLength(3);
  });
});

describe('the plots', () => {
  it('have a bar for each hour, and what stands in them adds up to the report', async () => {
    const { report, parsed } = await page();
    expect(report.timeline?.hours).toBe(1);
    const sum = (key: 'tunnels' | 'denied' | 'would_deny') =>
      report.timeline?.points.reduce((all, point) => all + point[key], 0);
    expect([sum('tunnels'), sum('denied'), sum('would_deny')]).toEqual([
      report.totals.tunnels,
      report.totals.denied,
      report.totals.would_deny,
    ]);
    const bars = parsed
      .all('title')
      .map(textOf)
      .filter((title) => title.includes('let through'));
    expect(bars).toHaveLength(7);
    expect(bars[5]).toBe('11-20 13:00: 3 let through');
  });

  it('a page of nothing says so and draws nothing', async () => {
    const { parsed, text } = await page([]);
    expect(text).toContain('nothing was recorded');
    expect(parsed.all('svg')).toEqual([]);
    expect(parsed.errors).toEqual([]);
  });

  it.each([
    [0, 1],
    [1, 1],
    [3, 5],
    [11, 20],
    [51, 100],
    [100, 100],
    [1_234_567, 2_000_000],
  ])('an axis for %d ends at %d', (value, top) => expect(roundUp(value)).toBe(top));
});

it('a template escapes every value that it did not make', () => {
  const inner = html`<b>${'<i>'}</b>`;
  expect(html`<p title="${`"'`}">${inner}${[inner]}</p>`.text).toBe(
    '<p title="&#34;&#39;"><b>&#60;i&#62;</b><b>&#60;i&#62;</b></p>',
  );
});
