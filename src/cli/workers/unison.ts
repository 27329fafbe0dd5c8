// What all workers have recorded, recorded once by the primary: an operator's command looks there, and what it asked for is done when
// the last worker has done it. What only some of them say stays in their logs.
import type { Note } from '../../policy/record.ts';
import type { Member } from './crew.ts';

/** Things that not all have said yet; the oldest is forgotten first. */
const OPEN_MAX = 1_000;

export class Unison {
  readonly #members: () => readonly Member[];
  readonly #note: (note: Note) => void;
  readonly #open = new Map<string, { readonly note: Note; readonly said: Map<number, number> }>();

  /** @param note takes what all have said; must not throw */
  constructor(members: () => readonly Member[], note: (note: Note) => void) {
    this.#members = members;
    this.#note = note;
  }

  said(worker: number, note: Note): void {
    const key = keyOf(note);
    const open = this.#open.get(key) ?? { note, said: new Map<number, number>() };
    open.said.set(worker, (open.said.get(worker) ?? 0) + 1);
    this.#open.set(key, open);
    if (this.#open.size > OPEN_MAX) this.#open.delete([...this.#open.keys()][0] ?? '');
    this.look();
  }

  /** A worker came or went: what the others have said may be what all have said. */
  look(): void {
    const serving = this.#members().filter(({ state }) => state === 'ready');
    if (serving.length === 0) return;
    for (const [key, { note, said }] of this.#open) {
      if (!serving.every(({ worker }) => said.has(worker))) continue;
      // One of each: who said it twice waits for the others to say it again.
      for (const [worker, times] of said) {
        if (times > 1) said.set(worker, times - 1);
        else said.delete(worker);
      }
      if (said.size === 0) this.#open.delete(key);
      this.#note(note);
    }
  }
}

/** What a worker had before is its own matter. */
function keyOf({ event, policy, detail }: Note): string {
  const { before: _, ...rest } = detail;
  return JSON.stringify([event, policy, rest]);
}
