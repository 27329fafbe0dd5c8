// Where the CA of inspection is: what was typed, else what the policy file says under `inspection.ca`.
import type { CaFiles } from '../inspect/ca.ts';
import { type Input, usage } from './input.ts';

export interface CaPlace extends CaFiles {
  /** Hosts of rules with `inspect: true`, as patterns. */
  readonly inspected: readonly string[];
}

/** @throws SallyportError `usage` where neither says it */
export function caPlace(input: Input): CaPlace {
  const cert = input.text('cert');
  const key = input.text('key');
  if (cert === null || key === null) throw usage('--cert FILE and --key FILE are missing');
  return { cert, key, passphraseFile: input.text('passphrase-file'), inspected: [] };
}
