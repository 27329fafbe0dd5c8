// What a batch of the projection has come to, piece by piece, before it is written.
import type { Batch } from './tail.ts';
import { createTally, type Tally } from './tally.ts';

interface Fault {
  readonly piece: Batch;
  readonly offset: number;
  readonly why: string;
}

export interface Reading {
  readonly tally: Tally;
  lines: number;
  /** Those that are named; how many more there are. */
  readonly faults: Fault[];
  moreFaults: number;
  damaged: number;
  missing: number;
  /** Damaged lines after the last sound one: their numbers are not missing. */
  damagedSince: number;
  /** Of the last sound line. */
  seq: number;
  hash: string;
}

/** Faults of one batch that are named; finding a line's number means reading the file up to it. */
const NAMED_MAX = 10;

/** Nothing is read yet behind that line. */
export function readingAfter({ seq, hash, damagedSince }: Pick<Reading, 'seq' | 'hash' | 'damagedSince'>): Reading {
  const nothing = { lines: 0, faults: [], moreFaults: 0, damaged: 0, missing: 0 };
  return { tally: createTally(), ...nothing, seq, hash, damagedSince };
}

export function addFault(reading: Reading, fault: Fault): void {
  if (reading.faults.length < NAMED_MAX) reading.faults.push(fault);
  else reading.moreFaults++;
}
