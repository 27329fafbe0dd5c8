// `sallyport user`: keeps the users file; the password comes from the terminal or the pipe and is kept nowhere.
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseUsersFile } from '../../src/config/users-file.ts';
import { verifyPassword } from '../../src/identity/password.ts';
import { sallyport } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { policyFile, type, typeJson } from './console.ts';

const SECRET = 'correct horse battery';
const fresh = () => join(tempDir('users'), 'users');
const users = (file: string) => parseUsersFile(readFileSync(file, 'utf8')).users.map(({ user }) => user);

describe('user add', () => {
  it('makes the file, readable for its owner and group, with a hash of what was typed', async () => {
    const file = fresh();
    const done = await type(['user', 'add', 'ann', '--file', file, '--attributes', 'pipeline=web,queue=q'], {
      secrets: [SECRET],
    });
    expect(done).toMatchObject({ code: 0, out: `added: ann in ${file}, proves pipeline=web queue=q\n`, err: '' });
    const [ann] = users(file);
    expect(ann).toMatchObject({ name: 'ann', attributes: { pipeline: 'web', queue: 'q' } });
    expect(await verifyPassword(SECRET, ann!.hash)).toBe(true);
    expect(await verifyPassword(`${SECRET} `, ann!.hash)).toBe(false);
    expect(readFileSync(file, 'utf8')).not.toContain(SECRET);
    expect(statSync(file).mode & 0o777).toBe(0o640);
  });

  it('changes the password of a user, and keeps its attributes, other lines and the mode of the file', async () => {
    const file = fresh();
    await type(['user', 'add', 'ann', '--file', file, '--attributes', 'queue=q'], { secrets: [SECRET] });
    writeFileSync(file, `# ours\n${readFileSync(file, 'utf8')}`);
    chmodSync(file, 0o600);
    const { json } = await typeJson(['user', 'add', 'ann', '--file', file], { secrets: ['another password'] });
    expect(json).toEqual({ file, name: 'ann', attributes: { queue: 'q' }, replaced: true });
    expect(readFileSync(file, 'utf8')).toMatch(/^# ours\nann:\$scrypt\$.*:queue=q\n$/);
    expect(await verifyPassword('another password', users(file)[0]!.hash)).toBe(true);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('asks twice on a terminal, and takes nothing where the answers differ', async () => {
    const file = fresh();
    const args = ['user', 'add', 'ann', '--file', file];
    const differ = await type(args, { tty: true, secrets: [SECRET, 'correct horse'] });
    expect(differ).toMatchObject({ code: 2, asked: ['password for ann: ', 'once more: '] });
    expect(differ.err).toContain('the two passwords differ');
    expect(existsSync(file)).toBe(false);
    expect((await type(args, { tty: true, secrets: [SECRET, SECRET] })).code).toBe(0);
  });

  it('reads the first line of standard input; a password on the command line is refused and not kept', async () => {
    const file = fresh();
    const piped = await sallyport(['user', 'add', 'ann', '--file', file], { input: `${SECRET}\nmore` });
    expect(piped).toMatchObject({ code: 0, stderr: '' });
    expect(await verifyPassword(SECRET, users(file)[0]!.hash)).toBe(true);
    expect((await sallyport(['user', 'add', 'bob', SECRET, '--file', file])).code).toBe(2);
    expect((await sallyport(['user', 'add', 'bob', '--file', file], { input: '' })).stderr).toContain(
      'no password was given',
    );
    expect(users(file).map(({ name }) => name)).toEqual(['ann']);
  });

  it.each([
    [['buildkite'], [SECRET], 'belongs to the tokens of jobs'],
    [['a b'], [SECRET], 'a user name has'],
    [['ann', '--attributes', 'colour=red'], [SECRET], 'an attribute is KEY=VALUE'],
    [['ann'], ['short'], 'the password is not taken'],
    [['ann'], [], 'no password was given'],
  ])('%j refuses', async (args, secrets, message) => {
    const file = fresh();
    const done = await type(['user', 'add', ...args, '--file', file], { secrets });
    expect(done.code).toBe(2);
    expect(done.err).toContain(message);
    expect(existsSync(file)).toBe(false);
  });

  it('finds the file by the policy, also before it exists, and says where the policy names none', async () => {
    const file = fresh();
    const policy = policyFile({ users: { file }, allow: ['a.example'] }).file;
    expect((await type(['user', 'add', 'ann', '--config', policy], { secrets: [SECRET] })).code).toBe(0);
    expect((await type(['check', '--config', policy])).code).toBe(0);
    const without = policyFile({ allow: ['a.example'] }).file;
    const done = await type(['user', 'list', '--config', without]);
    expect([done.code, done.err]).toEqual([2, expect.stringContaining('names no users file')]);
  });

  it('says where the file cannot be written, and what line of it is not valid', async () => {
    const nowhere = join(tempDir('users'), 'missing', 'users');
    const done = await type(['user', 'add', 'ann', '--file', nowhere], { secrets: [SECRET] });
    expect([done.code, done.err]).toEqual([1, expect.stringContaining('users-unwritable')]);
    const file = fresh();
    writeFileSync(file, 'ann:hunter2\n');
    const bad = await type(['user', 'list', '--file', file]);
    expect([bad.code, bad.err]).toEqual([1, expect.stringContaining(`${file}:1`)]);
    expect(bad.err).not.toContain('hunter2');
  });
});

describe('user list and remove', () => {
  it('show and take out', async () => {
    const file = fresh();
    expect((await type(['user', 'list', '--file', file])).out).toBe(`no users in ${file}\n`);
    await type(['user', 'add', 'ann', '--file', file, '--attributes', 'queue=q'], { secrets: [SECRET] });
    await type(['user', 'add', 'bob', '--file', file], { secrets: [SECRET] });
    expect((await type(['user', 'list', '--file', file])).out).toBe('user  proves\nann   queue=q\nbob\n');
    expect((await typeJson(['user', 'list', '--file', file])).json).toEqual({
      file,
      users: [
        { name: 'ann', attributes: { queue: 'q' } },
        { name: 'bob', attributes: {} },
      ],
    });
    expect((await type(['user', 'remove', 'ann', '--file', file])).out).toBe(`removed: ann from ${file}\n`);
    const again = await type(['user', 'remove', 'ann', '--file', file]);
    expect([again.code, again.err]).toEqual([1, expect.stringContaining('user-unknown')]);
    expect(users(file).map(({ name }) => name)).toEqual(['bob']);
  });
});
