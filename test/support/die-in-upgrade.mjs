// Preloaded (--import) into a proxy whose upgrades shall fail: a new process kills itself at the moment that the file named by
// SALLYPORT_TEST_DIE says, as long as that file is there: `fork`, `socket` (both as they arrive) or `ready` (before it is said).
import { readFileSync } from 'node:fs';

const file = process.env['SALLYPORT_TEST_DIE'] ?? '';
const die = (moment) => {
  try {
    if (readFileSync(file, 'utf8') === moment) process.kill(process.pid, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
};

if (process.env['SALLYPORT_UPGRADE_FROM'] === String(process.ppid) && process.send) {
  process.prependListener('message', ({ type }) => die(type));
  const send = process.send.bind(process);
  process.send = (message, ...rest) => {
    if (message.type === 'ready') die('ready');
    return send(message, ...rest);
  };
}
