// What most commands begin with: the policy file that --config names, read and compiled in this thread, its warnings shown.
// Errors are thrown with all their problems; run.ts prints them. No command reads the file by itself.
import { findConfigFile, type LoadedConfig, type LoadedHere, loadConfigHere } from '../config/load.ts';
import type { Problem } from '../errors.ts';
import { type Input, usage } from './input.ts';
import type { Ui, World } from './ui.ts';

/** The policy file: --config, else SALLYPORT_CONFIG, else config/sallyport.yaml where it exists. */
export function configFile(input: Input): string {
  const { file } = findConfigFile(input.text('config'));
  if (file !== null) return file;
  throw usage('--config FILE is missing', `Name the policy file, or write one: \`sallyport init\`.`);
}

/** Reads the policy file; warnings, and what is wrong with layers, go to standard error unless `quiet`. */
export function loadFor(input: Input, ui: Ui, world: World, options: { readonly quiet?: boolean } = {}): LoadedHere {
  const loaded = loadConfigHere({ file: configFile(input), now: world.now() });
  if (options.quiet !== true && !ui.json)
    for (const problem of [...layerProblems(loaded), ...loaded.problems]) ui.problem(problem);
  return loaded;
}

/** Why layers are not in force as their files say. */
export function layerProblems({ layers }: LoadedConfig): Problem[] {
  return layers.flatMap(({ problems }) => problems);
}
