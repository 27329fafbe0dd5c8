// `sallyport user …`: keeps the users file. The file is replaced whole, so that a proxy which reads it at that moment sees the
// old or the new one; the proxy looks at it by itself. A password is read, hashed and forgotten.
import { readUsersText, usersFileOf } from '../../config/load-identity.ts';
import { parseAttributes, parseUsersFile, type User, userNameProblem, withUser } from '../../config/users-file.ts';
import { SallyportError } from '../../errors.ts';
import { hashPassword } from '../../identity/password.ts';
import { hasControl } from '../../identity/proxy-authorization.ts';
import type { Attributes } from '../../policy/record.ts';
import { inert } from '../../report/inert.ts';
import { textTable } from '../../report/text-table.ts';
import { EXIT } from '../args.ts';
import { configFile } from '../config-file.ts';
import { type Input, usage } from '../input.ts';
import type { Ui, World } from '../ui.ts';
import { writeWhole } from '../write-whole.ts';

const WRITTEN = { mode: 0o640, code: 'users-unwritable' } as const;

const PASSWORD = { min: 12, max: 1_024 } as const;

export async function userAdd(input: Input, ui: Ui, world: World): Promise<number> {
  const name = nameOf(input);
  const attributes = attributesOf(input);
  const file = usersFile(input);
  const before = usersOf(file);
  const password = await passwordFor(name, world);
  const known = before.users.find((user) => user.name === name);
  const user: User = {
    name,
    hash: await hashPassword(password),
    attributes: attributes ?? known?.attributes ?? {},
  };
  writeWhole(file, withUser(before.text, name, user), WRITTEN);
  if (ui.json) ui.object({ file, name, attributes: user.attributes, replaced: known !== undefined });
  else ui.line(`${known === undefined ? 'added' : 'changed'}: ${name} in ${inert(file)}${proves(user.attributes)}`);
  return EXIT.ok;
}

export function userRemove(input: Input, ui: Ui): number {
  const name = nameOf(input);
  const file = usersFile(input);
  const { text, users } = usersOf(file);
  if (!users.some((user) => user.name === name))
    throw new SallyportError('user-unknown', `${inert(file)} has no user ${name}`);
  writeWhole(file, withUser(text, name, null), WRITTEN);
  if (ui.json) ui.object({ file, name, removed: true });
  else ui.line(`removed: ${name} from ${inert(file)}`);
  return EXIT.ok;
}

export function userList(input: Input, ui: Ui): number {
  const file = usersFile(input);
  const users = usersOf(file).users.map(({ name, attributes }) => ({ name, attributes }));
  if (ui.json) ui.object({ file, users });
  else if (users.length === 0) ui.line(`no users in ${inert(file)}`);
  else {
    const rows = users.map(({ name, attributes }) => [name, pairs(attributes)]);
    ui.raw(textTable(['user', 'proves'], rows, { width: ui.width, right: [] }));
  }
  return EXIT.ok;
}

function nameOf(input: Input): string {
  const name = input.argument(0) ?? '';
  const problem = userNameProblem(name);
  if (problem !== null) throw usage(`${JSON.stringify(name)}: ${problem}`);
  return name;
}

function attributesOf(input: Input): Attributes | null {
  const text = input.text('attributes');
  if (text === null) return null;
  const { attributes, problem } = parseAttributes(text);
  if (problem === null) return attributes;
  throw usage(
    `--attributes ${JSON.stringify(text)}: ${problem}`,
    'For example: --attributes pipeline=web,queue=release',
  );
}

function usersFile(input: Input): string {
  const given = input.text('file');
  if (given !== null && given !== '') return given;
  const policy = configFile(input);
  const named = usersFileOf(policy);
  if (named !== null) return named;
  throw usage(
    `${inert(policy)} names no users file`,
    'Write `users: { file: config/users }` into the policy, or name the file with --file.',
  );
}

/** What the file holds; empty where it does not exist yet. @throws SallyportError where a line of it is not valid */
function usersOf(file: string): { text: string; users: readonly User[] } {
  const text = readUsersText(file);
  const { users, problems } = parseUsersFile(text);
  const [first] = problems;
  if (first === undefined) return { text, users: users.map(({ user }) => user) };
  const at = { file, line: first.line, column: 1 };
  throw new SallyportError('config-value', `${inert(file)}:${first.line}: ${first.message}`, {
    hint: first.hint,
    problems: [{ code: 'config-value', severity: 'error', at, message: first.message, hint: first.hint }],
  });
}

async function passwordFor(name: string, world: World): Promise<string> {
  const password = await world.secret(`password for ${name}: `);
  if (password === null) throw usage('no password was given', 'Type it, or send it as a line of standard input.');
  if (password.length < PASSWORD.min || password.length > PASSWORD.max || hasControl(password))
    throw usage(
      'the password is not taken',
      `It has ${PASSWORD.min} to ${PASSWORD.max} characters and no control characters: \`openssl rand -hex 24\` makes one.`,
    );
  const again = world.stdin.isTTY ? await world.secret('once more: ') : password;
  if (again === password) return password;
  throw usage('the two passwords differ', 'Type the same password twice.');
}

function pairs(attributes: Attributes): string {
  return Object.entries(attributes)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}

function proves(attributes: Attributes): string {
  const text = pairs(attributes);
  return text === '' ? '' : `, proves ${text}`;
}
