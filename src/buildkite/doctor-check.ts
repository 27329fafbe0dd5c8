// One finding of `doctor`: what was looked at, how it is, and what mends it.

/** fail: jobs will fail or go around the proxy; warn: some tools will; skip: not here, or not asked for. */
export type CheckState = 'ok' | 'warn' | 'fail' | 'skip';

export interface Check {
  readonly area: 'variables' | 'proxy' | 'host' | 'stream' | 'tool';
  /** A variable, a host, a tool. */
  readonly subject: string;
  readonly state: CheckState;
  readonly message: string;
  /** null where there is nothing to mend. */
  readonly fix: string | null;
  /** How long it took, where that says something. */
  readonly ms: number | null;
}

type Place = Pick<Check, 'area' | 'subject'>;

export function ok(at: Place, message: string, ms: number | null = null): Check {
  return { ...at, state: 'ok', message, fix: null, ms };
}

export function skip(at: Place, message: string): Check {
  return { ...at, state: 'skip', message, fix: null, ms: null };
}

export function bad(state: 'warn' | 'fail', at: Place, message: string, fix: string, ms: number | null = null): Check {
  return { ...at, state, message, fix, ms };
}
