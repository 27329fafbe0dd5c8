// Loads a policy from text: a file policy.yaml in a folder of its own, so that places and rule ids are the same everywhere.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import type { Overrides } from '../../src/config/load.ts';
import { type LoadedHere, loadConfigHere } from '../../src/config/load-here.ts';
import { type Problem, SallyportError } from '../../src/errors.ts';
import { parseAuthority } from '../../src/policy/authority.ts';
import { type Decision, Policy } from '../../src/policy/decide.ts';
import { ANONYMOUS, type Attributes } from '../../src/policy/record.ts';

export const NOW = Date.UTC(2026, 10, 24, 12);
export const FILE = 'policy.yaml';

let folder = '';
const before = process.cwd();

/** Said by each file whose tests load from text: they run in that folder. */
export function inFolderOfItsOwn(): void {
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'sallyport-config-'));
    process.chdir(folder);
  });

  afterAll(() => {
    process.chdir(before);
    rmSync(folder, { recursive: true, force: true });
    folder = '';
  });
}

export interface Outcome {
  readonly loaded: LoadedHere | null;
  readonly error: SallyportError | null;
  readonly problems: readonly Problem[];
}

/** Loads the text (or the file as it lies there) and gives the warnings, or the error with its problems. */
export function loadText(
  text: string | null,
  options: { now?: number; overrides?: Overrides; file?: string | null } = {},
): Outcome {
  if (folder === '') throw new Error('inFolderOfItsOwn() is missing');
  if (text !== null) writeFileSync(FILE, text);
  const { now = NOW, overrides = {}, file = FILE } = options;
  try {
    const loaded = loadConfigHere({ file, overrides, now });
    return { loaded, error: null, problems: loaded.problems };
  } catch (cause) {
    if (!(cause instanceof SallyportError)) throw cause;
    return { loaded: null, error: cause, problems: cause.problems };
  }
}

/** The decision on a CONNECT. */
export function connect(outcome: Outcome, target: string, attributes?: Attributes, now = NOW): Decision {
  if (outcome.loaded === null) throw outcome.error ?? new Error('not loaded');
  const parsed = parseAuthority(target);
  if (!parsed.ok) throw new Error(parsed.problem);
  const identity = attributes === undefined ? ANONYMOUS : ({ kind: 'job', attributes, claimed: {} } as const);
  const policy = new Policy(outcome.loaded.policy);
  return policy.decide({ authority: parsed.authority, kind: 'connect', method: 'CONNECT', path: null, identity, now });
}
