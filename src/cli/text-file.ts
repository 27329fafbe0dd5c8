// A file that a command is given: its text, or what the system says about it.
import { readFileSync } from 'node:fs';
import { SallyportError } from '../errors.ts';

/** @throws SallyportError `config-unreadable` */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw new SallyportError('config-unreadable', `${file} cannot be read: ${code}`, { cause });
  }
}
