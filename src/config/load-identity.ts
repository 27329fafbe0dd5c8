// Reads the files that the identity keys name, at start and at each reload: what they say comes into force with the policy,
// or not at all. A damaged one refuses the whole, so that nobody loses or gains a proof by half a file.
import { statSync } from 'node:fs';
import type { FileRead } from '../catalog/load-signature.ts';
import { SallyportError } from '../errors.ts';
import { readDocument } from './document.ts';
import { type Findings, failure, problemAt } from './findings.ts';
import { type IdentitySettings, oidcSettings, tlsProblems, tlsSettings } from './identity.ts';
import { error } from './issues.ts';
import { keySetProblem } from './key-set.ts';
import { readBytes } from './load-file.ts';
import { type Parsed, parseRaw } from './parse.ts';
import { parseUsersFile, type User } from './users-file.ts';

const KEYS_HINT = 'https://agent.buildkite.com/.well-known/jwks';
const KEYS_ABSENT = `Fetch it from the issuer: ${KEYS_HINT}.`;
const USERS_ABSENT = 'Make it with its first user: `sallyport user add NAME`.';

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
  const usersFile = raw.users?.file;
  const keysFile = raw.oidc?.jwks?.file;
  const elsewhere = raw.oidc?.jwks?.url !== undefined || raw.oidc?.jwks?.addresses !== undefined;
  if (keysFile !== undefined && elsewhere)
    findings.add([
      error('config-conflict', ['oidc', 'jwks'], 'oidc.jwks has a file and a URL: the keys come from one place'),
    ]);
  findings.add(tlsProblems(raw.tls));
  const users = usersFile === undefined ? [] : readUsers(usersFile, findings, files);
  const keys = keysFile === undefined ? null : readKeys(keysFile, findings, files);
  return {
    files: [usersFile, keysFile].filter((file) => file !== undefined),
    users,
    oidc: raw.oidc === undefined ? null : oidcSettings(raw.oidc, keys),
    tls: raw.tls === undefined ? null : tlsSettings(raw.tls),
  };
}

/** The text of a key set whose form is right; whether its keys are is found out when they are put to use. */
function readKeys(file: string, findings: Findings, files: FileRead[]): string {
  const text = readText(file, KEYS_ABSENT, findings, files);
  if (text === null) return '';
  const problem = keySetProblem(text);
  if (problem !== null) {
    const message = `the key set is not valid: ${problem}`;
    const hint = `Fetch it again from the issuer: ${KEYS_HINT}.`;
    findings.addPlaced([problemAt('config-value', { file, line: 1, column: 1 }, message, hint)]);
  }
  return text;
}

function readUsers(file: string, findings: Findings, files: FileRead[]): User[] {
  const text = readText(file, USERS_ABSENT, findings, files);
  if (text === null) return [];
  const { users, problems } = parseUsersFile(text);
  findings.addPlaced(
    problems.map(({ line, message, hint }) => problemAt('config-value', { file, line, column: 1 }, message, hint)),
  );
  return users.map(({ user }) => user);
}

/** Null where it cannot be read; then the findings say so. */
function readText(file: string, whereAbsent: string, findings: Findings, files: FileRead[]): string | null {
  try {
    const { bytes, read } = readBytes(file, whereAbsent);
    files.push(read);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (cause instanceof SallyportError) findings.addPlaced(cause.problems);
    else findings.addPlaced([problemAt('config-syntax', { file, line: 1, column: 1 }, `${file} is not UTF-8 text`)]);
    return null;
  }
}
