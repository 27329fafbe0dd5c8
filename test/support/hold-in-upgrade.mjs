// Preloaded (--import) into a proxy with workers: in an upgrade the new worker whose number stands in the file SALLYPORT_TEST_HOLD serves,
// and holds back that it is ready for as long as the file is there.
import { existsSync, readFileSync } from 'node:fs';

const file = process.env['SALLYPORT_TEST_HOLD'] ?? '';
const LOOK_MS = 20;

if (process.env['SALLYPORT_WORKER_OF'] === String(process.ppid) && process.send) {
  let held = false;
  process.prependListener('message', ({ type, order }) => {
    if (type === 'order' && order.takeOver !== null && existsSync(file))
      held = readFileSync(file, 'utf8') === String(order.worker);
  });
  const send = process.send.bind(process);
  process.send = (message, ...rest) => {
    if (message.type !== 'ready' || !held) return send(message, ...rest);
    const look = setInterval(() => {
      if (existsSync(file)) return;
      clearInterval(look);
      send(message, ...rest);
    }, LOOK_MS);
    return true;
  };
}
