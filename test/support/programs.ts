// Which programs this machine has: tests of what only some machines can try skip elsewhere; .ci/run installs all of them.
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

const FOLDERS = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin'].filter((folder) => folder !== '');

/** Whether every one of them is there and may be run. */
export function hasProgram(...programs: readonly string[]): boolean {
  return programs.every((program) => FOLDERS.some((folder) => isExecutable(join(folder, program))));
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
