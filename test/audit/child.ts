// Run as a process of its own by kill.test.ts: writes let-through records and says each id on stdout once its line is
// in the kernel. Every second request also ends: its line is written with the next decided one. Arguments: FILE PREFIX.
import fs from 'node:fs';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const [file = '', prefix = ''] = process.argv.slice(2);
const log = openAuditLog({ file, node: 'n', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: () => new Date() });
let ended = '';
for (let n = 0; ; n++) {
  const id = `${prefix}-${n}`;
  log.decided(decidedRecord({ id }));
  fs.writeSync(1, `${ended}decided ${id}\n`);
  ended = '';
  if (n % 2 === 0) continue;
  log.ended(endedRecord({ id }));
  ended = `ended ${id}\n`;
}
