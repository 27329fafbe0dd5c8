// The units, by systemd's own checks: no unknown key, and little that the service could do to its machine. The file for logrotate, by running it.
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { verifyAudit } from '../../src/audit/verify.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { hasProgram } from '../support/programs.ts';
import { auditLines, PROCESSES_MS, run } from '../support/proxy-process.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { startWorld } from '../support/world.ts';
import { DEPLOY } from './manifests.ts';

const FOLDER = join(DEPLOY, 'systemd');
const units = readdirSync(FOLDER).filter((name) => /\.(?:service|socket)$/.test(name));

it.skipIf(!hasProgram('systemd-analyze'))('the units are understood', async () => {
  const dir = tempDir('units');
  mkdirSync(join(dir, 'bin'));
  // The program is not installed where the unit looks for it.
  writeFileSync(join(dir, 'bin', 'sallyport'), '#!/bin/true\n');
  chmodSync(join(dir, 'bin', 'sallyport'), 0o755);
  for (const unit of units) {
    const text = readFileSync(join(FOLDER, unit), 'utf8')
      .replaceAll('/usr/bin/', `${join(dir, 'bin')}/`)
      .replace(/^Documentation=.*\n/m, '');
    writeFileSync(join(dir, unit), text);
  }
  const { stdout, stderr } = await run(
    ['systemd-analyze', 'verify', '--man=no', ...units.map((unit) => join(dir, unit))],
    { cwd: dir },
  );
  expect(
    (stdout + stderr).split('\n').filter((line) => line.includes(dir) || units.some((unit) => line.startsWith(unit))),
  ).toEqual([]);
});

it.skipIf(!hasProgram('systemd-analyze'))('the service is exposed to little', async () => {
  const { stdout, code } = await run(
    ['systemd-analyze', 'security', '--offline=true', '--threshold=20', join(FOLDER, 'sallyport.service')],
    { cwd: FOLDER },
  );
  expect(stdout).toContain('Overall exposure level');
  expect(code, stdout.split('\n').at(-2)).toBe(0);
});

it('the service has the time to drain', () => {
  const text = readFileSync(join(FOLDER, 'sallyport.service'), 'utf8');
  const minutes = Number(/^TimeoutStopSec=(\d+)min$/m.exec(text)?.[1]);
  expect(minutes * 60_000).toBeGreaterThan(DEFAULT_LIMITS.drain_timeout_ms + DEFAULT_LIMITS.drain_spread_ms);
});

it.skipIf(!hasProgram('logrotate') || process.getuid?.() !== 0)(
  'logrotate hands the log over without a lost or doubled line',
  { timeout: PROCESSES_MS },
  async () => {
    const world = await startWorld({ allow: ['a.allowed.test'] });
    onTestFinished(() => world.close());
    const ask = () =>
      world.client(['curl', '-sS', '-o', '/dev/null', '-x', world.proxy.url(), 'http://b.refused.test/']);
    const denied = async () => (await world.report<{ totals: { denied: number } }>()).totals.denied;
    // The one command of the file that this machine has no service for. The option as it was before systemd 252 is understood by all.
    const kill = 'systemctl kill --kill-who=main --signal=SIGUSR2 sallyport.service';
    const text = readFileSync(join(FOLDER, 'logrotate'), 'utf8')
      .replace('/var/lib/sallyport/data/audit*.jsonl', join(dirname(world.auditFile), 'audit*.jsonl'))
      .replace('su sallyport sallyport', 'su root root')
      .replace(kill, `kill -USR2 ${world.proxy.pid}`);
    expect(text).toContain(`kill -USR2 ${world.proxy.pid}`);
    const file = writeFile(join(world.dir, 'logrotate'), text);
    chmodSync(dirname(world.auditFile), 0o750);
    const logs = () =>
      readdirSync(dirname(world.auditFile)).filter((name) => /^audit\.jsonl(?:\.\d+(?:\.gz)?)?$/.test(name));
    for (const round of [1, 2, 3]) {
      await ask();
      // As after a day: what is packed has been counted.
      await vi.waitUntil(async () => (await denied()) === round, { timeout: PROCESSES_MS, interval: 100 });
      const done = await run(['logrotate', '--force', '--state', join(world.dir, 'state'), file]);
      expect(done.code, done.stderr).toBe(0);
      // The file that was turned away is written until the signal has been seen.
      await auditLines(world.auditFile, (lines) => lines.length > 0);
      expect(logs()).toHaveLength(round + 1);
    }
    await ask();
    expect(await world.proxy.stop()).toMatchObject({ code: 0 });
    expect(await verifyAudit(world.auditFile)).toMatchObject({ problems: [], open: 0 });
    expect(logs().filter((name) => name.endsWith('.gz'))).toHaveLength(2);
    expect(await denied()).toBe(4);
  },
);
