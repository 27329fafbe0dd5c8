// What most commands begin with: the policy file that --config names, read and compiled in this thread, its warnings shown.
// Errors are thrown with all their problems; run.ts prints them. No command reads the file by itself.
import type { LoadedConfig } from '../config/load.ts';
import { type LoadedHere, loadConfigHere } from '../config/load-here.ts';
import type { Problem } from '../errors.ts';
import { configFile } from './config-file.ts';
import type { Input } from './input.ts';
import type { Ui, World } from './ui.ts';

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
