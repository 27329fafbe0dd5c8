// The one table of commands: names, arguments, options, exit codes, examples. The parser, --help and docs/cli.md are made
// from it, so that none of the three can say something else. It holds words only, by area in table/: what a command does is
// in commands/.
import { AGENT_COMMANDS } from './table/agent.ts';
import { AUDIT_COMMANDS } from './table/audit.ts';
import { BUNDLE_COMMANDS } from './table/bundle.ts';
import { CA_COMMANDS } from './table/ca.ts';
import { DISCOVER_COMMANDS } from './table/discover.ts';
import { GRANT_COMMANDS } from './table/grants.ts';
import { IDENTITY_COMMANDS } from './table/identity.ts';
import { POLICY_COMMANDS } from './table/policy.ts';
import { RUN_COMMANDS } from './table/run.ts';
import type { CommandSpec, OptionSpec } from './table/spec.ts';

export const EXIT = { ok: 0, failed: 1, usage: 2, changed: 3, internal: 70 } as const;

/** Exit codes that every command shares. */
export const COMMON_EXITS: Readonly<Record<number, string>> = {
  2: 'the command line is not understood',
  70: 'a fault of sallyport itself',
};

/** Options that every command takes. */
export const COMMON_OPTIONS: readonly OptionSpec[] = [
  { name: 'json', value: null, about: 'Print one JSON object on standard output, for errors too.' },
  { name: 'no-color', value: null, about: 'No colours on a terminal (as NO_COLOR in the environment).' },
  { name: 'help', value: null, about: 'Print this help.' },
];

const COMMAND_TABLE = [
  ...RUN_COMMANDS,
  ...AGENT_COMMANDS,
  ...POLICY_COMMANDS,
  ...GRANT_COMMANDS,
  ...BUNDLE_COMMANDS,
  ...IDENTITY_COMMANDS,
  ...CA_COMMANDS,
  ...DISCOVER_COMMANDS,
  ...AUDIT_COMMANDS,
] as const;

export type CommandName = (typeof COMMAND_TABLE)[number]['name'];
export const COMMANDS: readonly (CommandSpec & { readonly name: CommandName })[] = COMMAND_TABLE;

/** Families of two-word commands, for help. */
export const FAMILIES: Readonly<Record<string, string>> = {
  catalog: 'What the catalog holds, and when it changes.',
  grants: 'What was granted for a while.',
  bundle: 'A policy repository in one signed file.',
  ca: 'Keep the CA of inspection.',
  user: 'Keep the file of users.',
  mode: 'Switch the mode of the running proxy for a while.',
  audit: 'Look after the audit log.',
  usage: 'Look after the usage store.',
  import: 'Take in what other systems logged, and what other proxies were told.',
};
