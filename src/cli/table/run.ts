// Commands around the running proxy: start it, switch its mode for a while, make tools use it. Words only; see args.ts.
import { TOOLS } from '../env-tools.ts';
import { CONFIG, type CommandSpec } from './spec.ts';

/** What setting the mode for a while takes and gives, whichever mode it is. */
const OVERRIDE = {
  options: [
    CONFIG,
    { name: 'for-minutes', value: 'N', about: 'How long, from 1 to 1440 minutes.' },
    { name: 'reason', value: 'TEXT', about: 'Why; stands in the audit log.' },
  ],
  exits: { 0: 'in force', 1: 'no proxy runs, or it did not confirm; the file is written and counts when it starts' },
};

export const RUN_COMMANDS = [
  {
    name: 'serve',
    summary: 'Run the proxy.',
    json: 'ready: the ready line, as text',
    about: [
      'Prints one line when it is ready, with the addresses of the proxy and of the admin listener.',
      'Signals: SIGHUP reloads the policy, SIGUSR1 upgrades, SIGUSR2 reopens the audit log, SIGTERM drains and ends, a second one ends at once; docs/operations.md says more.',
      'Without a file, --observe lets pass what no deny rule, address guard or malformed request refuses, and records what a policy would have refused.',
    ],
    arguments: [],
    options: [
      CONFIG,
      { name: 'observe', value: null, about: 'Run without a file, in observe mode; needs --listen and --from.' },
      { name: 'listen', value: 'ADDR', repeat: true, about: 'Address and port to listen on, with --observe.' },
      { name: 'from', value: 'CIDR', repeat: true, about: 'Client network that may use the proxy, with --observe.' },
    ],
    exits: {
      0: 'drained and ended after SIGTERM or SIGINT (a supervisor starts it no more)',
      1: 'not started: the policy, the audit log or a listener failed (trying again helps once the cause is mended)',
    },
    examples: [
      'sallyport serve --config config/sallyport.yaml',
      'sallyport serve --observe --listen 127.0.0.1:3128 --from 127.0.0.0/8',
    ],
  },
  {
    name: 'init',
    summary: 'Write a commented policy file in observe mode.',
    json: 'written: the file',
    arguments: [
      {
        name: 'FILE',
        about: 'Where to write it; sallyport.yaml unless given. An existing file is never overwritten.',
        required: false,
      },
    ],
    options: [],
    exits: { 0: 'written', 1: 'the file exists or cannot be written' },
    examples: ['sallyport init config/sallyport.yaml'],
  },
  {
    name: 'env',
    summary: 'Print what makes a tool use the proxy: variables, files and commands.',
    json: 'for, proxy, no_proxy (list), ca (the bundle of inspection, or null), text',
    about: [
      'NO_PROXY holds the instance metadata addresses literally: through a proxy they would answer for the proxy.',
      'Where the policy has a CA of inspection, the text says how the tool comes to trust it.',
    ],
    arguments: [],
    options: [
      CONFIG,
      {
        name: 'for',
        value: 'TOOL',
        choices: TOOLS,
        about: 'shell unless given.',
      },
      {
        name: 'proxy',
        value: 'URL',
        about: 'URL that clients reach the proxy by; the first `listen` of the policy unless given.',
      },
    ],
    exits: { 0: 'printed', 1: 'the file or the catalog could not be read' },
    examples: [
      'eval "$(sallyport env --config config/sallyport.yaml)"',
      'sallyport env --for docker --proxy http://proxy.corp.example:3128 --config config/sallyport.yaml',
    ],
  },
  {
    name: 'tail',
    summary: 'Follow the records of the running proxy: a line each on a terminal, JSON lines in a pipe.',
    json: 'one object a line: event (decided, ended, note), time, and the record as the audit log has it',
    about: [
      'Asks the admin listener of the policy file, with the token of its file, so it is for the user of the proxy on its host. After a restart of the proxy it goes on by itself.',
      'Hosts and pipelines are globs: * stands for any characters.',
    ],
    arguments: [],
    options: [
      CONFIG,
      { name: 'denied', value: null, about: 'Only what was refused, or would have been.' },
      { name: 'host', value: 'GLOB', about: 'Only hosts like this.' },
      { name: 'pipeline', value: 'GLOB', about: 'Only pipelines like this, proven or claimed.' },
      { name: 'last', value: 'N', about: 'Begin with the last N that fit; 0 unless given.' },
    ],
    exits: { 0: 'the reader of its output is gone', 1: 'the listener could not be reached, or refused' },
    examples: [
      'sallyport tail --denied --config config/sallyport.yaml',
      "sallyport tail --host '*.s3.amazonaws.com' | jq .host",
    ],
  },
  {
    name: 'upgrade',
    summary: 'Replace the running proxy by the program and policy that are on disk now, without a refused connection.',
    json: 'ready: the ready line of the new process, pid, replaced (pid of the old process)',
    about: ['Signals it with SIGUSR1 and waits. If the new process fails, the old one goes on: docs/operations.md.'],
    arguments: [],
    options: [CONFIG],
    exits: { 0: 'the new process serves', 1: 'no proxy runs, or refused or failed: the old process serves' },
    examples: ['sallyport upgrade --config config/sallyport.yaml'],
  },
  {
    name: 'mode observe',
    summary: 'Let the running proxy observe for a while; it reverts itself.',
    json: 'mode, until, reason, by, at, in_force, why (null where it is in force)',
    about: [
      'Writes AUDIT-FILE.mode.json, signals the proxy, and waits until the audit log says that the mode is in force.',
      'Deny rules, the address guard, identities, limits and the audit log stay enforced.',
    ],
    arguments: [],
    ...OVERRIDE,
    examples: [
      'sallyport mode observe --for-minutes 30 --reason "release blocked, INC-42" --config config/sallyport.yaml',
    ],
  },
  {
    name: 'mode enforce',
    summary: 'Let the running proxy enforce for a while, whatever the policy says; it reverts itself.',
    json: 'mode, until, reason, by, at, in_force, why (null where it is in force)',
    arguments: [],
    ...OVERRIDE,
    examples: [
      'sallyport mode enforce --for-minutes 60 --reason "trial of the new policy" --config config/sallyport.yaml',
    ],
  },
  {
    name: 'mode status',
    summary: 'Say which mode is in force and until when.',
    json: 'mode (in force), policy_mode, override {mode, until, reason, by, at} or null, problem, proxy {pid, host, here} or null',
    arguments: [],
    options: [CONFIG],
    exits: { 0: 'said', 1: 'the file is not valid' },
    examples: ['sallyport mode status --config config/sallyport.yaml'],
  },
  {
    name: 'mode clear',
    summary: "End an override now: the policy's own mode counts again.",
    json: 'mode, cleared, in_force, why',
    arguments: [],
    options: [CONFIG],
    exits: { 0: 'in force', 1: 'no proxy runs, or it did not confirm' },
    examples: ['sallyport mode clear --config config/sallyport.yaml'],
  },
  {
    name: 'health',
    summary: 'Ask the running proxy whether it is ready.',
    json: 'ok, status (of the answer), answer (text)',
    about: ['The health check of a container without a shell. It asks the admin listener that the policy file names.'],
    arguments: [],
    options: [CONFIG, { name: 'live', value: null, about: 'Only whether it lives: it may be draining.' }],
    exits: { 0: 'ready', 1: 'not ready, or no answer' },
    examples: ['sallyport health --config config/sallyport.yaml'],
  },
  {
    name: 'completion',
    summary: 'Print the script that makes a shell complete commands and options.',
    json: 'shell, text',
    arguments: [{ name: 'SHELL', about: 'bash, zsh or fish.', required: true }],
    options: [],
    exits: { 0: 'printed' },
    examples: ['sallyport completion bash'],
  },
] as const satisfies readonly CommandSpec[];
