// Where the CA of inspection is: what was typed, else what the policy file says under `inspection.ca`.
import { findConfigFile } from '../config/load.ts';
import { loadConfigHere } from '../config/load-here.ts';
import type { CaFiles } from '../inspect/ca.ts';
import { inspectedNames } from '../policy/inspect.ts';
import { type Input, usage } from './input.ts';

export interface CaPlace extends CaFiles {
  /** Hosts of rules with `inspect: true`, as patterns. */
  readonly inspected: readonly string[];
}

/** @throws SallyportError `usage` where neither says it */
export function caPlace(input: Input, nowMs: number): CaPlace {
  const typed = { cert: input.text('cert'), key: input.text('key'), passphraseFile: input.text('passphrase-file') };
  if (typed.cert !== null && typed.key !== null && input.text('config') === null)
    return { cert: typed.cert, key: typed.key, passphraseFile: typed.passphraseFile, inspected: [] };
  const { file } = findConfigFile(input.text('config'));
  const loaded = file === null ? null : loadConfigHere({ file, now: nowMs });
  const named = loaded?.settings.inspection?.ca;
  const cert = typed.cert ?? named?.cert;
  const key = typed.key ?? named?.key;
  if (cert === undefined || key === undefined)
    throw usage(
      '--cert FILE and --key FILE are missing, and no policy file names them',
      'Write `inspection: { ca: { cert: FILE, key: FILE } }` into the policy, or name both.',
    );
  const passphraseFile = typed.passphraseFile ?? named?.passphraseFile ?? null;
  return { cert, key, passphraseFile, inspected: loaded === null ? [] : inspectedNames(loaded.policy) };
}
