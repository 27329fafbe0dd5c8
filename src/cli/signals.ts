// What the process does on which signal. The handlers stand before the audit log is locked: who finds the process by that lock
// may signal it at once, and Node would open its inspector's port on an unhandled SIGUSR1 and die of a SIGHUP.

export interface SignalActs {
  /** SIGHUP. */
  reload(): void;
  /** SIGUSR1. */
  upgrade(): void;
  /** SIGUSR2. */
  reopen(): void;
  /** SIGTERM and SIGINT. */
  end(): void;
}

/** From where the process is told: signals, or the primary of a worker. */
export interface SignalSource {
  /** Until it is obeyed, an upgrade that is asked for is answered so: this process is itself an upgrade's, and has the log already. */
  meanwhile(upgrade: () => void): void;
  /** From now on it is obeyed; what came earlier first. */
  obey(acts: SignalActs): void;
  /** The process is ending. */
  close(): void;
}

const EARLY = { SIGHUP: 'reload', SIGUSR1: 'upgrade', SIGUSR2: 'reopen' } as const;
const ENDING = ['SIGTERM', 'SIGINT'] as const;

export class Signals implements SignalSource {
  #acts: SignalActs | null = null;
  #meanwhile: (() => void) | null = null;
  readonly #early = new Set<keyof typeof EARLY>();
  readonly #end = (): void => this.#acts?.end();

  constructor() {
    for (const signal of Object.keys(EARLY) as (keyof typeof EARLY)[]) process.on(signal, () => this.#on(signal));
  }

  meanwhile(upgrade: () => void): void {
    this.#meanwhile = upgrade;
  }

  /** From now on signals are obeyed; those that came earlier first. Until now SIGTERM and SIGINT end the process as they always do. */
  obey(acts: SignalActs): void {
    this.#acts = acts;
    for (const signal of ENDING) process.on(signal, this.#end);
    for (const signal of this.#early) this.#on(signal);
  }

  /** The process is ending: one more SIGTERM or SIGINT kills it, the other signals do nothing. */
  close(): void {
    this.#acts = null;
    for (const signal of ENDING) process.removeListener(signal, this.#end);
  }

  #on(signal: keyof typeof EARLY): void {
    if (this.#acts) this.#acts[EARLY[signal]]();
    else if (signal === 'SIGUSR1' && this.#meanwhile) this.#meanwhile();
    else this.#early.add(signal);
  }
}
