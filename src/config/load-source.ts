// The file of the machine and the policy that it names elsewhere → one document, in which each value keeps the place where it stands.
// Each key stands in one of the two: a rule in the file of the machine beside a policy that many nodes share would be one that no review
// of that policy shows, and a listener in the policy would be every node's.
import { join } from 'node:path';
import type { FileRead } from '../catalog/load-signature.ts';
import type { Problem } from '../errors.ts';
import type { SourceDocument } from './document.ts';
import { failure, problemAt } from './findings.ts';
import { error, type PathProblem } from './issues.ts';
import { parseText, readTextFile } from './load-text.ts';
import { parseRaw } from './parse.ts';
import { KEYS } from './schema.ts';
import { BASE_NAME, CURRENT, type PolicyPlace, SOURCE_DIR, SOURCE_KEYS } from './source-schema.ts';

export interface Sourced {
  readonly document: SourceDocument;
  /** The base file of the policy; that of the machine where it names no source. */
  readonly file: string;
  /** What was read besides the file of the machine. */
  readonly read: readonly FileRead[];
  readonly bytes: number;
}

/**
 * Keys of a policy file that belong to each machine. Without any it is one that many nodes share, as far as it says itself.
 * @throws SallyportError where it cannot be read, or is no YAML
 */
export function keysOfMachine(base: string): readonly string[] {
  const keys = Object.keys(parseText(base, readTextFile(base).text).value);
  return keys.filter((key) => key !== 'version' && !SOURCE_KEYS.includes(key));
}

/**
 * Follows `policy.source`.
 * @param folder instead of the one that it names: a bundle that is on trial
 * @throws SallyportError where the source cannot be read, or a key stands in the wrong of the two
 */
export function followSource(local: SourceDocument, file: string, folder: string | null): Sourced | null {
  const { policy } = parseRaw({ version: 1, policy: local.value['policy'] }, {}).raw;
  if (!Object.hasOwn(local.value, 'policy') || policy === undefined) return null;
  const base = join(folder ?? sourceFolder(policy), BASE_NAME);
  const { text, bytes, read } = readTextFile(base);
  const shared = parseText(base, text);
  const problems = [
    ...misplaced(
      local,
      file,
      (key) => SOURCE_KEYS.includes(key),
      `stands in the policy that policy.source names, ${base}`,
    ),
    ...misplaced(
      shared,
      base,
      (key) => KEYS.some((known) => known === key) && !SOURCE_KEYS.includes(key) && key !== 'version',
      `belongs to each machine and stands in its own file, ${file}`,
    ),
  ];
  if (problems.length > 0) throw failure(file, problems);
  const ofSource = (path: readonly PropertyKey[]): boolean =>
    path[0] !== 'version' && Object.hasOwn(shared.value, path[0] ?? '');
  const document: SourceDocument = {
    value: { ...local.value, ...shared.value },
    place: (path, where) => (ofSource(path) ? shared : local).place(path, where),
  };
  return { document, file: base, read: [read], bytes };
}

/** The folder that a policy is read from. */
function sourceFolder({ source, dir }: PolicyPlace): string {
  return source.url === null ? source.folder : join(dir ?? SOURCE_DIR, CURRENT);
}

function misplaced(document: SourceDocument, file: string, wrong: (key: string) => boolean, why: string): Problem[] {
  return Object.keys(document.value)
    .filter(wrong)
    .map((key) =>
      problemAt('config-conflict', { ...document.place([key], 'key'), file }, `${key} ${why}`, 'Move it there.'),
    );
}

/** What relates the keys of `policy`. */
export function sourceProblems(policy: PolicyPlace | undefined): PathProblem[] {
  if (policy === undefined) return [];
  const isUrl = policy.source.url !== null;
  if (isUrl && policy.public_keys === undefined) {
    const hint = 'Write public_keys: [policy.pem]: only what one of them has signed is taken.';
    return [error('config-missing-key', ['policy'], 'policy has the URL of a bundle, and no public_keys', hint)];
  }
  return (['public_keys', 'dir', 'addresses', 'ca_file'] as const)
    .filter((key) => !isUrl && policy[key] !== undefined)
    .map((key) =>
      error('config-conflict', ['policy', key], `${key} is for the URL of a bundle, and policy.source is a folder`),
    );
}

/** `policy` of a file, whatever else is wrong with it; null where it has none that is well-formed. */
export function policyPlaceOf(value: Readonly<Record<string, unknown>>): PolicyPlace | null {
  return parseRaw({ version: 1, policy: value['policy'] ?? null }, {}).raw.policy ?? null;
}
