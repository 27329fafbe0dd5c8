// Commands that say what builds reached and what the policy should be for that. Words only; see args.ts.
import { CONFIG, type CommandSpec, LOG, windowOptions } from './spec.ts';

export const DISCOVER_COMMANDS = [
  {
    name: 'report',
    summary: 'Report which hosts were used, never used, denied, or would be denied.',
    json: 'window {from, to, requested {from, to}}, filter {pipeline, job}, alarms [{verdict, host, port, count, last_seen, message}], required [host rows with group, agent_versions, notes], optional [{group, title, source, enabled, state, hosts [host rows]}], other [host rows with counted_in], denied, would_deny and expected_denied [{host, port, count, reason, nearest, hint, first_seen, last_seen, pipelines, jobs, buildkite, redirect_from {host, port} or null}], denied_total, would_deny_total, paths [{host, port, method, path, requests, bytes_up, bytes_down, first_seen, last_seen}], paths_total, denied_paths [{host, port, method, path, requests, would_deny, reason, nearest, hint, pipelines, jobs, first_seen, last_seen}], denied_paths_total, pipelines [{pipeline, claimed, jobs, hosts, sums}] (at most 1,000), pipelines_total, traffic {jobs, agents, unattributed, each sums}, drift {previous {from, to, recorded_from}, hosts [{host, port, group, rule, tunnels, denied, would_deny, failed, first_seen, last_seen, pipelines}], hosts_total}, direct {rows [{host, port, protocol, verdict (reject, accept), attempts, packets, bytes, client, jobs, pipelines, claimed, fix {kind, title, text}, first_seen, last_seen}], rows_total, attempts, truncated}, grants [{id, host, port, for, expires, owner, reason, requests, last_used, lapses}], single_pipeline [{pipeline, host, port, requests, last_seen}], single_pipeline_total, breakdown {by, rows [{pipeline, name, claimed, jobs, sums}], rows_total} or null, timeline {hours, points [{at, tunnels, denied, would_deny, failed, bytes_up, bytes_down}]}, open, totals, overflow {tunnels, denied, failed, groups [{group, rule, sums}]}, damaged_lines, missing_lines, truncated, findings [{kind, count, message}]; a host row is {host, port, rule, state (used, unused, failing, denied, would-deny), tunnels, open, denied, would_deny, failed, bytes_up, bytes_down, first_seen, last_seen, names, names_total, denied_names}, sums are {tunnels, denied, would_deny, failed, bytes_up, bytes_down, first_seen, last_seen}',
    about: [
      'Catches up with the audit log first, then reads the usage store. Counts are kept by the hour: both ends of the window are rounded outwards to whole hours.',
      'tunnels, denied and failed do not overlap: let through and opened, refused, and let through but failed at DNS, the dial or the origin. would_deny is the part of tunnels and failed that only observe mode let through.',
      'Drift is what was asked for in the window and not in the one of the same length before it. A refusal within a second after the same job or client was let through somewhere is shown with that host: its answer likely redirected there.',
      'With --log nothing but the named logs is read, into memory; a policy file is used where there is one. --fail-on makes a check of it: denied (expected_denials apart), would-deny, unused (a group that is switched on, or an own rule), drift, and direct (attempts past the proxy that `import flows` found).',
    ],
    arguments: [],
    options: [
      CONFIG,
      {
        ...LOG,
        repeat: true,
        about:
          'An audit log with its rotated files (also packed with gzip), instead of the usage store; several times for several nodes.',
      },
      ...windowOptions('7d'),
      { name: 'pipeline', value: 'NAME', about: 'Only requests of this pipeline.' },
      { name: 'job', value: 'ID', about: 'Only requests of this job.' },
      {
        name: 'by',
        value: 'WHOM',
        choices: ['pipeline', 'step', 'job', 'agent', 'client'],
        about: 'Adds the sums by whom: first and last seen, requests, bytes.',
      },
      {
        name: 'fail-on',
        value: 'KINDS',
        about:
          'Exit 3 where there is something: one or more of denied, would-deny, unused, drift, direct, with commas.',
      },
      {
        name: 'format',
        value: 'FORMAT',
        choices: ['table', 'json', 'csv', 'markdown', 'html'],
        about:
          'table unless given. markdown fits a Buildkite annotation (1 MiB); html is one file that needs no network and no script.',
      },
    ],
    exits: {
      0: 'reported',
      1: 'the policy, the audit log or the store could not be read',
      3: 'reported, and something that --fail-on names was found',
    },
    examples: [
      'sallyport report --config config/sallyport.yaml',
      'sallyport report --config config/sallyport.yaml --from 24h --pipeline web --format markdown',
      'sallyport report --log data/audit.jsonl --from 2026-11-01 --to 2026-12-01 --by step',
      'sallyport report --config config/sallyport.yaml --fail-on denied,drift',
    ],
  },
  {
    name: 'suggest',
    summary: 'Suggest the smallest policy that the records need.',
    json: 'window {from, to}, truncated, lines [{by (policy, group, host, wildcard), origin, group, parameters, pattern, ports, protocol (null: by port), addresses, pipeline, evidence {requests, jobs, pipelines, first_seen (ms), last_seen (ms), names}, review [few-jobs, new, multi-tenant, doh, exfiltration, internal, tested, expired, reserved, look-alike, never-answered]}], below [{host, origin, line, requests, pipelines}], unused [{origin, group, days, last (ms) or null}], no_removals (why, or null), unknown_pipelines [{pipeline, last_seen (ms) or null}], diff',
    about: [
      'Prints the policy file with what it lacks: catalog groups with their parameters, exact hosts, and wildcards where names vary. Each entry has its evidence above it. Everything else in the file stays as it is, byte for byte. The file is not written: read the output, or apply --diff with patch(1).',
      'New entries go behind the last one of allow. A new value for the one parameter of a group goes into the entry that has the group, where that entry says nothing but group and with; everything else gets an entry of its own.',
      'Commented out under "review" stands what few jobs asked for, what is new, what strangers may own, what is internal, what is one letter off a host that is allowed, what a rule reserves for others or let through until it expired, what a test of the file wants to be refused, and what is known for carrying data out. What a deny rule or expected_denials names is never suggested.',
      'Entries that nothing used for so many days are commented out, with the day of the last use. Required groups, rules that a test needs, and rules for pipelines that were not seen stay.',
    ],
    arguments: [],
    options: [
      CONFIG,
      ...windowOptions('14d'),
      { name: 'pipeline', value: 'NAME', about: 'Only what this pipeline asked for.' },
      { name: 'min-builds', value: 'N', about: 'Hosts seen in fewer jobs are a matter for review. 2 unless given.' },
      {
        name: 'unused-after',
        value: 'DAYS',
        about:
          'Days without use after which an entry may go: the records must go back as far, and what was used in the window stays. 30 unless given: what runs weekly has then run four times.',
      },
      {
        name: 'scoped',
        value: null,
        about: 'What one pipeline alone asked for, and proved to be it, is suggested for that pipeline alone.',
      },
      { name: 'diff', value: null, about: 'Print the difference to the file as a patch, instead of the whole file.' },
    ],
    exits: { 0: 'suggested', 1: 'the policy, the audit log or the store could not be read' },
    examples: [
      'sallyport suggest --config config/sallyport.yaml --since 14d',
      'sallyport suggest --config config/sallyport.yaml --diff | patch config/sallyport.yaml',
    ],
  },
  {
    name: 'replay',
    summary: 'Replay the audit log against a proposed policy: what would newly fail, what would newly pass.',
    json: 'policy (digest of the proposed one), from (null: the beginning), to, logs, damaged_lines, missing_lines, unread_files, ready, requests, newly_fail and newly_pass [{host, port, kind (connect, forward, inside), request (method and path of one inside an inspected CONNECT, or empty), pipeline, step, claimed, reason, rule, requests, jobs (up to 1,000), first_seen, last_seen (ms)}], newly_fail_requests, newly_pass_requests, not_judged, overflow, pipelines [{pipeline, claimed, state (safe, would-fail, not-seen), requests, jobs, hosts}], pipelines_overflow',
    about: [
      'Each request in the log is decided again with its identity, target and method, as of now: a rule that has expired since then lets nothing through. What observe mode lets pass passes here too; --ready judges as if everything were enforced.',
      'Only rules are replayed: names are not resolved, and what would be decided by paths of plain HTTP, values of queries or header fields, which the log does not have, is counted as not judged. A host that was not inspected has no paths in the log.',
    ],
    arguments: [],
    options: [
      { name: 'policy', value: 'FILE', about: 'The proposed policy file.' },
      CONFIG,
      {
        ...LOG,
        repeat: true,
        about: 'An audit log with its rotated files (also packed with gzip), instead of the one that --config names.',
      },
      ...windowOptions('All there is'),
      { name: 'ready', value: null, about: 'Say for each pipeline whether it is safe, would fail, or was not seen.' },
      { name: 'format', value: 'FORMAT', choices: ['table', 'json', 'markdown'], about: 'table unless given.' },
    ],
    exits: {
      0: 'nothing would newly fail',
      1: 'a policy or a log could not be read, or nothing would newly fail in what could be read of a log that is damaged or has gaps',
      3: 'something would newly fail (whether the log is damaged or not)',
    },
    examples: [
      'sallyport replay --policy new.yaml --config config/sallyport.yaml --since 7d',
      'sallyport replay --policy new.yaml --log data/audit.jsonl --ready',
    ],
  },
  {
    name: 'import squid',
    summary: 'Print a squid.conf as a policy file.',
    json: 'text, left [{line (0: the whole file), text, why}]',
    about: [
      'Carried over are destinations by domain (acl dstdomain, in files too, and http_access), client networks, ports of CONNECT, and the listener. What decides by anything else opens nothing: it is named on standard error and as a comment at the end.',
    ],
    arguments: [{ name: 'FILE', about: 'squid.conf; files that it names are read beside it.', required: true }],
    options: [],
    exits: {
      0: 'all was carried over, but for what is said of the file as a whole',
      1: 'the file could not be read',
      3: 'some lines were not carried over',
    },
    examples: ['sallyport import squid /etc/squid/squid.conf'],
  },
  {
    name: 'import smokescreen',
    summary: 'Print an ACL file of Smokescreen as a policy file.',
    json: 'text, left [{line (0: the whole file), text, why}]',
    about: [
      'A service becomes a user, whom a certificate proves; report and open become observe. What could not be carried over is named on standard error and as a comment at the end.',
    ],
    arguments: [{ name: 'FILE', about: 'The YAML file of --egress-acl-file, version v1.', required: true }],
    options: [],
    exits: {
      0: 'all was carried over, but for what is said of the file as a whole',
      1: 'it is no such file',
      3: 'some of it was not carried over',
    },
    examples: ['sallyport import smokescreen egress.yaml'],
  },
  {
    name: 'import flows',
    summary: "Take the network's own logs in, so that the report names attempts past the proxy.",
    json: 'files [{file, format (vpc, kernel), lines, taken, known, overflow, left {foreign, proxy, answer, local}, other, lost, bad, bad_lines [{file, line, why}]}], clients, proxies',
    about: [
      'Reads VPC flow logs as text (from S3 or CloudWatch; version 2 or any format with a head line) and packets that the Linux kernel logged for a rule of nftables or iptables (journalctl short, short-iso, short-unix or json; syslog, ulogd, dmesg -T), plain or packed with gzip: docs/flow-logs.md.',
      'Taken are connections that clients began to anything but the proxy. What comes from other sources (foreign), goes to or comes from a proxy, answers somebody, or stays on the link is counted and left. The same record counts once, however often it comes.',
      "The report shows them by job and destination with the likely fix: the job is whichever the client's address ran at that time, as the usage store knows it.",
    ],
    arguments: [{ name: 'FILE', about: 'A log, or several.', required: true, repeat: true }],
    options: [
      CONFIG,
      {
        name: 'format',
        value: 'FORMAT',
        choices: ['auto', 'vpc', 'kernel'],
        about: 'auto unless given: the first line that is of one of the two decides for its file.',
      },
      {
        name: 'fields',
        value: 'NAMES',
        about:
          'Fields of a VPC flow log of a custom format without a head line, as the console shows them or as plain words: "srcaddr dstaddr …".',
      },
      {
        name: 'client',
        value: 'CIDR',
        repeat: true,
        about: 'Sources whose attempts count; clients.from of the policy unless given.',
      },
      {
        name: 'proxy',
        value: 'ADDRESS',
        repeat: true,
        about:
          "Address of a proxy, besides those that the policy's `listen` and `self` name: its own traffic is no attempt.",
      },
      {
        name: 'zone',
        value: 'OFFSET',
        about: "Zone of times that name none (journalctl's short form, syslog): Z, +02:00, -05:30. Z unless given.",
      },
    ],
    exits: {
      0: 'taken, or known already',
      1: 'a file or the store failed, lines could not be understood, or the store has no room; what could be taken is taken',
    },
    examples: [
      'sallyport import flows --config config/sallyport.yaml --client 10.0.0.0/16 vpcflowlogs.log.gz',
      'sallyport import flows --zone +02:00 --config config/sallyport.yaml /var/log/kern.log /var/log/kern.log.1.gz',
    ],
  },
  {
    name: 'usage rebuild',
    summary: 'Make the usage store anew from the audit log.',
    json: 'store, audit, aside (where the old store is now), lines, flows (records of `import flows` that were carried over; null: the old file could not be read), grants (carried over, likewise)',
    arguments: [],
    options: [CONFIG],
    exits: { 0: 'rebuilt', 1: 'the audit log or the store failed' },
    examples: ['sallyport usage rebuild --config config/sallyport.yaml'],
  },
  {
    name: 'usage export',
    summary: 'Write what the usage store has into a file, for another store.',
    json: 'file, logs, rows',
    about: [
      'Catches up with the audit log first. The file has one JSON object a line (docs/usage-export.md) and appears whole or not at all.',
    ],
    arguments: [{ name: 'FILE', about: 'Where to write it; an existing file is replaced.', required: true }],
    options: [CONFIG],
    exits: { 0: 'written', 1: 'the audit log, the store or the file failed' },
    examples: ['sallyport usage export usage-proxy-1.jsonl --config config/sallyport.yaml'],
  },
  {
    name: 'usage import',
    summary: 'Take exports of other proxies into the usage store, so that a report speaks of all.',
    json: 'store, files [{file, taken, known (logs), rows}]',
    about: [
      'Each log counts once: of several exports the one that counts further wins as a whole, so a file may come twice, late, or in any order. A file that is not whole is refused, and nothing of it is taken.',
    ],
    arguments: [{ name: 'FILE', about: 'An export, or several.', required: true, repeat: true }],
    options: [CONFIG],
    exits: { 0: 'taken, or known already', 1: 'a file or the store failed; the files before it are taken' },
    examples: ['sallyport usage import usage-proxy-1.jsonl usage-proxy-2.jsonl --config config/sallyport.yaml'],
  },
] as const satisfies readonly CommandSpec[];
