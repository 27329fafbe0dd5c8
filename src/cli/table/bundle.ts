// Commands that make one signed file of a policy repository. Words only; see args.ts.
import type { CommandSpec } from './spec.ts';

export const BUNDLE_COMMANDS = [
  {
    name: 'bundle make',
    summary: 'Write a policy repository into one signed file, for proxies that follow a URL.',
    json: 'file, serial, made, policy (digest), files (names)',
    about: [
      'The policy must be valid with all its layers, and its base must have no key that belongs to each machine. A proxy with policy.source takes the file from its URL where a key of policy.public_keys has signed it and its number is higher than the one in force.',
    ],
    arguments: [{ name: 'DIR', about: 'The folder with sallyport.yaml.', required: true }],
    options: [
      { name: 'key', value: 'FILE', about: 'An Ed25519 private key in PEM: openssl genpkey -algorithm ed25519.' },
      { name: 'out', value: 'FILE', about: 'Where to write it; an existing file is replaced as a whole.' },
      {
        name: 'serial',
        value: 'N',
        about: 'Its number, higher than that of any before; the time in milliseconds unless given.',
      },
    ],
    exits: { 0: 'written', 1: 'the policy is not valid, or the key or the file failed' },
    examples: ['sallyport bundle make policy/ --key policy-key.pem --out sallyport.bundle'],
  },
  {
    name: 'bundle verify',
    summary: 'Say whether a bundle is whole and signed by a key.',
    json: 'file, serial, made, key, files (names)',
    arguments: [{ name: 'FILE', about: 'The bundle.', required: true }],
    options: [{ name: 'public-key', value: 'FILE', repeat: true, about: 'An Ed25519 public key in PEM.' }],
    exits: { 0: 'whole, and signed by one of the keys', 1: 'it is not' },
    examples: ['sallyport bundle verify sallyport.bundle --public-key policy.pem'],
  },
] as const satisfies readonly CommandSpec[];
