// Commands that look after the audit log. Words only; see args.ts.
import { CONFIG, type CommandSpec, LOG, WHEN } from './spec.ts';

export const AUDIT_COMMANDS = [
  {
    name: 'audit verify',
    summary:
      'Check that audit logs are complete: every line, its number and its hash; and of a time, that every node was there.',
    json: 'of one log: file, complete, files, lines, from and to {seq, time}, problems [{file, line, why}], problem_count, open, heartbeat_ms, silences [{from, to}], silence_count, stopped [{from, to}]; of a time, of several logs, or with --node: from, to, verdict (complete, not-over, gaps, missing-nodes), complete, nodes [{node, log, complete, files, lines, first, last, problems, problem_count, unopened, heartbeat_ms, silences, silence_count, stopped}], missing; with --shipped: place, from, to, verdict, complete, logs [{node, log, folder, checkpoint {time, last {seq, hash}, stopped} or null, last, behind, until, problems, silences, silence_count, stopped, complete}], missing',
    about: [
      'A silence is a gap too: a proxy writes at least a heartbeat each limits.audit_heartbeat_ms, so twice that without a line and without a stop note means that it was not running, or not recording.',
      'With --from or --to it says whether the logs are complete for that time, reads no more than that takes, and expects each node to have spoken up to its end. --log may stand several times, and may name a folder: then all logs in it and in the folders of nodes in it.',
      'With --shipped it looks into the second place of audit.ship instead: each node there must have the files of its checkpoint, a whole chain, and a checkpoint that is signed by a key that was given. Checkpoints name the logs of the other nodes too, so a node of which everything was removed is missing by the word of the others.',
      'A bucket is asked with the endpoint and the credentials of the policy file that --config names, else with those of the environment: AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE, AWS_ACCESS_KEY_ID or AWS_SHARED_CREDENTIALS_FILE and their like.',
    ],
    arguments: [],
    options: [
      CONFIG,
      { ...LOG, repeat: true, about: 'An audit log, or a folder of logs, instead of the one that --config names.' },
      { name: 'from', value: 'WHEN', about: `Only from then on: ${WHEN}. All there is unless given.` },
      { name: 'to', value: 'WHEN', about: 'Only before then, written the same way; now where --from is given alone.' },
      { name: 'node', value: 'NAME', repeat: true, about: 'A node that must be there.' },
      { name: 'shipped', value: 'PLACE', about: 'Where the nodes ship to: a folder, or s3://BUCKET/PREFIX.' },
      {
        name: 'checkpoints',
        value: 'PLACE',
        about:
          'Where audit.checkpoints has them: each log is held to its own, and nodes that they name must be there; with --shipped instead of those beside the files.',
      },
      {
        name: 'into',
        value: 'DIR',
        about:
          'With s3://: fetch the files into this empty folder and leave them there, to be asked with `audit query`.',
      },
      {
        name: 'key',
        value: 'FILE',
        repeat: true,
        about: 'An Ed25519 public key in PEM that signs checkpoints.',
      },
    ],
    exits: { 0: 'complete', 1: 'a line is damaged, missing or altered, a node was silent, or a node is missing' },
    examples: [
      'sallyport audit verify --config config/sallyport.yaml',
      'sallyport audit verify --log data/audit.jsonl',
      'sallyport audit verify --from 2026-03-01 --to 2026-04-01 --log /srv/audit --node proxy-1 --node proxy-2',
      'sallyport audit verify --shipped /mnt/audit --key checkpoints.pub --node proxy-1 --node proxy-2 --to 24h',
      'sallyport audit verify --shipped s3://acme-audit/egress --checkpoints /mnt/checkpoints --key checkpoints.pub --from 4w',
    ],
  },
  {
    name: 'audit query',
    summary: 'Print the records that match, and say whether the log is complete for that time.',
    json: 'one object a line: each record as the log has it, then {from, to, complete, files, lines, matched, first and last {seq, time} or null, problems [{file, line, why}], problem_count, unopened, heartbeat_ms, silences [{from, to}], silence_count, stopped [{from, to}]}',
    about: [
      'Reads the log, its rotated files and the branches of upgrades, packed with gzip or not, as far as the time touches them, and checks what it reads as `audit verify` does. Prints decided and ended lines in the order of the log, those of a branch after the others; notes (start, policy, mode, gap) where nothing but the time is asked for.',
      'A time is a span back from now (90m, 24h, 7d, 4w) or an ISO 8601 date or time, UTC unless it says otherwise; a date alone is its first moment.',
      'The last thing it says is whether the log is complete for that time: gaps, damaged lines, silences of the proxy, missing branches and archives that could not be read are named. With csv that stands on standard error. A log cut off at its end looks complete.',
    ],
    arguments: [],
    options: [
      CONFIG,
      LOG,
      { name: 'from', value: 'WHEN', about: `Only from then on: ${WHEN}. All there is unless given.` },
      { name: 'to', value: 'WHEN', about: 'Only before then, written the same way.' },
      {
        name: 'host',
        value: 'PATTERN',
        about: 'Only this host, written as in the policy: an exact host, *.domain, an address; :PORT may follow.',
      },
      { name: 'job', value: 'ID', about: 'Only this job; * stands for any characters.' },
      { name: 'pipeline', value: 'NAME', about: 'Only this pipeline; * stands for any characters.' },
      { name: 'client', value: 'CIDR', about: 'Only clients of this address or range.' },
      { name: 'verdict', value: 'VERDICT', choices: ['allow', 'deny', 'observe'], about: 'Only this verdict.' },
      { name: 'id', value: 'ID', about: 'Only the request with this id, which its refusal shows.' },
      { name: 'format', value: 'FORMAT', choices: ['table', 'json', 'csv'], about: 'table unless given.' },
    ],
    exits: {
      0: 'the log is complete for that time, whether anything matched or not',
      1: 'it is not complete, or could not be read',
    },
    examples: [
      "sallyport audit query --host '*.example.com' --verdict deny --from 24h --config config/sallyport.yaml",
      'sallyport audit query --job 0190-4f2a --from 2026-01-01 --to 2026-02-01 --format csv --log data/audit.jsonl',
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
] as const satisfies readonly CommandSpec[];
