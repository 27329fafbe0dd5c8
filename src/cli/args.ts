// The one table of commands: names, arguments, options, exit codes, examples. The parser, --help and docs/cli.md are made
// from it, so that none of the three can say something else. It holds words only: what a command does is in commands/.

export interface ArgumentSpec {
  readonly name: string;
  readonly about: string;
  readonly required: boolean;
}

export interface OptionSpec {
  /** Long name without dashes. */
  readonly name: string;
  /** Name of its value; null for a switch. */
  readonly value: string | null;
  readonly about: string;
  /** May stand several times. */
  readonly repeat?: true;
  readonly choices?: readonly string[];
}

export interface CommandSpec {
  /** One word, or two for a command of a family: "catalog list". */
  readonly name: string;
  readonly summary: string;
  /** Paragraphs below the summary. */
  readonly about?: readonly string[];
  readonly arguments: readonly ArgumentSpec[];
  readonly options: readonly OptionSpec[];
  /** What exit codes 0 and 1 mean here; 2 and 70 are the same everywhere. */
  readonly exits: Readonly<Record<number, string>>;
  readonly examples: readonly string[];
  /** Keys of the object that --json prints. */
  readonly json: string;
}

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

const CONFIG: OptionSpec = {
  name: 'config',
  value: 'FILE',
  about: 'The policy file; $SALLYPORT_CONFIG or config/sallyport.yaml unless given.',
};
const LOG: OptionSpec = {
  name: 'log',
  value: 'FILE',
  about: 'The audit log itself, instead of the one that --config names.',
};
const AS: OptionSpec = {
  name: 'as',
  value: 'KEY=VALUE',
  repeat: true,
  about: 'Who asks: organization, pipeline, branch, step, queue, job, agent, cluster or user, as if it were proven.',
};
const NO_CONFIG_EXITS = { 0: 'done', 1: 'the catalog could not be read' } as const;

const COMMAND_TABLE = [
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
    exits: { 0: 'drained and ended after SIGTERM or SIGINT', 1: 'the policy, the audit log or a listener failed' },
    examples: [
      'sallyport serve --config config/sallyport.yaml',
      'sallyport serve --observe --listen 127.0.0.1:3128 --from 127.0.0.0/8',
    ],
  },
  {
    name: 'check',
    summary: 'Validate a policy file and say what it holds.',
    json: 'file, ok, digest, mode, rules (number), groups, listen, admin, audit, usage, problems [{code, severity, at {file, line, column} or null, message, hint}]; of a file that is not valid only file, ok, problems',
    arguments: [],
    options: [
      CONFIG,
      { name: 'strict', value: null, about: 'Warnings (an expired rule, a useless rule) fail as well.' },
    ],
    exits: { 0: 'the file is valid', 1: 'errors, or warnings with --strict' },
    examples: ['sallyport check --config config/sallyport.yaml --strict'],
  },
  {
    name: 'policy',
    summary: 'Print the effective policy, each rule with the line it comes from.',
    json: 'digest, mode, rules [{effect, pattern, ports (null: every), protocol, mode, group, need, rule, origin, for, addresses, expires, expired, reason, owner}]',
    arguments: [],
    options: [CONFIG, AS],
    exits: { 0: 'printed', 1: 'the file is not valid' },
    examples: [
      'sallyport policy --config config/sallyport.yaml',
      'sallyport policy --config config/sallyport.yaml --as queue=deploy',
    ],
  },
  {
    name: 'explain',
    summary: 'Say whether a host would be let through, by which rule, or what comes nearest.',
    json: 'host, port, kind (connect or forward), method, verdict (allow, deny, observe), reason, status, rule {id, origin, group, pattern} or null, protocol, nearest {pattern, rule, why, fix} or null, hint, policy',
    about: [
      'The port is 443 unless given. An http:// URL asks for plain HTTP forwarding instead of a tunnel. Nothing is resolved or contacted.',
    ],
    arguments: [
      {
        name: 'HOST[:PORT]',
        about: 'What a client would ask for: host, host:port, or an http:// URL.',
        required: true,
      },
    ],
    options: [
      CONFIG,
      AS,
      {
        name: 'method',
        value: 'METHOD',
        about: 'Method of a plain HTTP request; GET unless given. CONNECT asks for a tunnel.',
      },
    ],
    exits: { 0: 'allowed', 1: 'denied (observe mode: would be denied, but passes, is 0), or the file is not valid' },
    examples: [
      'sallyport explain my-bucket.s3.us-west-2.amazonaws.com --config config/sallyport.yaml',
      'sallyport explain git.corp.example:22 --as pipeline=deploy-web --config config/sallyport.yaml',
      'sallyport explain http://mirror.example/pool/ --config config/sallyport.yaml',
    ],
  },
  {
    name: 'report',
    summary: 'Report which hosts were used, never used, denied, or would be denied.',
    json: 'window {from, to, requested {from, to}}, filter {pipeline, job}, required [host rows with group], optional [{group, title, source, enabled, state, hosts [host rows]}], other [host rows with counted_in], denied, would_deny and expected_denied [{host, port, count, reason, nearest, hint, first_seen, last_seen, pipelines, jobs, buildkite}], denied_total, would_deny_total, pipelines [{pipeline, claimed, jobs, tunnels, denied, hosts}], open, totals, overflow {tunnels, denied, failed}, damaged_lines, missing_lines, truncated; a host row is {host, port, rule, state (used, unused, failing, denied, would-deny), tunnels, open, denied, would_deny, failed, bytes_up, bytes_down, first_seen, last_seen, names, names_total, denied_names}',
    about: [
      'Catches up with the audit log first, then reads the usage store. Counts are kept by the hour: both ends of the window are rounded outwards to whole hours.',
      'tunnels, denied and failed do not overlap: let through and opened, refused, and let through but failed at DNS, the dial or the origin. would_deny is the part of tunnels and failed that only observe mode let through.',
    ],
    arguments: [],
    options: [
      CONFIG,
      {
        name: 'since',
        value: 'WHEN',
        about:
          'Begin of the window: a span back from now (90m, 24h, 7d, 4w) or an ISO 8601 date or time (UTC). 7d unless given.',
      },
      { name: 'until', value: 'WHEN', about: 'End of the window, written the same way; now unless given.' },
      { name: 'pipeline', value: 'NAME', about: 'Only requests of this pipeline.' },
      { name: 'job', value: 'ID', about: 'Only requests of this job.' },
      { name: 'format', value: 'FORMAT', choices: ['table', 'json', 'csv', 'markdown'], about: 'table unless given.' },
    ],
    exits: { 0: 'reported', 1: 'the policy, the audit log or the store could not be read' },
    examples: [
      'sallyport report --config config/sallyport.yaml',
      'sallyport report --config config/sallyport.yaml --since 24h --pipeline web --format markdown',
    ],
  },
  {
    name: 'suggest',
    summary: 'Suggest the smallest policy that the records need.',
    json: 'window {from, to}, truncated, lines [{by (policy, group, host, wildcard), origin, group, parameters, pattern, ports, forward, evidence {requests, jobs, pipelines, first_seen (ms), last_seen (ms), names}, review [few-jobs, new, multi-tenant, doh, exfiltration, never-answered]}]',
    about: [
      'Prints a policy file with what the policy in force lacks: catalog groups with their parameters, exact hosts, and wildcards where names vary. Each line has its evidence above it.',
      'What few jobs asked for, what is new, what strangers may own and what is known for carrying data out stands commented out under "review". What a deny rule or expected_denials names is never suggested.',
    ],
    arguments: [],
    options: [
      CONFIG,
      {
        name: 'since',
        value: 'WHEN',
        about:
          'Begin of the window: a span back from now (24h, 7d, 4w) or an ISO 8601 date or time (UTC). 14d unless given.',
      },
      { name: 'pipeline', value: 'NAME', about: 'Only what this pipeline asked for.' },
      { name: 'min-builds', value: 'N', about: 'Hosts seen in fewer jobs are a matter for review. 2 unless given.' },
    ],
    exits: { 0: 'suggested', 1: 'the policy, the audit log or the store could not be read' },
    examples: ['sallyport suggest --config config/sallyport.yaml --since 14d'],
  },
  {
    name: 'replay',
    summary: 'Replay the audit log against a proposed policy: what would newly fail, what would newly pass.',
    json: 'policy (digest of the proposed one), since, logs, damaged_lines, unread_files, ready, requests, newly_fail and newly_pass [{host, port, kind, pipeline, step, claimed, reason, rule, requests, jobs (up to 1,000), first_seen, last_seen (ms)}], newly_fail_requests, newly_pass_requests, not_judged, overflow, pipelines [{pipeline, claimed, state (safe, would-fail, not-seen), requests, jobs, hosts}]',
    about: [
      'Each request in the log is decided again with its identity, target and method, as of now: a rule that has expired since then lets nothing through. What observe mode lets pass passes here too; --ready judges as if everything were enforced.',
      'Only rules are replayed: names are not resolved, and paths of plain HTTP, which the log does not have, are counted as not judged.',
    ],
    arguments: [],
    options: [
      { name: 'policy', value: 'FILE', about: 'The proposed policy file.' },
      CONFIG,
      { ...LOG, repeat: true, about: 'An audit log with its rotated files, instead of the one that --config names.' },
      {
        name: 'since',
        value: 'WHEN',
        about:
          'Only requests since then: a span back from now (24h, 7d) or an ISO 8601 date or time. All unless given.',
      },
      { name: 'ready', value: null, about: 'Say for each pipeline whether it is safe, would fail, or was not seen.' },
      { name: 'format', value: 'FORMAT', choices: ['table', 'json', 'markdown'], about: 'table unless given.' },
    ],
    exits: {
      0: 'nothing would newly fail',
      1: 'a policy or a log could not be read, or nothing would newly fail in what could be read of a damaged log',
      3: 'something would newly fail (whether the log is damaged or not)',
    },
    examples: [
      'sallyport replay --policy new.yaml --config config/sallyport.yaml --since 7d',
      'sallyport replay --policy new.yaml --log data/audit.jsonl --ready',
    ],
  },
  {
    name: 'catalog list',
    summary: 'List the groups of the catalog.',
    json: 'version, digest, groups [{id, title, need, source, hosts (number)}]',
    arguments: [],
    options: [],
    exits: NO_CONFIG_EXITS,
    examples: ['sallyport catalog list'],
  },
  {
    name: 'catalog show',
    summary: 'Show a group: its hosts, ports, purposes, parameters and sources.',
    json: 'the group as the catalog has it: id, title, need, source, section, parameters, notes, entries',
    arguments: [{ name: 'GROUP', about: 'Id of a group, as `catalog list` prints it.', required: true }],
    options: [],
    exits: { 0: 'shown', 1: 'no such group, or the catalog could not be read' },
    examples: ['sallyport catalog show amazon-s3'],
  },
  {
    name: 'env',
    summary: 'Print what makes a tool use the proxy: variables, files and commands.',
    json: 'for, proxy, no_proxy (list), text',
    about: [
      'NO_PROXY holds the instance metadata addresses literally: through a proxy they would answer for the proxy.',
    ],
    arguments: [],
    options: [
      CONFIG,
      {
        name: 'for',
        value: 'TOOL',
        choices: ['shell', 'git', 'npm', 'pip', 'docker', 'java', 'systemd', 'kubernetes'],
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
    options: [
      CONFIG,
      { name: 'for-minutes', value: 'N', about: 'How long, from 1 to 1440 minutes.' },
      { name: 'reason', value: 'TEXT', about: 'Why; stands in the audit log.' },
    ],
    exits: { 0: 'in force', 1: 'no proxy runs, or it did not confirm; the file is written and counts when it starts' },
    examples: [
      'sallyport mode observe --for-minutes 30 --reason "release blocked, INC-42" --config config/sallyport.yaml',
    ],
  },
  {
    name: 'mode enforce',
    summary: 'Let the running proxy enforce for a while, whatever the policy says; it reverts itself.',
    json: 'mode, until, reason, by, at, in_force, why (null where it is in force)',
    arguments: [],
    options: [
      CONFIG,
      { name: 'for-minutes', value: 'N', about: 'How long, from 1 to 1440 minutes.' },
      { name: 'reason', value: 'TEXT', about: 'Why; stands in the audit log.' },
    ],
    exits: { 0: 'in force', 1: 'no proxy runs, or it did not confirm; the file is written and counts when it starts' },
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
    name: 'audit verify',
    summary: 'Check that the audit log is complete: every line, its number and its hash.',
    json: 'file, complete, files, lines, from and to {seq, time}, problems [{file, line, why}], problem_count, open',
    arguments: [],
    options: [CONFIG, LOG],
    exits: { 0: 'complete', 1: 'a line is damaged, missing or altered' },
    examples: [
      'sallyport audit verify --config config/sallyport.yaml',
      'sallyport audit verify --log data/audit.jsonl',
    ],
  },
  {
    name: 'audit repair',
    summary: 'Set the broken tail of an audit log aside, so that the proxy can go on.',
    json: 'file, moved_to (null: nothing to repair), moved_bytes, last_seq',
    about: [
      'Nothing is deleted: what is cut off stays in a file beside the log, a gap record says so, and `audit verify` goes on naming that gap. The proxy must not run.',
    ],
    arguments: [],
    options: [CONFIG, LOG],
    exits: { 0: 'repaired, or nothing to repair', 1: 'not repaired' },
    examples: ['sallyport audit repair --config config/sallyport.yaml'],
  },
  {
    name: 'usage rebuild',
    summary: 'Make the usage store anew from the audit log.',
    json: 'store, audit, aside (where the old store is now), lines',
    arguments: [],
    options: [CONFIG],
    exits: { 0: 'rebuilt', 1: 'the audit log or the store failed' },
    examples: ['sallyport usage rebuild --config config/sallyport.yaml'],
  },
] as const satisfies readonly CommandSpec[];

export type CommandName = (typeof COMMAND_TABLE)[number]['name'];
export const COMMANDS: readonly (CommandSpec & { readonly name: CommandName })[] = COMMAND_TABLE;

/** Families of two-word commands, for help. */
export const FAMILIES: Readonly<Record<string, string>> = {
  catalog: 'What the catalog holds.',
  mode: 'Switch the mode of the running proxy for a while.',
  audit: 'Look after the audit log.',
  usage: 'Look after the usage store.',
};
