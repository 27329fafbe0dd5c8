// `sallyport completion SHELL`: prints the script that makes the shell complete its commands and options.

import { EXIT } from '../args.ts';
import { completionScript, SHELLS } from '../completion.ts';
import { type Input, usage } from '../input.ts';
import type { Ui } from '../ui.ts';

export function completion(input: Input, ui: Ui): number {
  const typed = input.argument(0);
  const shell = SHELLS.find((one) => one === typed);
  if (shell === undefined)
    throw usage(`there is no completion for ${JSON.stringify(typed)}`, `Write one of ${SHELLS.join(', ')}.`);
  const text = completionScript(shell);
  if (ui.json) ui.object({ shell, text });
  else ui.raw(text);
  return EXIT.ok;
}
