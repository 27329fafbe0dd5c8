// Run as a process of its own by kill.test.ts: writes let-through records and says each id on stdout once its call returned.
// Every second request also ends. Arguments: FILE PREFIX.
import fs from 'node:fs';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const [file = '', prefix = ''] = process.argv.slice(2);
const log = openAuditLog({ file, node: 'n', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: () => new Date() });
for (let n = 0; ; n++) {
  const id = `${prefix}-${n}`;
  log.decided(decidedRecord({ id }));
  fs.writeSync(1, `decided ${id}\n`);
  if (n % 2 === 0) continue;
  log.ended(endedRecord({ id }));
  fs.writeSync(1, `ended ${id}\n`);
}
