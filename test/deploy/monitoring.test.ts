// deploy/monitoring: the alert rules and their cases pass Prometheus' own tool, the dashboard is sound, and neither asks for a
// series that no proxy has (docs/admin.md lists them; test/e2e/metrics.test.ts holds that list to what is served).
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { REQUEST_ERRORS } from '../../src/errors.ts';
import { LIMIT_NAMES } from '../../src/limits.ts';
import { tempDir, writeFile } from '../support/temp.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const DIR = join(ROOT, 'deploy', 'monitoring');
const PROMTOOL = ['/usr/bin/promtool', '/usr/local/bin/promtool'].find((path) => existsSync(path));
const KNOWN = new Set([
  ...[...readFileSync(join(ROOT, 'docs', 'admin.md'), 'utf8').matchAll(/^\| `(sallyport_\w+)`/gm)].map(
    ([, name]) => name,
  ),
  // Only of a proxy with workers: test/e2e/workers-admin.test.ts.
  'sallyport_worker_up',
]);

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string }[];
}

const rules: { alert: string; expr: string; annotations: { summary: string; description: string } }[] = parse(
  readFileSync(join(DIR, 'alerts.yaml'), 'utf8'),
).groups.flatMap((group: { rules: unknown }) => group.rules);
const dashboard = JSON.parse(readFileSync(join(DIR, 'grafana-dashboard.json'), 'utf8')) as { panels: Panel[] };
const shown = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

describe('deploy/monitoring', () => {
  it.skipIf(PROMTOOL === undefined)('the alert rules and their cases pass promtool', () => {
    execFileSync(PROMTOOL ?? '', ['check', 'rules', 'alerts.yaml'], { cwd: DIR, stdio: 'pipe' });
    execFileSync(PROMTOOL ?? '', ['test', 'rules', 'alerts.test.yaml'], { cwd: DIR, stdio: 'pipe' });
  });

  it.skipIf(PROMTOOL === undefined)('the queries of the dashboard are PromQL', () => {
    const rule = (expr: string, at: number) => ({
      record: `panel:${at}`,
      expr: expr.replaceAll('$__rate_interval', '5m'),
    });
    const file = JSON.stringify({ groups: [{ name: 'dashboard', rules: shown.map(rule) }] });
    const at = writeFile(join(tempDir('promtool'), 'rules.yaml'), file);
    execFileSync(PROMTOOL ?? '', ['check', 'rules', at], { stdio: 'pipe' });
  });

  it.each([
    ['the alerts', rules.map(({ expr }) => expr)],
    ['the dashboard', shown],
  ])('%s ask for series, limits and outcomes that there are', (_, queries) => {
    expect(queries.length).toBeGreaterThan(10);
    const text = queries.join('\n');
    const names = [...text.matchAll(/\b(sallyport_\w+)/g)].map(([, name = '']) =>
      name.replace(/_(bucket|sum|count)$/, ''),
    );
    expect(names.filter((name) => !KNOWN.has(name))).toEqual([]);
    const globs = [...text.matchAll(/limit=~?"([^"]+)"/g)].flatMap(([, list = '']) => list.split('|'));
    expect(globs.filter((glob) => !LIMIT_NAMES.some((name) => new RegExp(`^${glob}$`).test(name)))).toEqual([]);
    const outcomes = [...text.matchAll(/outcome=~"([^"]+)"/g)].flatMap(([, list = '']) => list.split('|'));
    const codes = Object.keys(REQUEST_ERRORS);
    expect(outcomes.filter((glob) => !codes.some((code) => new RegExp(`^${glob}$`).test(code)))).toEqual([]);
  });

  it('every alert says what it means and what to do', () => {
    for (const { alert, annotations } of rules) {
      expect([alert, annotations.summary.length > 10, annotations.description.length > 30]).toEqual([
        alert,
        true,
        true,
      ]);
    }
  });

  it('no two panels of the dashboard lie on each other, and each says what it shows', () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    for (const { type, title, description } of panels)
      expect([title, type === 'row' || (description ?? '').length > 10]).toEqual([title, true]);
  });
});
