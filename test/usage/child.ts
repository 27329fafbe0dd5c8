// Run as a process of its own by kill.test.ts: counts a log in small batches and says so on stdout after each.
// Arguments: AUDIT_FILE STORE BATCH_LINES.
import fs from 'node:fs';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { Projector } from '../../src/usage/projector.ts';

const [auditFile = '', store = '', batchLines = '10'] = process.argv.slice(2);
const onProblem = ({ message }: { message: string }) => {
  throw new Error(message);
};
const projector = new Projector({
  auditFile,
  store,
  limits: DEFAULT_LIMITS,
  onProblem,
  batchLines: Number(batchLines),
});
for (let more = true; more; ) {
  more = (await projector.step()).more;
  fs.writeSync(1, '.');
}
await projector.close();
