// Preloaded (--import) into a proxy whose upgrades shall fail: a new process kills itself at the moment that the file named by
// SALLYPORT_TEST_DIE says, as long as that file is there: `fork`, `socket` (both as they arrive) or `ready` (before it is said).
// `stop fork` and so on: it lives, but the old process is told to stop, by SIGTERM; `ready` is said when that has been heard.
import { readFileSync } from 'node:fs';

const file = process.env['SALLYPORT_TEST_DIE'] ?? '';
/** @returns whether the old process was told to stop */
const act = (moment) => {
  let what = '';
  try {
    what = readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  if (what === moment) process.kill(process.pid, 'SIGKILL');
  if (what !== `stop ${moment}`) return false;
  process.kill(process.ppid, 'SIGTERM');
  return true;
};

if (process.env['SALLYPORT_UPGRADE_FROM'] === String(process.ppid) && process.send) {
  process.prependListener('message', ({ type }) => act(type));
  const send = process.send.bind(process);
  process.send = (message, ...rest) => {
    if (message.type === 'ready' && act('ready')) process.once('SIGTERM', () => send(message, ...rest));
    else send(message, ...rest);
    return true;
  };
}
