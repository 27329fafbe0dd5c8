// Commands about the CA that stands for inspected hosts. Words only; see args.ts.
import { CONFIG, type CommandSpec } from './spec.ts';

const FILES: CommandSpec['options'] = [
  CONFIG,
  { name: 'cert', value: 'FILE', about: 'The bundle that clients trust; `inspection.ca.cert` unless given.' },
  { name: 'key', value: 'FILE', about: 'The key that signs; `inspection.ca.key` unless given.' },
  {
    name: 'passphrase-file',
    value: 'FILE',
    about: 'A file whose first line opens the key; `inspection.ca.passphrase_file` unless given.',
  },
];
const DAYS: CommandSpec['options'][number] = {
  name: 'days',
  value: 'N',
  about: 'How long the CA lasts, 1 to 3650; 365 unless given.',
};
const JSON_KEYS =
  'cert, key, certificates [{subject, sha256, until, names (null: not constrained), state (signs, trusted, ended)}]';

export const CA_COMMANDS = [
  {
    name: 'ca init',
    summary: 'Make the CA that stands for inspected hosts.',
    json: JSON_KEYS,
    about: [
      'It is constrained to the hosts that are named, or that rules with `inspect: true` name: no client takes a certificate of it for any other. X.509 cannot say "below this name but not the name itself", so `*.corp.example` gives corp.example too, and a name gives what is below it. The proxy makes certificates for hosts that it inspects, and no others.',
      'The key is written with mode 0600, and is refused later where others may read it.',
    ],
    arguments: [
      { name: 'HOST', about: 'Hosts as in a rule: name, *.domain or address.', required: false, repeat: true },
    ],
    options: [
      ...FILES,
      DAYS,
      {
        name: 'existing-key',
        value: null,
        about: 'Take the key that is in --key (PKCS#8 of P-256) instead of a new one.',
      },
    ],
    exits: { 0: 'written', 1: 'a file exists, or cannot be written or used' },
    examples: [
      'sallyport ca init github.com "*.corp.example" --cert inspection-ca.pem --key inspection-ca.key',
      'sallyport ca init --config config/sallyport.yaml',
    ],
  },
  {
    name: 'ca show',
    summary: 'Show the CA: what it may stand for, until when, and which certificate signs.',
    json: JSON_KEYS,
    arguments: [],
    options: [...FILES, { name: 'pem', value: null, about: 'Print the bundle for clients, as PEM.' }],
    exits: { 0: 'shown', 1: 'it cannot be used, or has ended' },
    examples: ['sallyport ca show --cert inspection-ca.pem --key inspection-ca.key'],
  },
  {
    name: 'ca rotate',
    summary: 'Put a new CA beside the one in use, and let it sign once clients trust both.',
    json: JSON_KEYS,
    about: [
      'The first step adds the new certificate to the bundle; the proxy still signs with the old key. Give the bundle to every client. With --activate the new key takes the place of the old one, which a running proxy sees by itself. The old certificate stays in the bundle until it ends.',
      'Other hosts than before are named as for `ca init`.',
    ],
    arguments: [
      { name: 'HOST', about: 'Hosts as in a rule: name, *.domain or address.', required: false, repeat: true },
    ],
    options: [...FILES, DAYS, { name: 'activate', value: null, about: 'Sign with the new one from now on.' }],
    exits: { 0: 'written', 1: 'nothing to activate, a new one waits already, or a file cannot be used' },
    examples: [
      'sallyport ca rotate --cert inspection-ca.pem --key inspection-ca.key',
      'sallyport ca rotate --activate --cert inspection-ca.pem --key inspection-ca.key',
    ],
  },
] as const satisfies readonly CommandSpec[];
