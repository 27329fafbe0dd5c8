// A long answer in a pipe: all of it comes, however slowly it is read. (A reader that goes away: test/cli/main.test.ts.)
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { MAIN, PROCESSES_MS } from '../support/proxy-process.ts';
import { tempDir, writePolicy } from '../support/temp.ts';

const RULES = 5_000;
/** A pipe or a socket between two processes holds less. */
const BUFFERED_MAX = 1_000_000;
const PIECE = 4_096;

it('comes whole to a slow reader', { timeout: PROCESSES_MS }, async () => {
  const file = writePolicy(join(tempDir('long'), 'sallyport.yaml'), {
    version: 1,
    allow: Array.from({ length: RULES }, (_, n) => `host-${n}.example`),
  });
  const child = spawn(process.execPath, [MAIN, 'policy', '--json', '--config', file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const pieces: Buffer[] = [];
  for await (const piece of child.stdout) {
    for (let at = 0; at < piece.length; at += PIECE) await turn();
    pieces.push(piece);
  }
  const text = Buffer.concat(pieces).toString();
  expect(text.length).toBeGreaterThan(BUFFERED_MAX);
  expect(JSON.parse(text)).toBeTypeOf('object');
  expect((await exited)[0]).toBe(0);
});
