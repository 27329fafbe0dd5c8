// The HTML report in a real browser: Chromium, from a file, with no network. It must complain of nothing, load nothing, and show
// the same in light and dark, to a mouse and to a keyboard. Skipped where no Chromium is installed (.ci/run installs it).
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { renderHtml } from '../../src/report/render-html.ts';
import { claimed, type Event, reportOf, writeHistory } from '../report/history.ts';

const EXECUTABLE = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
);
const EVIL = '"><img src="http://127.0.0.1:9/x" onerror="document.title=1"><script>document.title=1</script>';
const EVENTS: Event[] = [
  { host: 'agent-new.buildkite.com', verdict: 'deny' },
  { host: 'evil.example', verdict: 'deny', identity: claimed(EVIL, EVIL) },
  ...Array.from({ length: 60 }, (_, n): Event => ({ host: `h${n}.example`, verdict: 'deny', hour: n })),
  { host: 'a.s3.amazonaws.com', rule: 'art-s3', group: 'amazon-s3', down: 2_500_000, up: 9_000 },
];

describe.skipIf(EXECUTABLE === undefined)('the HTML report in Chromium', () => {
  let browser: Browser;
  let file: string;

  beforeAll(async () => {
    const history = writeHistory({ allow: [{ group: 'buildkite-agent' }, { group: 'amazon-s3' }] }, EVENTS);
    const found = await reportOf(history, {}, DEFAULT_LIMITS, { by: 'pipeline', timeline: true });
    file = join(history.dir, 'report.html');
    writeFileSync(file, renderHtml(found));
    browser = await chromium.launch({ executablePath: EXECUTABLE ?? '', args: ['--no-sandbox'] });
  });
  afterAll(() => browser.close());

  /** Opens it; `heard` fills with whatever the page complains of or asks the network for. */
  async function open(
    scheme: 'light' | 'dark' = 'light',
    width = 1_280,
  ): Promise<{ page: Page; heard: string[]; close: () => Promise<void> }> {
    const context = await browser.newContext({ colorScheme: scheme, offline: true, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const heard: string[] = [];
    page.on('console', (message) => heard.push(message.text()));
    page.on('pageerror', (error) => heard.push(String(error)));
    page.on('request', (request) => {
      if (request.url() !== pathToFileURL(file).href) heard.push(request.url());
    });
    await page.goto(pathToFileURL(file).href);
    return { page, heard, close: () => context.close() };
  }

  it('complains of nothing, loads nothing, and runs nothing that a name brought', async () => {
    const { page, heard, close } = await open();
    expect(await page.title()).toMatch(/^Egress report, 2026-11-20 to /);
    expect(await page.locator('img, script').count()).toBe(0);
    expect(await page.getByText(EVIL).count()).toBeGreaterThan(0);
    expect(heard).toEqual([]);
    await close();
  });

  it('its policy stops a script and a picture that got in all the same', async () => {
    const { page, heard, close } = await open();
    await page.setContent(
      (await page.content()).replace('<h1>', '<img src="data:,x"><script>document.title=1</script><h1>'),
    );
    expect(await page.title()).toMatch(/^Egress report/);
    expect(heard.filter((text) => text.includes('Content Security Policy')).length).toBeGreaterThanOrEqual(2);
    await close();
  });

  it('its style sheet applies, in light and in dark', async () => {
    const seen: string[] = [];
    for (const scheme of ['light', 'dark'] as const) {
      const { page, close } = await open(scheme);
      seen.push(await page.evaluate<string>('getComputedStyle(document.body).backgroundColor'));
      await close();
    }
    expect(seen).toEqual(['rgb(247, 246, 243)', 'rgb(20, 20, 19)']);
  });

  it('a keyboard reaches the sections and scrolls a long table', async () => {
    const { page, close } = await open();
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('To the tables');
    const region = page
      .getByRole('region', { name: 'Denied' })
      .filter({ has: page.locator('tbody') })
      .last();
    await region.focus();
    await page.keyboard.press('End');
    await page.waitForFunction((element) => (element?.scrollTop ?? 0) > 0, await region.elementHandle());
    await close();
  });

  it('a screen reader hears the alarm, tables by name, and what each plot says', async () => {
    const { page, close } = await open();
    expect(await page.getByRole('alert').textContent()).toContain('BUILDKITE HOST REFUSED ONCE');
    expect(await page.getByRole('table', { name: 'Required hosts' }).count()).toBe(1);
    expect(await page.getByRole('rowheader', { name: 'evil.example:443' }).count()).toBeGreaterThan(0);
    for (const name of ['Use over time', 'Denials over time', 'Bytes by group'])
      expect(await page.getByRole('img', { name }).count(), name).toBe(1);
    await close();
  });

  it('fits a narrow screen: only tables and plots scroll sideways, in their own place', async () => {
    const { page, close } = await open('light', 390);
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
    await close();
  });
});
