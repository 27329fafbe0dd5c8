// The leases of jobs over a restart and an upgrade: a file beside the audit log (`<audit file>.leases.json`), written a moment after a
// change and at the end. A job posts its lease once, at its start; a proxy that forgot it would make a stranger of every job that runs.
// Whoever may write the file may write the policy; what is read is checked all the same, and a damaged file is no lease.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Lease } from '../identity/leases.ts';
import type { Proofs } from '../identity/proofs.ts';
import { canonicalAddress } from '../policy/address.ts';
import { ATTRIBUTES, type Attribute } from '../policy/record.ts';

/** Changes of so long are written together. */
const SAVE_DELAY_MS = 500;
const BYTES_MAX = 67_108_864;
const MODE = 0o600;
const VERSION = 1;

interface Parts {
  readonly auditFile: string;
  readonly proofs: Pick<Proofs, 'restore' | 'leases'>;
  readonly onProblem: (what: string, error: unknown) => void;
}

export class LeaseFile {
  readonly #parts: Parts;
  readonly #file: string;
  #timer: NodeJS.Timeout | null = null;
  /** Another process has them now. */
  #given = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#file = `${parts.auditFile}.leases.json`;
  }

  /** Takes over what the process before had, and keeps it from now on. */
  open(): void {
    const { proofs, onProblem } = this.#parts;
    try {
      proofs.restore(readLeases(this.#file));
    } catch (error) {
      onProblem('the leases of the process before cannot be read; jobs that run must post theirs again', error);
    }
    proofs.leases.onChange = () => this.#changed();
  }

  /** The new process of an upgrade reads the file next: this one writes it no more. */
  over(): void {
    this.#save();
    this.#given = true;
  }

  /** The upgrade failed. */
  back(): void {
    this.#given = false;
    this.#save();
  }

  close(): void {
    this.#save();
  }

  #changed(): void {
    this.#timer ??= setTimeout(() => this.#save(), SAVE_DELAY_MS).unref();
  }

  #save(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#given) return;
    const next = `${this.#file}.${process.pid}.tmp`;
    try {
      const leases = this.#parts.proofs.leases.all();
      if (leases.length === 0) return rmSync(this.#file, { force: true });
      writeFileSync(next, `${JSON.stringify({ version: VERSION, leases })}\n`, { mode: MODE });
      renameSync(next, this.#file);
    } catch (error) {
      rmSync(next, { force: true });
      this.#parts.onProblem('the leases of jobs cannot be kept; a restart would forget them', error);
    }
  }
}

/** @throws where it cannot be read or is none of ours; an absent one has no leases */
function readLeases(file: string): Lease[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  if (text.length > BYTES_MAX) throw new Error(`${file} is larger than ${BYTES_MAX} bytes`);
  const value = JSON.parse(text) as { version?: unknown; leases?: unknown };
  if (value.version !== VERSION || !Array.isArray(value.leases)) throw new Error(`${file} holds no leases`);
  return value.leases.map((one) => leaseOf(one, file));
}

function leaseOf(value: unknown, file: string): Lease {
  const { job, address, attributes, untilMs } = (value ?? {}) as Partial<Record<keyof Lease, unknown>>;
  const isWhole =
    typeof job === 'string' &&
    typeof address === 'string' &&
    canonicalAddress(address) === address &&
    Number.isSafeInteger(untilMs) &&
    typeof attributes === 'object' &&
    attributes !== null;
  if (!isWhole) throw new Error(`${file} holds something that is no lease`);
  const names = attributes as Readonly<Record<string, unknown>>;
  const known: Partial<Record<Attribute, string>> = {};
  for (const name of ATTRIBUTES) if (typeof names[name] === 'string') known[name] = names[name];
  return { job, address, attributes: Object.freeze(known), untilMs: untilMs as number };
}
