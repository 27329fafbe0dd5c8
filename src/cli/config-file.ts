// Which policy file a command is about. Beside load.ts, because not each command reads it in its own thread.
import { findConfigFile } from '../config/load.ts';
import { type Input, usage } from './input.ts';

/** The policy file: --config, else SALLYPORT_CONFIG, else config/sallyport.yaml where it exists. */
export function configFile(input: Input): string {
  const { file } = findConfigFile(input.text('config'));
  if (file !== null) return file;
  throw usage('--config FILE is missing', `Name the policy file, or write one: \`sallyport init\`.`);
}
