// The logs of all workers, given free for another process: who answers, who dies, who answers too late.
import { expect, it } from 'vitest';
import type { Member } from '../../../src/cli/workers/crew.ts';
import { HandOver } from '../../../src/cli/workers/hand-over.ts';
import type { ToWorker } from '../../../src/cli/workers/order.ts';

const fork = (seq: number) => ({ seq, hash: 'a'.repeat(64) });

function handOver(...pids: number[]): { handing: HandOver; told: ToWorker[] } {
  const told: ToWorker[] = [];
  const members = pids.map((pid, index) => ({ worker: index + 1, pid }) as Member);
  return { handing: new HandOver({ members: () => members, tellAll: (message) => void told.push(message) }), told };
}

it('is done when each worker that lives has given its own', async () => {
  const { handing, told } = handOver(11, 0, 13);
  const given = handing.begin();
  expect(told).toEqual([{ type: 'hand-over', attempt: 1 }]);
  handing.said(1, 1, fork(5), '');
  handing.said(3, 1, fork(7), '');
  expect(await given).toEqual(
    new Map([
      [1, fork(5)],
      [3, fork(7)],
    ]),
  );
});

it('one that dies has nothing more to give, and what it gave before counts', async () => {
  const { handing } = handOver(11, 12);
  const given = handing.begin();
  handing.said(1, 1, fork(5), '');
  handing.gone(1);
  handing.gone(2);
  expect(await given).toEqual(new Map([[1, fork(5)]]));
});

it('with nobody to ask it is done at once', async () => {
  expect(await handOver(0, 0).handing.begin()).toEqual(new Map());
});

it('one that cannot ends it', async () => {
  const { handing } = handOver(11, 12);
  const given = handing.begin();
  handing.said(2, 1, null, 'the disk is full');
  await expect(given).rejects.toThrow('worker 2 cannot hand its log over: the disk is full');
});

it('an answer to an upgrade that is over is none to the next one', async () => {
  const { handing, told } = handOver(11, 12);
  const first = handing.begin();
  handing.said(1, 1, fork(5), '');
  handing.takeBack();
  await expect(first).rejects.toThrow('the upgrade is over');
  expect(told.at(-1)).toEqual({ type: 'take-back' });
  const second = handing.begin();
  handing.said(2, 1, fork(6), '');
  handing.said(1, 2, fork(8), '');
  handing.said(2, 2, fork(9), '');
  expect(await second).toEqual(
    new Map([
      [1, fork(8)],
      [2, fork(9)],
    ]),
  );
});
