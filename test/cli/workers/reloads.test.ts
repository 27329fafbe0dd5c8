// A reload of all workers: they are told, waited for, and compared, whoever has asked for it.
import { pino } from 'pino';
import { expect, it } from 'vitest';
import type { Member } from '../../../src/cli/workers/crew.ts';
import { Reloads } from '../../../src/cli/workers/reloads.ts';

it('tells all workers, waits for each, and says whether they differ', async () => {
  const members = ['a', 'a'].map((policy, at) => ({ worker: at + 1, state: 'ready', policy }) as Member);
  const said: unknown[] = [];
  let told = 0;
  const reloads = new Reloads({
    members: () => members,
    log: pino({ level: 'silent' }),
    tell: () => void told++,
    note: (detail) => void said.push(detail),
  });
  const first = reloads.begin();
  expect(told).toBe(1);
  reloads.done(1);
  reloads.done(2);
  await first;
  expect(said).toEqual([]);
  const second = reloads.begin();
  members[1] = { ...members[1], policy: 'b' } as Member;
  reloads.done(2);
  expect(said).toEqual([]);
  reloads.done(1);
  await second;
  expect([told, said]).toEqual([2, [{ result: 'differs', worker_1: 'a', worker_2: 'b' }]]);
});
