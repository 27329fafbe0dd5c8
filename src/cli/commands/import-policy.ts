// `sallyport import squid|smokescreen`: prints another proxy's configuration as a policy file, with what could not be carried over as comments
// at its end. It writes no file and opens nothing that the other file did not name.
import { readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { readTextFile } from '../../config/load-text.ts';
import { type Migration, policyText } from '../../config/migrate.ts';
import { migrateSmokescreen } from '../../config/migrate-smokescreen.ts';
import { migrateSquid } from '../../config/migrate-squid.ts';
import { SallyportError } from '../../errors.ts';
import { DEFAULT_LIMITS } from '../../limits.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import type { Input } from '../input.ts';
import type { Ui } from '../ui.ts';

export function importSquid(input: Input, ui: Ui): number {
  const file = input.argument(0) ?? '';
  const { text } = readTextFile(file);
  const read = (path: string): string | null => named(isAbsolute(path) ? path : join(dirname(file), path));
  return show(migrateSquid(text, read), { file, product: 'Squid' }, ui);
}

export function importSmokescreen(input: Input, ui: Ui): number {
  const file = input.argument(0) ?? '';
  const { text } = readTextFile(file);
  const migration = migrateSmokescreen(text);
  if (migration === null)
    throw new SallyportError('config-value', `${file} is no ACL file of Smokescreen`, {
      hint: 'It is a YAML file that says version: v1, with services and a default.',
    });
  return show(migration, { file, product: 'Smokescreen' }, ui);
}

function show(migration: Migration, from: { file: string; product: string }, ui: Ui): number {
  const { left } = migration;
  const text = policyText(migration, from.file, from.product);
  if (ui.json) ui.object({ text, left });
  else {
    ui.raw(text);
    for (const { line, text: what, why } of left)
      ui.note(
        `not carried over: ${inert(from.file)}${line === 0 ? '' : `:${line}`}: ${what === '' ? '' : `${inert(what)}: `}${inert(why)}`,
      );
  }
  return left.some(({ line }) => line > 0) ? EXIT.changed : EXIT.ok;
}

/** A list that the configuration names; null where it cannot be read, or is larger than a policy may be. */
function named(path: string): string | null {
  try {
    const stat = statSync(path);
    return stat.isFile() && stat.size <= DEFAULT_LIMITS.config_bytes ? readFileSync(path, 'utf8') : null;
  } catch {
    return null;
  }
}
