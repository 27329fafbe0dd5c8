// The lock of an audit log and whose it is: a holder that lives keeps it, one that is dead does not, buried or not.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { lockHolder, takeLock } from '../../src/audit/lock.ts';
import { tempDir } from '../support/temp.ts';

const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

/** State and start time of a process, as the kernel has them. */
function stat(pid: number): { readonly state: string | undefined; readonly started: string | undefined } {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0], started: fields[19] };
}

function logHeldBy(pid: number): string {
  const file = join(tempDir('lock'), 'audit.jsonl');
  writeFileSync(`${file}.lock`, JSON.stringify({ pid, host: os.hostname(), started: stat(pid).started }));
  return file;
}

/** The process that a shell starts in the background before it becomes one that waits for nobody. */
async function startBehind(command: string): Promise<number> {
  const parent = spawn('sh', ['-c', `${command} & echo $!; exec sleep 60`], { stdio: ['ignore', 'pipe', 'ignore'] });
  started.push(parent);
  const [text] = (await once(parent.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  // Until it is one, a shell may ask for the end of what it has started.
  await vi.waitFor(() => expect(readFileSync(`/proc/${parent.pid}/comm`, 'latin1')).toBe('sleep\n'));
  return Number(text);
}

it('a process that lives keeps its lock', async () => {
  const pid = await startBehind('sleep 60');
  const file = logHeldBy(pid);
  expect(lockHolder(file)).toEqual({ pid, host: os.hostname(), here: true });
  expect(() => takeLock(file)).toThrow(`is being written by process ${pid}`);
  process.kill(pid, 'SIGKILL');
});

it('a process that is dead has none, though its parent has not asked for its end', async () => {
  const pid = await startBehind('sleep 60');
  const file = logHeldBy(pid);
  process.kill(pid, 'SIGKILL');
  await vi.waitFor(() => expect(stat(pid).state).toBe('Z'));
  expect(lockHolder(file)).toBeNull();
  const lock = takeLock(file);
  expect(lockHolder(file)).toMatchObject({ pid: process.pid });
  lock.release();
});
