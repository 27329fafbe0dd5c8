// What the audit log says of an upgrade from now on, for who has asked for it. A handover moves the log to other files meanwhile.
import { closeSync, fstatSync, openSync } from 'node:fs';
import { branchPaths } from '../audit/branch.ts';
import { parseLine } from '../audit/parse.ts';
import { readLines } from '../audit/read.ts';
import { type OperatorErrorCode, SallyportError } from '../errors.ts';
import type { NoteLine } from '../policy/record.ts';

export class UpgradeWatch {
  readonly #file: string;
  readonly #pid: number;
  readonly #from = new Map<number, number>();
  #begun = false;
  #done = false;
  #started: NoteLine | null = null;

  /** @param pid of the proxy that is to be replaced */
  constructor(file: string, pid: number) {
    this.#file = file;
    this.#pid = pid;
    for (const path of this.#paths()) this.#in(path, (fd, ino) => void this.#from.set(ino, fstatSync(fd).size));
  }

  /** @returns the `start` of the new process, once the old one has given way. @throws SallyportError where the upgrade was refused or failed */
  look(): NoteLine | null {
    for (const path of this.#paths()) this.#in(path, (fd, ino) => this.#read(fd, ino));
    // A new process may die right after its first words: whether it was heard is for the old one to say.
    return this.#done ? this.#started : null;
  }

  #read(fd: number, ino: number): void {
    for (const raw of readLines(fd, this.#from.get(ino) ?? 0)) {
      const line = raw.state === 'whole' ? parseLine(raw.text) : null;
      if (line === null) continue;
      this.#from.set(ino, raw.end);
      if (line.event === 'start' && line.detail['pid'] !== this.#pid) this.#started = line;
      if (line.event === 'upgrade') this.#heed(line);
    }
  }

  /** Opened before it is asked what file it is: a handover takes names away, and gives them to others, at any moment. */
  #in(path: string, act: (fd: number, ino: number) => void): void {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    try {
      act(fd, fstatSync(fd).ino);
    } finally {
      closeSync(fd);
    }
  }

  /** A refusal after our own beginning is the answer to somebody else. */
  #heed({ detail }: NoteLine): void {
    if (detail['result'] === 'begun') this.#begun = true;
    else if (detail['result'] === 'done') this.#done = true;
    else if (detail['result'] === 'failed' || !this.#begun)
      throw new SallyportError(detail['code'] as OperatorErrorCode, String(detail['why']));
  }

  #paths(): string[] {
    const branch = branchPaths(this.#file).at(-1)?.path;
    return [this.#file, ...(branch === undefined ? [] : [branch])];
  }
}
