// Which logs there are besides one's own, as their checkpoints in the second place say, and when each last spoke. What was seen once is
// kept, so that whoever removes all of a node has to change what every other node signs.
import { type Checkpoint, logOfCheckpoint, parseCheckpoint, ROSTER_NAME, type Roster } from './checkpoint.ts';
import { nodeFolder, type SecondPlace } from './second-place.ts';

/** How a log is called in rosters. */
export function rosterName({ node, log }: Pick<Checkpoint, 'node' | 'log'>): string {
  return `${nodeFolder(node)}/${log}`;
}

/** A clock may be so far ahead; a later time would be kept for the last one until it has come. */
const AHEAD_MS = 3_600_000;

export class RosterBook {
  readonly #own: string;
  readonly #max: number;
  #roster: Roster = {};

  /** @param max logs that are kept: those that spoke last */
  constructor(own: Pick<Checkpoint, 'node' | 'log'>, max: number) {
    this.#own = rosterName(own);
    this.#max = max;
  }

  get roster(): Roster {
    return this.#roster;
  }

  /** Looks through the second place. @returns true where logs had to be left out */
  async look(place: SecondPlace, now: Date): Promise<boolean> {
    for (const folder of await place.folders()) {
      for (const name of await place.list(folder)) {
        if (logOfCheckpoint(name) === null) continue;
        const text = await place.read(folder, name);
        const found = text === null ? null : parseCheckpoint(text);
        if (found !== null && rosterName(found) === `${folder}/${logOfCheckpoint(name)}`) this.#saw(found, now);
      }
    }
    return this.#bound();
  }

  /** Takes over what an earlier process had signed. @returns true where logs had to be left out */
  recall(roster: Roster): boolean {
    for (const [name, entry] of Object.entries(roster)) this.#merge(name, entry);
    return this.#bound();
  }

  #saw(checkpoint: Checkpoint, now: Date): void {
    const { time, last } = checkpoint;
    if (Date.parse(time) > now.getTime() + AHEAD_MS) return;
    this.#merge(rosterName(checkpoint), { first: time, last: time, seq: last?.seq ?? null });
  }

  #merge(name: string, entry: Roster[string]): void {
    // What no checkpoint can say would make our own one unreadable.
    if (name === this.#own || !ROSTER_NAME.test(name)) return;
    const known = this.#roster[name];
    if (known === undefined) this.#roster[name] = entry;
    else {
      const newer = known.last <= entry.last ? entry : known;
      const first = [known.first, entry.first].sort()[0] ?? entry.first;
      this.#roster[name] = { first, last: newer.last, seq: newer.seq };
    }
  }

  #bound(): boolean {
    const all = Object.entries(this.#roster);
    if (all.length <= this.#max) return false;
    all.sort(([, a], [, b]) => (a.last < b.last ? 1 : -1));
    this.#roster = Object.fromEntries(all.slice(0, this.#max));
    return true;
  }
}
