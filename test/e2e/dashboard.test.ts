// The dashboard in a real browser, Chromium, before a real proxy: what curl is refused appears, the rule that is copied lets it
// through, names that clients invent stay text, other sites get nothing, and axe finds nothing serious on any page.
// Skipped where no Chromium is installed (.ci/run installs it). SCREENSHOTS=1 writes the pictures of docs/admin.md.
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { AdminClient } from '../support/admin.ts';
import { freePort } from '../support/free-port.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

const EXECUTABLE = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) =>
  existsSync(path),
);
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SHOTS = process.env['SCREENSHOTS'] === '1' ? join(import.meta.dirname, '..', '..', 'docs', 'img') : null;
const HOST = 'wanted.corp.test';
const PAGES = ['live', 'usage', 'who', 'tunnels', 'policy', 'suggest', 'health'];
const MARKUP = '<img src=x onerror="document.title=1"><script>document.title=2</script>';

describe.skipIf(EXECUTABLE === undefined)('the dashboard in Chromium', () => {
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let world: World;
  let origin: Origin;
  let base: string;
  let admin: AdminClient;
  const heard: string[] = [];
  const policy = () => ({
    allow: [{ group: 'amazon-s3', with: { region: 'us-west-2' } }] as unknown[],
    private_upstreams: [{ suffix: 'corp.test', addresses: LOOPBACK }],
  });

  beforeAll(async () => {
    origin = await startHttpOrigin((_, res) => res.end('hello'), { tls: certificateFor([HOST]) });
    world = await startWorld({ ...policy(), admin: `127.0.0.1:${await freePort()}` }, { [HOST]: ['127.0.0.1'] });
    admin = new AdminClient(world.proxy.admin, world.auditFile);
    base = `http://127.0.0.1:${admin.at.port}`;
    browser = await chromium.launch({ executablePath: EXECUTABLE ?? '', args: ['--no-sandbox'] });
    context = await browser.newContext({ viewport: { width: 1_280, height: 900 } });
    await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: base });
    page = await context.newPage();
    page.on('console', (message) => heard.push(message.text()));
    page.on('pageerror', (error) => heard.push(String(error)));
  }, PROCESSES_MS);
  afterAll(async () => {
    await browser?.close();
    await world?.close();
    await origin?.close();
  });

  const curl = async (): Promise<string> => {
    const args = ['-sS', '-x', world.proxy.url('web%2Fbuild'), '--cacert', testCa().caFile, '-w', ' %{http_connect}'];
    return (await world.client(['curl', ...args, `https://${HOST}:${origin.port}/`])).stdout;
  };
  const ask = async (target: string, user: string): Promise<void> => {
    const client = await RawClient.connect(world.proxy.proxy, {});
    const who = Buffer.from(`${encodeURIComponent(user)}:`).toString('base64');
    client.send(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nProxy-Authorization: Basic ${who}\r\n\r\n`);
    await client.readHead();
    client.close();
  };
  const go = async (name: string): Promise<void> => {
    await page.locator(`nav a[href="#${name}"]`).click();
    await page.locator(`#${name}-title`).waitFor();
  };
  const shot = async (name: string): Promise<void> => {
    if (SHOTS !== null)
      await page.screenshot({ path: join(SHOTS, `${name}.png`), clip: { x: 0, y: 0, width: 1_280, height: 640 } });
  };

  it('asks for the token, and again where it is another one', { timeout: PROCESSES_MS }, async () => {
    await page.goto(base);
    const door = page.getByLabel('Token of the admin listener');
    await door.fill('x'.repeat(43));
    await page.getByRole('button', { name: 'Open' }).click();
    await door.waitFor();
    await door.fill(admin.token);
    await page.getByRole('button', { name: 'Open' }).click();
    await page.getByText('connected', { exact: true }).waitFor();
    await page.getByText('Nothing is refused.').waitFor();
    expect(await context.cookies()).toEqual([]);
    // The refused tokens are complained of by the browser, and nothing else is.
    expect(heard.filter((text) => !text.includes('401'))).toEqual([]);
    heard.length = 0;
  });

  it('takes the token from the address, where it does not stay', { timeout: PROCESSES_MS }, async () => {
    const other = await context.newPage();
    await other.goto(`${base}/#token=${admin.token}`);
    await other.getByText('connected', { exact: true }).waitFor();
    expect(other.url()).toBe(`${base}/`);
    await other.close();
  });

  it('shows what a real curl is refused, and the copied rule lets it through', { timeout: PROCESSES_MS }, async () => {
    expect(await curl()).toBe(' 403');
    const line = page.getByRole('listitem').filter({ hasText: HOST });
    await line.getByText('host-not-allowed').waitFor();
    expect(await line.getByText('web / build (claimed)').count()).toBe(1);
    await shot('dashboard-live');
    await line.getByRole('button', { name: /^Copy rule/ }).click();
    await line.getByText('Copied').waitFor();
    const rule = await page.evaluate<string>('navigator.clipboard.readText()');
    const [item] = parse(rule) as unknown[];
    world.write({ ...policy(), allow: [...policy().allow, item], admin: `127.0.0.1:${admin.at.port}` });
    const checked = await sallyport(['check', '--config', world.configFile], { cwd: world.dir });
    expect([checked.code, checked.stderr]).toEqual([0, expect.not.stringContaining('error')]);
    world.proxy.signal('SIGHUP');
    await auditLine(world.auditFile, (one) => one.event === 'policy' && one.detail['result'] === 'loaded');
    expect(await curl()).toBe('hello 200');
  });

  it('names that clients invent are text and nothing else', { timeout: PROCESSES_MS }, async () => {
    const long = `${'a'.repeat(61)}.`.repeat(4).slice(0, 245).concat('.example');
    expect(long).toHaveLength(253);
    await ask('evil.example:443', MARKUP);
    await ask('evil.example:443', 'web\u202emoc.elpmaxe\u2066');
    await ask(`${long}:443`, 'web');
    await ask('<script>document.title=3</script>', 'web');
    await page.getByText(MARKUP.slice(0, 20)).first().waitFor();
    await page.getByText('web\\u{202e}moc.elpmaxe\\u{2066}').first().waitFor();
    await page.getByText(long).first().waitFor();
    await page.getByText('document.title=3').first().waitFor();
    expect(await page.locator('main img, main script').count()).toBe(0);
    expect(await page.title()).toBe('Live – Sallyport');
    expect(await page.evaluate<number>('document.documentElement.scrollWidth')).toBeLessThanOrEqual(1_280);
    await expect
      .poll(() => admin.get('/v1/report?from=1h').then(({ body }) => body.includes('elpmaxe')), { timeout: 20_000 })
      .toBe(true);
    for (const name of ['usage', 'who', 'suggest']) {
      await go(name);
      await page.getByText(/Loading/).waitFor({ state: 'detached' });
      expect(await page.locator('main img, main script').count()).toBe(0);
    }
    expect(await page.locator('main').textContent()).not.toContain('\u202e');
    expect(heard).toEqual([]);
  });

  it('by job, and from there the usage of that job alone', { timeout: PROCESSES_MS }, async () => {
    await go('who');
    await page.getByLabel('by', { exact: false }).and(page.locator('select')).selectOption('job');
    await page
      .getByRole('table', { name: 'Usage by job' })
      .getByRole('button', { name: 'web / build (claimed)' })
      .click();
    await page.getByText('Only web / build.').waitFor();
    await page.getByText('2 requests to 1 hosts, 1 refused').waitFor();
    await page.getByRole('button', { name: 'Show all' }).click();
    await page.getByText('Only web / build.').waitFor({ state: 'detached' });
  });

  it('names behind a wildcard, groups by what became of them, and an answer that fails', {
    timeout: PROCESSES_MS,
  }, async () => {
    const report = JSON.parse((await admin.get('/v1/report?from=24h')).body);
    const [required] = report.required;
    const wild = {
      ...required,
      host: '*.s3.us-west-2.amazonaws.com',
      state: 'used',
      names: ['a-bucket.s3.us-west-2.amazonaws.com'],
      names_total: 12,
    };
    const group = (name: string, state: string) => ({
      group: name,
      title: `Title of ${name}`,
      source: '',
      enabled: true,
      state,
      hosts: [wild],
    });
    const optional = [group('one', 'used'), group('two', 'unused'), group('three', 'denied')];
    const made = { ...report, optional, group_timelines: { one: [1, 5, 2] } };
    await page.route(/\/v1\/report/, (route) => route.fulfill({ json: made }));
    await page.getByLabel('Window of time').selectOption('30d');
    await go('usage');
    const one = page.getByRole('listitem').filter({ hasText: 'Title of one' });
    expect(await one.getByRole('img', { name: 'Tunnels of one over the window' }).locator('polyline').count()).toBe(1);
    await page.getByRole('listitem').filter({ hasText: 'Title of three' }).getByText('denied').waitFor();
    await page
      .getByRole('button', { name: /12 names/ })
      .first()
      .click();
    await page.getByText('a-bucket.s3.us-west-2.amazonaws.com').first().waitFor();
    await page.unroute(/\/v1\/report/);
    const error = { code: 'store-unreadable', message: 'the store is gone', hint: 'Mend it.' };
    await page.route(/\/v1\/report/, (route) => route.fulfill({ status: 503, json: { error } }));
    await page.getByLabel('Window of time').selectOption('1h');
    await page.getByRole('alert').getByText('the store is gone Mend it.').waitFor();
    await page.unroute(/\/v1\/report/);
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('alert').waitFor({ state: 'detached' });
    expect(heard.splice(0).filter((text) => !text.includes('503'))).toEqual([]);
  });

  it('every page is there, in light and in dark, and axe finds nothing serious', {
    timeout: PROCESSES_MS,
  }, async () => {
    await page.evaluate(AXE);
    for (const scheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme: scheme });
      for (const name of PAGES) {
        await go(name);
        await page.getByText(/Loading/).waitFor({ state: 'detached' });
        const { violations } = await page.evaluate<{
          violations: { id: string; impact: string; nodes: { html: string }[] }[];
        }>(scheme === 'light' ? 'axe.run()' : "axe.run({ runOnly: ['color-contrast'] })");
        const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
        expect(serious.map(({ id, nodes }) => [scheme, name, id, nodes[0]?.html])).toEqual([]);
        if (scheme === 'dark' && name === 'usage') await shot('dashboard-usage');
      }
    }
    const open = await RawClient.connect(world.proxy.proxy, {});
    open.send(`CONNECT ${HOST}:${origin.port} HTTP/1.1\r\nHost: ${HOST}:${origin.port}\r\n\r\n`);
    await open.readHead();
    await go('tunnels');
    const cut = page.getByRole('button', { name: `Cut ${HOST}` });
    await cut.click();
    await page.getByRole('button', { name: `Really cut ${HOST}` }).click();
    await page.getByText(`Cut: ${HOST}`).waitFor();
    expect(await open.readAll()).toHaveLength(0);
    await go('policy');
    await page.getByLabel('What would be answered to').fill('nowhere.test');
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.locator('form').getByText('host-not-allowed').waitFor();
    expect(heard).toEqual([]);
  });

  it('10,000 hosts are a few rows in the document, to the last one', { timeout: PROCESSES_MS }, async () => {
    const report = JSON.parse((await admin.get('/v1/report?from=24h')).body);
    const row = (n: number) => ({
      ...report.required[0],
      host: `h${n}.example`,
      port: 443,
      state: 'used',
      counted_in: null,
    });
    const many = {
      ...report,
      required: [],
      optional: [],
      denied: [],
      other: Array.from({ length: 10_000 }, (_, n) => row(n)),
    };
    await page.route(/\/v1\/report/, (route) => route.fulfill({ json: many }));
    await page.getByLabel('Window of time').selectOption('24h');
    await go('usage');
    await page.getByText('10000 of 10000 hosts').waitFor();
    const table = page.getByRole('table', { name: 'Hosts' });
    expect(await table.getAttribute('aria-rowcount')).toBe('10001');
    expect(await table.getByRole('row').count()).toBeLessThan(60);
    await table.locator('.scroll').focus();
    await page.keyboard.press('End');
    await table.getByText('h9999.example:443').waitFor();
    expect(await table.getByRole('row').count()).toBeLessThan(60);
    await page.getByLabel('Host, group or rule').fill('h4242');
    await page.getByText('1 of 10000 hosts').waitFor();
    await page.unroute(/\/v1\/report/);
  });

  it('another site gets nothing, even with the token', { timeout: PROCESSES_MS }, async () => {
    const evil = http.createServer((_, res) => res.setHeader('Content-Type', 'text/html').end('<title>evil</title>'));
    await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve));
    const other = await context.newPage();
    await other.goto(`http://localhost:${(evil.address() as AddressInfo).port}/`);
    const answer = await other.evaluate<string>(
      `fetch('${base}/v1/status', { headers: { Authorization: 'Bearer ${admin.token}' } }).then((r) => 'read ' + r.status, () => 'refused')`,
    );
    expect(answer).toBe('refused');
    const blind = await other.evaluate<string>(
      `fetch('${base}/v1/status', { mode: 'no-cors' }).then((r) => r.type + r.status, () => 'refused')`,
    );
    expect(blind).toMatch(/^(refused|opaque0)$/);
    const framed = await other.evaluate<boolean>(
      `new Promise((resolve) => { const f = document.createElement('iframe'); f.src = '${base}/'; f.onload = () => { try { resolve(f.contentDocument !== null && f.contentDocument.title === 'Sallyport'); } catch { resolve(false); } }; document.body.append(f); })`,
    );
    expect(framed).toBe(false);
    await other.close();
    await new Promise((resolve) => evil.close(resolve));
  });

  it('comes back by itself after a restart of the proxy', { timeout: PROCESSES_MS }, async () => {
    await go('live');
    await world.proxy.stop();
    await page.getByText(/reconnecting|connecting/).waitFor();
    await world.restart();
    await page.getByText('connected', { exact: true }).waitFor();
    await ask('again.example:443', 'web');
    await page.getByText('again.example:443').first().waitFor();
  });
});
