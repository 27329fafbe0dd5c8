// Reads the files that the identity keys name, at start and at each reload: what they say comes into force with the policy,
// or not at all. A damaged one refuses the whole, so that nobody loses or gains a proof by half a file.
import { statSync } from 'node:fs';
import type { FileRead } from '../catalog/load.ts';
import { SallyportError } from '../errors.ts';
import { readDocument } from './document.ts';
import { type Findings, failure, problemAt } from './findings.ts';
import { type IdentitySettings, NO_IDENTITY } from './identity.ts';
import { readBytes } from './load-file.ts';
import { type Parsed, parseRaw } from './parse.ts';
import { parseUsersFile, type User } from './users-file.ts';

/** The users file that a policy file names, whatever else is wrong with it; null where it names none. @throws SallyportError where it cannot be read */
export function usersFileOf(policy: string): string | null {
  const result = readDocument(policy, new TextDecoder().decode(readBytes(policy).bytes));
  if (!result.ok) throw failure(policy, result.problems);
  return parseRaw(result.document.value, {}).raw.users?.file ?? null;
}

/** '' where the file does not exist. @throws SallyportError where it cannot be read */
export function readUsersText(file: string): string {
  if (statSync(file, { throwIfNoEntry: false }) === undefined) return '';
  return new TextDecoder().decode(readBytes(file).bytes);
}

/** @param files takes what was read, so that a change of it reloads */
export function loadIdentity(raw: Parsed['raw'], findings: Findings, files: FileRead[]): IdentitySettings {
  const named = raw.users?.file;
  if (named === undefined) return NO_IDENTITY;
  return { files: [named], users: readUsers(named, findings, files) };
}

function readUsers(file: string, findings: Findings, files: FileRead[]): User[] {
  const text = readText(file, findings, files);
  if (text === null) return [];
  const { users, problems } = parseUsersFile(text);
  findings.addPlaced(
    problems.map(({ line, message, hint }) => problemAt('config-value', { file, line, column: 1 }, message, hint)),
  );
  return users.map(({ user }) => user);
}

/** Null where it cannot be read; then the findings say so. */
function readText(file: string, findings: Findings, files: FileRead[]): string | null {
  try {
    const { bytes, read } = readBytes(file);
    files.push(read);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (cause instanceof SallyportError) findings.addPlaced(cause.problems);
    else findings.addPlaced([problemAt('config-syntax', { file, line: 1, column: 1 }, `${file} is not UTF-8 text`)]);
    return null;
  }
}
