// Run as a process of its own by kill.test.ts: writes let-through records and says each id on stdout once its line is
// in the kernel. Of four, two are gathered, and one ends: its line is written with the next decided one. Arguments: FILE PREFIX.
import fs from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const [file = '', prefix = ''] = process.argv.slice(2);
const log = openAuditLog({ file, node: 'n', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: () => new Date() });
let ended = '';
for (let n = 0; ; n += 4) {
  const [first = '', second = '', ...together] = [0, 1, 2, 3].map((index) => `${prefix}-${n + index}`);
  for (const id of [first, second]) {
    log.decided(decidedRecord({ id }));
    fs.writeSync(1, `${ended}decided ${id}\n`);
    ended = '';
  }
  for (const id of together)
    log.gather(decidedRecord({ id }), (failure) => {
      if (failure === null) fs.writeSync(1, `decided ${id}\n`);
    });
  await turn();
  log.ended(endedRecord({ id: first }));
  ended = `ended ${first}\n`;
}
