// Workers as the primary starts them: one that cannot be started is one that has ended, whichever way the system says so.
import { expect, it } from 'vitest';
import { Crew } from '../../../src/cli/workers/crew.ts';
import type { Order } from '../../../src/cli/workers/order.ts';

it('a process that cannot be made at all ends the start with its reason', async () => {
  const died: string[] = [];
  const crew = new Crew(2, {
    // No such environment can be: spawn throws, as it does without memory.
    env: { NAME: 'a\0b' },
    descriptors: () => [],
    grouped: false,
    order: () => ({}) as Order,
    heard: () => {},
    died: ({ worker }, how) => void died.push(`${worker} ${how}`),
    back: () => {},
  });
  await expect(crew.start()).rejects.toMatchObject({ code: 'worker-failed' });
  await crew.over;
  expect(died).toEqual([1, 2].map((worker) => expect.stringMatching(`^${worker} was not started \\(.*\\)$`)));
  expect(crew.members.map(({ state }) => state)).toEqual(['ended', 'ended']);
});
