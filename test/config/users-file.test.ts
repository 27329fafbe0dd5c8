// The users file: what is taken, what is refused and with which sentence, and how it is edited.
import { describe, expect, it } from 'vitest';
import { parsePasswordHash } from '../../src/config/password-hash.ts';
import { formatUserLine, parseAttributes, parseUsersFile, withUser } from '../../src/config/users-file.ts';

const SALT = 'c2FsdHNhbHRzYWx0c2FsdA';
const HASH = 'A'.repeat(43);
const PHC = `$scrypt$ln=15,r=8,p=3$${SALT}$${HASH}`;

describe('a hash', () => {
  it.each([
    [PHC, null],
    [`$scrypt$ln=14,r=8,p=1$${SALT}$${HASH}`, null],
    [`$scrypt$ln=17,r=8,p=1$${SALT}$${HASH}`, null],
    [`$scrypt$ln=13,r=8,p=1$${SALT}$${HASH}`, 'too cheap to guess'],
    [`$scrypt$ln=18,r=8,p=1$${SALT}$${HASH}`, 'too much work'],
    [`$scrypt$ln=15,r=0,p=1$${SALT}$${HASH}`, 'too much work'],
    [`$scrypt$ln=15,r=8,p=5$${SALT}$${HASH}`, 'too much work'],
    [`$scrypt$ln=10,r=64,p=1$${SALT}$${HASH}`, 'too much work'],
    ['$apr1$abc$def', 'is not a scrypt hash'],
    ['hunter2', 'is not a scrypt hash'],
    [`$scrypt$ln=15,r=8,p=3$${SALT}$short`, 'is not a scrypt hash'],
  ])('%s', (text, problem) => {
    const parsed = parsePasswordHash(text);
    if (problem === null) expect(parsed).toMatchObject({ hash: { salt: SALT, hash: HASH } });
    else expect(parsed).toEqual({ problem: expect.stringContaining(problem) });
  });
});

describe('the file', () => {
  it('has users, comments and empty lines', () => {
    const { users, problems } = parseUsersFile(
      `# who\n\nann:${PHC}\r\nbob@corp:${PHC}:pipeline=web,queue=a b\n`.replace('a b', 'a-b'),
    );
    expect(problems).toEqual([]);
    expect(users.map(({ line, user }) => [line, user.name, user.attributes])).toEqual([
      [3, 'ann', {}],
      [4, 'bob@corp', { pipeline: 'web', queue: 'a-b' }],
    ]);
  });

  it.each([
    ['ann', 'the line is not NAME:HASH:ATTRIBUTES'],
    ['ann:', 'the line is not NAME:HASH:ATTRIBUTES'],
    [`ann:${PHC}:queue=a:b`, 'the line is not NAME:HASH:ATTRIBUTES'],
    ['ann:hunter2', 'user ann: the password hash is not a scrypt hash'],
    [`buildkite:${PHC}`, 'the name buildkite belongs to the tokens of jobs'],
    [`a b:${PHC}`, 'a user name has 1 to 64'],
    [`:${PHC}`, 'a user name has 1 to 64'],
    [`ann:${PHC}:user=bob`, 'an attribute is KEY=VALUE'],
    [`ann:${PHC}:colour=red`, 'an attribute is KEY=VALUE'],
    [`ann:${PHC}:queue`, 'an attribute is KEY=VALUE'],
    [`ann:${PHC}:queue=`, 'the value of queue is'],
    [`ann:${PHC}:queue=a,queue=b`, 'queue stands twice'],
    [`bob:${PHC}\nann:${PHC}\nbob:${PHC}`, 'user bob stands twice; first on line 1'],
  ])('refuses %s', (text, message) => {
    const { problems } = parseUsersFile(text);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.message).toContain(message);
    expect(JSON.stringify(problems)).not.toContain('hunter2');
  });

  it('is edited line by line: comments and order stay', () => {
    const text = `# who\nann:${PHC}\nbob:${PHC}:queue=q\n`;
    const bob = parseUsersFile(text).users[1]!.user;
    expect(formatUserLine(bob)).toBe(`bob:${PHC}:queue=q`);
    expect(withUser(text, 'bob', { ...bob, attributes: { step: 's' } })).toBe(`# who\nann:${PHC}\nbob:${PHC}:step=s\n`);
    expect(withUser(text, 'cid', { ...bob, name: 'cid' })).toBe(`${text}cid:${PHC}:queue=q\n`);
    expect(withUser(text, 'ann', null)).toBe(`# who\nbob:${PHC}:queue=q\n`);
    expect(withUser(`ann:${PHC}`, 'ann', null)).toBe('');
    expect(withUser('', 'bob', bob)).toBe(`bob:${PHC}:queue=q\n`);
  });

  it('attributes are those of selectors', () => {
    expect(parseAttributes('pipeline_id=0188,build=7').attributes).toEqual({ pipeline_id: '0188', build: '7' });
  });
});
