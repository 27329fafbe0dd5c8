// `sallyport init`: writes the commented policy, in observe mode. It never writes over a file.
import { writeFileSync } from 'node:fs';
import { initialPolicy } from '../../config/initial-policy.ts';
import { SallyportError } from '../../errors.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import type { Input } from '../input.ts';
import type { Ui } from '../ui.ts';

const DEFAULT_NAME = 'sallyport.yaml';

export function init(input: Input, ui: Ui): number {
  const file = input.argument(0) ?? DEFAULT_NAME;
  try {
    // wx: fails where anything stands there, a dangling link included.
    writeFileSync(file, initialPolicy(), { flag: 'wx', mode: 0o644 });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    if (code === 'EEXIST') {
      throw new SallyportError('config-conflict', `${file} exists and is not overwritten`, {
        hint: 'Name another file, or move it away.',
      });
    }
    throw new SallyportError('config-unreadable', `${file} cannot be written: ${code}`, {
      hint: 'Check that the folder exists and may be written to.',
      cause: error,
    });
  }
  if (ui.json) ui.object({ written: file });
  else {
    ui.line(`${inert(file)} is written, in observe mode.`);
    ui.line(`  next: sallyport serve --config ${inert(file)}`);
  }
  return EXIT.ok;
}
