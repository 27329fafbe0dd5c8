// The thread that ships: a round, a wait, a round. Packing hundreds of MB is nothing for the thread of the data plane, nor is a store that hangs.
import { setTimeout } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { readKey } from '../catalog/signing-key.ts';
import { SallyportError } from '../errors.ts';
import { giveWay, HAS_TIME } from '../give-way.ts';
import { openPlace } from './open-place.ts';
import { Shipper, type SignedTo } from './ship.ts';
import type { FromShipper, ShipperData, ToShipper } from './shipping.ts';

if (parentPort === null) throw new Error('ship-worker runs in a worker thread only');
giveWay(HAS_TIME);
const port = parentPort;
const { file, node, ship, checkpoints, limits } = workerData as ShipperData;
const say = (message: FromShipper): void => port.postMessage(message);
const stop = new AbortController();
let why = 'ended' as ToShipper;
port.on('message', (message: ToShipper) => {
  why = message;
  stop.abort();
});

const now = (): Date => new Date();
const opened = (to: ShipperData['ship']): SignedTo | null =>
  to && {
    place: openPlace(to.place, { file, limits, env: process.env, now }),
    key: to.key && readKey(to.key.file, to.key.pem, 'private'),
  };
const shipper = new Shipper({
  file,
  node,
  ship: opened(ship),
  checkpoints: opened(checkpoints),
  rosterMax: limits.ship_roster_max,
  now,
});

for (let last = false; ; ) {
  try {
    say({ type: 'round', ...(await shipper.round(last && why === 'ended')) });
  } catch (error) {
    const code = error instanceof SallyportError ? `${error.code}: ` : '';
    say({ type: 'failed', why: code + (error instanceof Error ? error.message : String(error)) });
  }
  if (last) break;
  await setTimeout(limits.ship_interval_ms, undefined, { signal: stop.signal }).catch(() => {});
  // Once more at the end, for what was closed since; where another process has taken over, that one does it.
  last = stop.signal.aborted;
  if (last && why === 'replaced') break;
}
port.close();
