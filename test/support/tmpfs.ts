// A small disk of its own, that really fills: a tmpfs, mounted for one test. Needs root; `canMount` says whether there is one.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { tempDir } from './temp.ts';

export class SmallDisk {
  readonly directory: string;
  readonly #filler: string;

  /** `size` as mount takes it: `512k`. */
  constructor(size: string) {
    this.directory = tempDir('disk');
    this.#filler = path.join(this.directory, 'filler');
    const { status, stderr } = mount(this.directory, size);
    if (status !== 0) throw new Error(`mount: ${stderr}`);
  }

  /** Takes all the room but `left` bytes. */
  fill(left = 0): void {
    // What it has it keeps: in a moment of room the proxy would write what it holds back, and begin a page that has some left.
    const fd = fs.openSync(this.#filler, 'a');
    try {
      for (const piece of [Buffer.alloc(65_536), Buffer.alloc(4_096)]) while (written(fd, piece));
    } finally {
      fs.closeSync(fd);
    }
    if (left > 0) fs.truncateSync(this.#filler, fs.statSync(this.#filler).size - left);
  }

  /** Gives the room back. */
  empty(): void {
    fs.rmSync(this.#filler, { force: true });
  }

  unmount(): void {
    spawnSync('umount', ['--lazy', this.directory]);
  }
}

function mount(directory: string, size: string) {
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', directory], { encoding: 'utf8' });
}

function written(fd: number, piece: Buffer): boolean {
  try {
    return fs.writeSync(fd, piece) === piece.length;
  } catch {
    return false;
  }
}

/** Whether this process may mount: root, with the capability, on Linux. */
export function canMount(): boolean {
  const directory = tempDir('mount');
  if (mount(directory, '64k').status !== 0) return false;
  spawnSync('umount', [directory]);
  return true;
}
