// Run as a process of its own by kill-upgrade.test.ts: writes requests, rotates by size, and hands the log over to itself again
// and again. Says `decided ID` and `ended ID` on stdout once the line is in the kernel. Arguments: FILE PREFIX.
import fs from 'node:fs';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const [file = '', prefix = ''] = process.argv.slice(2);
const base = { file, node: 'n', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: () => new Date() } as const;
const HAND_OVER = 120;

let log = openAuditLog({ ...base, rotateBytes: 60_000 });
let open: string[] = [];
let old: { log: AuditLog; open: string[] } | null = null;

const say = (text: string): void => void fs.writeSync(1, text);

/** Ends the oldest request; the look at the figures writes the line. */
function end(of: AuditLog, ids: string[]): void {
  const id = ids.shift() as string;
  of.ended(endedRecord({ id }));
  void of.stats;
  say(`ended ${id}\n`);
}

for (let n = 0; ; n++) {
  const id = `${prefix}-${n}`;
  log.decided(decidedRecord({ id }));
  say(`decided ${id}\n`);
  open.push(id);
  if (open.length > 5) end(log, open);
  if (old === null && n % HAND_OVER === 0) {
    const takeOver = log.handOver();
    old = { log, open };
    log = openAuditLog({ ...base, rotateBytes: 60_000, takeOver });
    open = [];
  } else if (old !== null && n % 3 === 0) {
    if (old.open.length > 0) end(old.log, old.open);
    else {
      old.log.note({ event: 'stop', policy: 'p', detail: {} });
      old.log.close();
      old = null;
    }
  }
}
