// Commands that look after the audit log. Words only; see args.ts.
import { CONFIG, type CommandSpec, LOG, WHEN } from './spec.ts';

export const AUDIT_COMMANDS = [
  {
    name: 'audit verify',
    summary: 'Check that the audit log is complete: every line, its number and its hash.',
    json: 'file, complete, files, lines, from and to {seq, time}, problems [{file, line, why}], problem_count, open; with --shipped: dir, complete, nodes [{node, folder, checkpoint {time, last {seq, hash}} or null, last, behind, problems, complete}]',
    about: [
      'With --shipped it looks into the second place of audit.ship instead: each node there must have the files of its checkpoint, a whole chain, and a checkpoint that is signed by a key that was given.',
    ],
    arguments: [],
    options: [
      CONFIG,
      LOG,
      { name: 'shipped', value: 'DIR', about: 'The folder that the nodes ship to.' },
      {
        name: 'key',
        value: 'FILE',
        repeat: true,
        about: 'With --shipped: an Ed25519 public key in PEM that signs checkpoints.',
      },
      { name: 'node', value: 'NAME', repeat: true, about: 'With --shipped: a node that must be there.' },
      { name: 'to', value: 'WHEN', about: `With --shipped: all until then must be there. ${WHEN}.` },
    ],
    exits: { 0: 'complete', 1: 'a line is damaged, missing or altered' },
    examples: [
      'sallyport audit verify --config config/sallyport.yaml',
      'sallyport audit verify --log data/audit.jsonl',
      'sallyport audit verify --shipped /mnt/audit --key checkpoints.pub --node proxy-1 --node proxy-2 --to 24h',
    ],
  },
  {
    name: 'audit query',
    summary: 'Print the records that match, and say whether the log is complete for that time.',
    json: 'one object a line: each record as the log has it, then {from, to, complete, files, lines, matched, first and last {seq, time} or null, problems [{file, line, why}], problem_count, unopened}',
    about: [
      'Reads the log, its rotated files and the branches of upgrades, packed with gzip or not, as far as the time touches them, and checks what it reads as `audit verify` does. Prints decided and ended lines in the order of the log, those of a branch after the others; notes (start, policy, mode, gap) where nothing but the time is asked for.',
      'A time is a span back from now (90m, 24h, 7d, 4w) or an ISO 8601 date or time, UTC unless it says otherwise; a date alone is its first moment.',
      'The last thing it says is whether the log is complete for that time: gaps, damaged lines, missing branches and archives that could not be read are named. With csv that stands on standard error. A log cut off at its end looks complete.',
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
