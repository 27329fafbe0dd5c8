// Replaces a small file as a whole: a reader sees the old text or the new one, never half of one, also after a crash.
import { chmodSync, chownSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { OperatorErrorCode } from '../errors.ts';
import { SallyportError } from '../errors.ts';
import { inert } from '../report/inert.ts';

/**
 * Writes beside the file and renames. Whoever could read the file before still can, and nobody else.
 * @param mode of a file that is new
 * @throws SallyportError `code` where the system refuses it
 */
export function writeWhole(
  file: string,
  text: string,
  { mode, code }: { mode: number; code: OperatorErrorCode },
): void {
  const next = `${file}.${process.pid}.tmp`;
  try {
    const before = statSync(file, { throwIfNoEntry: false });
    writeFileSync(next, text, { mode, flush: true, flag: 'wx' });
    if (before !== undefined) {
      chmodSync(next, before.mode & 0o777);
      const own = statSync(next);
      if (own.uid !== before.uid || own.gid !== before.gid) chownSync(next, before.uid, before.gid);
    }
    renameSync(next, file);
  } catch (cause) {
    rmSync(next, { force: true });
    const why = (cause as NodeJS.ErrnoException).code;
    if (why === undefined) throw cause;
    throw new SallyportError(code, `${inert(file)} cannot be written: ${why}`, {
      hint: 'Check the folder, its permissions and the free space.',
      cause,
    });
  }
}
