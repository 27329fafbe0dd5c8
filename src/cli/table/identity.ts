// Commands about who may prove what to the proxy. Words only; see args.ts.
import { CONFIG, type CommandSpec } from './spec.ts';

const USERS: CommandSpec['options'][number] = {
  name: 'file',
  value: 'FILE',
  about: 'The users file; what `users.file` of the policy names unless given.',
};
const NAME = { name: 'NAME', about: 'Name of the user, as it stands in the proxy URL.', required: true } as const;
const EXITS = { 0: 'done', 1: 'the file cannot be read or written, or there is no such user' } as const;

export const IDENTITY_COMMANDS = [
  {
    name: 'user add',
    summary: 'Add a user, or give one a new password.',
    json: 'file, name, attributes, replaced (whether the user was there before)',
    about: [
      'The password is asked for, or read as the first line of standard input (`… user add deploy < password.txt`); never an argument, which others could see.',
      'A proxy that runs reads the file by itself within seconds; nothing of the password but a scrypt hash is kept.',
    ],
    arguments: [NAME],
    options: [
      CONFIG,
      USERS,
      {
        name: 'attributes',
        value: 'KEY=VALUE,…',
        about:
          'What the user proves besides its name, for rules with `for:`. One that was there keeps what it had unless given.',
      },
    ],
    exits: EXITS,
    examples: ['sallyport user add deploy --attributes pipeline=web,queue=release --config config/sallyport.yaml'],
  },
  {
    name: 'user remove',
    summary: 'Take a user out.',
    json: 'file, name, removed',
    arguments: [NAME],
    options: [CONFIG, USERS],
    exits: EXITS,
    examples: ['sallyport user remove deploy --config config/sallyport.yaml'],
  },
  {
    name: 'user list',
    summary: 'List the users and what they prove.',
    json: 'file, users [{name, attributes}]',
    arguments: [],
    options: [CONFIG, USERS],
    exits: { 0: 'listed', 1: 'the file cannot be read, or is not valid' },
    examples: ['sallyport user list --config config/sallyport.yaml'],
  },
] as const satisfies readonly CommandSpec[];
