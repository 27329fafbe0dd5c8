// Commands that look after the audit log. Words only; see args.ts.
import { CONFIG, type CommandSpec, LOG } from './spec.ts';

export const AUDIT_COMMANDS = [
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
] as const satisfies readonly CommandSpec[];
