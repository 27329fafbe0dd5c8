// The thread that ships: a round, a wait, a round. Packing hundreds of MB is nothing for the thread of the data plane.
import { setTimeout } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { readKey } from '../catalog/signing-key.ts';
import { Shipper } from './ship.ts';
import type { FromShipper, ShipperData } from './shipping.ts';

if (parentPort === null) throw new Error('ship-worker runs in a worker thread only');
const port = parentPort;
const { file, node, dir, key, intervalMs } = workerData as ShipperData;
const say = (message: FromShipper): void => port.postMessage(message);
const stop = new AbortController();
port.on('message', () => stop.abort());

const signer = key === null ? null : readKey(key.file, key.pem, 'private');
const shipper = new Shipper({ file, node, dir, key: signer, now: () => new Date() });

for (let last = false; ; ) {
  try {
    say({ type: 'round', ...(await shipper.round()) });
  } catch (error) {
    say({ type: 'failed', why: error instanceof Error ? error.message : String(error) });
  }
  if (last) break;
  await setTimeout(intervalMs, undefined, { signal: stop.signal }).catch(() => {});
  // Once more at the end, for what was closed since.
  last = stop.signal.aborted;
}
port.close();
