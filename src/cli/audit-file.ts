// Which audit log a command reads: the one that the policy names, or --log; and which keys it believes.
import type { KeyObject } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { logFamily } from '../audit/family.ts';
import { readKey } from '../catalog/signing-key.ts';
import { SallyportError } from '../errors.ts';
import { type Input, usage } from './input.ts';
import { loadFor } from './load.ts';
import { readText } from './text-file.ts';
import type { Ui, World } from './ui.ts';

/** The log that a command reads, with those of its workers. @throws SallyportError as auditFile does */
export function auditLogs(input: Input, ui: Ui, world: World): string[] {
  return logFamily(auditFile(input, ui, world));
}

/** @throws SallyportError `usage` where --config and --log are both given */
export function auditFile(input: Input, ui: Ui, world: World): string {
  const log = input.text('log');
  if (log === null) return loadFor(input, ui, world, { quiet: true }).settings.audit.file;
  if (input.text('config') !== null) throw usage('--config and --log both name an audit log', 'Give one of the two.');
  return log;
}

/** Nothing of the log is there: it must not be called empty or complete. */
export function noAuditLog(file: string): SallyportError {
  return new SallyportError('audit-damaged', `there is no audit log ${file}`, {
    hint: 'Check audit.file in the policy, or name the log: --log FILE.',
  });
}

/** A log by its name, or what logs are in a folder and in the folders of nodes in it: `NAME.jsonl`, with what was rotated beside it. */
export function logsAt(place: string): string[] {
  if (!statSync(place, { throwIfNoEntry: false })?.isDirectory()) return [place];
  const entries = readdirSync(place, { withFileTypes: true });
  const below = entries.filter((entry) => entry.isDirectory()).flatMap(({ name }) => logsIn(join(place, name)));
  const found = [...logsIn(place), ...below].sort();
  if (found.length > 0) return found;
  throw new SallyportError('audit-damaged', `there is no audit log in ${place}`, {
    hint: 'Name the log itself: --log FILE.',
  });
}

function logsIn(folder: string): string[] {
  const names = readdirSync(folder).flatMap((name) => /^[^.].*?\.jsonl(?=$|[.-])/.exec(name)?.[0] ?? []);
  return [...new Set(names)].map((name) => join(folder, name));
}

/** The keys that `--key` names. @throws SallyportError `signing-key`, `config-unreadable` */
export function publicKeys(input: Input): KeyObject[] {
  return input.list('key').map((file) => readKey(file, readText(file), 'public'));
}
