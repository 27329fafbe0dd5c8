// The file of static users: one a line, `NAME:HASH` or `NAME:HASH:pipeline=web,queue=default`; # begins a comment line. PURE.
// `sallyport user` writes it and the configuration reads it, both through here.
import { ATTRIBUTES, type Attribute, type Attributes } from '../policy/record.ts';
import { formatPasswordHash, PASSWORD_HASH_FORM, type PasswordHash, parsePasswordHash } from './password-hash.ts';

export interface User {
  readonly name: string;
  readonly hash: PasswordHash;
  /** What the user proves besides `user`, its name. */
  readonly attributes: Attributes;
}

export interface UserLine {
  /** Counts from 1. */
  readonly line: number;
  readonly user: User;
}

export interface UserProblem {
  readonly line: number;
  readonly message: string;
  readonly hint: string;
}

/** Whose password is a job's token. */
export const TOKEN_USER = 'buildkite';
const USERS_MAX = 10_000;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;
const VALUE = /^[\x21-\x2b\x2d-\x7e]{1,256}$/;

/** @returns what is wrong with a user name, or null */
export function userNameProblem(name: string): string | null {
  if (name === TOKEN_USER) return `the name ${TOKEN_USER} belongs to the tokens of jobs`;
  if (NAME.test(name)) return null;
  return 'a user name has 1 to 64 letters, digits, dots, dashes, underscores or @, and begins with a letter or digit';
}

/** `pipeline=web,queue=default`; the attribute `user` is the name itself. @returns one sentence where it is malformed */
export function parseAttributes(
  text: string,
):
  | { readonly attributes: Attributes; readonly problem: null }
  | { readonly attributes: null; readonly problem: string } {
  const attributes: Partial<Record<Attribute, string>> = {};
  const known = ATTRIBUTES.filter((name) => name !== 'user');
  for (const part of text.split(',')) {
    const split = part.indexOf('=');
    const key = known.find((name) => name === part.slice(0, split));
    const value = part.slice(split + 1);
    if (split < 0 || key === undefined)
      return { attributes: null, problem: `an attribute is KEY=VALUE with KEY one of ${known.join(', ')}` };
    if (!VALUE.test(value))
      return { attributes: null, problem: `the value of ${key} is 1 to 256 visible ASCII characters without a comma` };
    if (attributes[key] !== undefined) return { attributes: null, problem: `${key} stands twice` };
    attributes[key] = value;
  }
  return { attributes, problem: null };
}

/** Reads the text of a users file; problems repeat nothing of a hash. */
export function parseUsersFile(text: string): { readonly users: UserLine[]; readonly problems: UserProblem[] } {
  const users: UserLine[] = [];
  const problems: UserProblem[] = [];
  const seen = new Map<string, number>();
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = index + 1;
    if (raw.trim() === '' || raw.startsWith('#')) continue;
    const read = parseUserLine(raw);
    if ('problem' in read) {
      problems.push({ line, message: read.problem, hint: read.hint });
      continue;
    }
    const before = seen.get(read.user.name);
    if (before !== undefined) {
      const message = `user ${read.user.name} stands twice; first on line ${before}`;
      problems.push({ line, message, hint: 'Remove one of the two lines.' });
      continue;
    }
    seen.set(read.user.name, line);
    users.push({ line, user: read.user });
  }
  if (users.length > USERS_MAX)
    problems.push({
      line: 1,
      message: `${users.length} users; allowed are ${USERS_MAX}`,
      hint: 'Use certificates or tokens.',
    });
  return { users, problems };
}

type ReadUser = { readonly user: User } | { readonly problem: string; readonly hint: string };

const LINE_HINT = `Write NAME:${PASSWORD_HASH_FORM}:KEY=VALUE,…; \`sallyport user add NAME\` writes the line.`;

function parseUserLine(raw: string): ReadUser {
  const [name = '', hashText = '', attributeText, ...more] = raw.split(':');
  if (hashText === '' || more.length > 0) return { problem: 'the line is not NAME:HASH:ATTRIBUTES', hint: LINE_HINT };
  const nameProblem = userNameProblem(name);
  if (nameProblem !== null) return { problem: nameProblem, hint: 'Choose another name.' };
  const hash = parsePasswordHash(hashText);
  if ('problem' in hash) return { problem: `user ${name}: ${hash.problem}`, hint: LINE_HINT };
  if (attributeText === undefined || attributeText === '') return { user: { name, hash: hash.hash, attributes: {} } };
  const { attributes, problem } = parseAttributes(attributeText);
  if (problem !== null) return { problem: `user ${name}: ${problem}`, hint: LINE_HINT };
  return { user: { name, hash: hash.hash, attributes } };
}

/** A user as its line, without the line end. */
export function formatUserLine({ name, hash, attributes }: User): string {
  const pairs = Object.entries(attributes).map(([key, value]) => `${key}=${value}`);
  return [name, formatPasswordHash(hash), ...(pairs.length > 0 ? [pairs.join(',')] : [])].join(':');
}

/** The file's text with the line of `name` replaced, added at the end, or (user null) removed. Comments and order stay. */
export function withUser(text: string, name: string, user: User | null): string {
  const lines = text === '' ? [] : text.replace(/\r?\n$/, '').split(/\r?\n/);
  const at = lines.findIndex((line) => line.startsWith(`${name}:`));
  const replacement = user === null ? [] : [formatUserLine(user)];
  if (at < 0) lines.push(...replacement);
  else lines.splice(at, 1, ...replacement);
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}
