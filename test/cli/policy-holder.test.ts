// What the holder of the policy does where grants come and what judges them cannot be loaded: they do not count, it is said, and tried again.
import { pino } from 'pino';
import { afterEach, expect, it, vi } from 'vitest';
import { PolicyHolder } from '../../src/cli/policy-holder.ts';
import { once } from '../../src/cli/sight.ts';

afterEach(() => {
  vi.useRealTimers();
});

it('grants that could not be judged are taken again after a while', async () => {
  vi.useFakeTimers();
  const said: string[] = [];
  const log = pino({ level: 'error' }, { write: (line) => void said.push((JSON.parse(line) as { msg: string }).msg) });
  const take = vi.fn(async () => {}).mockRejectedValueOnce(new Error('EMFILE'));
  const judge = vi.fn(() => false);
  const options = {
    log,
    loaded: { layers: [] },
    ctx: { policy: { digest: 'p' } },
    grants: { take, judge, unrecorded: false },
  };
  const holder = new PolicyHolder(options as unknown as ConstructorParameters<typeof PolicyHolder>[0]);
  await holder.setGrants([]);
  expect([take.mock.calls.length, judge.mock.calls.length]).toEqual([1, 0]);
  expect(said).toEqual(['what judges grants cannot be loaded; those that came do not count yet']);
  await vi.advanceTimersByTimeAsync(5_000);
  expect([take.mock.calls.length, judge.mock.calls.length]).toEqual([2, 1]);
});

it('what is made once is made again where it could not be', async () => {
  const make = vi.fn(async () => 'made').mockRejectedValueOnce(new Error('EMFILE'));
  const get = once(make);
  await expect(get()).rejects.toThrow('EMFILE');
  expect([await get(), await get()]).toEqual(['made', 'made']);
  expect(make).toHaveBeenCalledTimes(2);
});
