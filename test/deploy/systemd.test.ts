// The units, by systemd's own checks: no unknown key, and little that the service could do to its machine.
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { hasProgram } from '../support/programs.ts';
import { run } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
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
