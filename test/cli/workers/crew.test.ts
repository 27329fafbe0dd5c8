// Workers as the primary starts them: one that cannot be started is one that has ended, whichever way the system says so; and who is started
// anew, and who is waited for, in an upgrade.
import { once } from 'node:events';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Crew } from '../../../src/cli/workers/crew.ts';
import type { FromWorker, Order } from '../../../src/cli/workers/order.ts';

const FAKE = new URL('../../support/fake-worker.mjs', import.meta.url).pathname;
const { argv, execArgv } = process;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  // What a crew starts is the program that it is in itself.
  process.argv = [process.execPath, FAKE];
  process.execArgv = [];
});

afterEach(() => {
  vi.useRealTimers();
  process.argv = argv;
  process.execArgv = execArgv;
});

const events = new EventTarget();
const comes = (event: string): Promise<unknown> => once(events, event);
const say = (event: string): void => void events.dispatchEvent(new Event(event));

function crewOf(count: number, env: Record<string, string | undefined> = {}) {
  const seen = { started: 0, died: [] as string[], heard: [] as string[] };
  const crew = new Crew(count, {
    env,
    descriptors: () => [],
    grouped: false,
    order: () => {
      seen.started++;
      return {} as Order;
    },
    heard: ({ worker }, message: FromWorker) => {
      if (message.type !== 'noted') return;
      seen.heard.push(`${worker} ${JSON.stringify(message.note)}`);
      say(`heard ${seen.heard.length}`);
    },
    died: ({ worker }, how) => {
      seen.died.push(`${worker} ${how}`);
      say('died');
    },
    back: () => say('back'),
  });
  return { crew, seen };
}

it('a process that cannot be made at all ends the start with its reason', async () => {
  // No such environment can be: spawn throws, as it does without memory.
  const { crew, seen } = crewOf(2, { NAME: 'a\0b' });
  await expect(crew.start()).rejects.toMatchObject({ code: 'worker-failed' });
  await crew.over;
  expect(seen.died).toEqual([1, 2].map((worker) => expect.stringMatching(`^${worker} was not started \\(.*\\)$`)));
  expect(crew.members.map(({ state }) => state)).toEqual(['ended', 'ended']);
});

it('one that dies while another process may have its log is started when that is over', async () => {
  const { crew, seen } = crewOf(2);
  await crew.start();
  crew.pause();
  const died = comes('died');
  process.kill(crew.members[0]?.pid ?? 0, 'SIGKILL');
  await died;
  vi.advanceTimersByTime(60_000);
  expect(seen.started).toBe(2);
  const back = comes('back');
  crew.resume();
  expect(seen.started).toBe(3);
  await back;
  // From now on as ever.
  const again = comes('died');
  process.kill(crew.members[0]?.pid ?? 0, 'SIGKILL');
  await again;
  vi.advanceTimersByTime(60_000);
  expect(seen.started).toBe(4);
  crew.end();
  crew.end();
  vi.advanceTimersByTime(10_000);
  await crew.over;
});

it('who is replaced hears whether its log is gone on with, and has the time to drain, and ten seconds more', async () => {
  const { crew, seen } = crewOf(2);
  await crew.start();
  const heard = comes('heard 2');
  crew.replaced(1, 5_000);
  await heard;
  expect(seen.heard.sort()).toEqual(['1 {"type":"replaced","counted":true}', '2 {"type":"replaced","counted":false}']);
  vi.advanceTimersByTime(14_999);
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(1);
  await crew.over;
  expect(seen.died.sort()).toEqual(['1 ended with SIGKILL', '2 ended with SIGKILL']);
  // None of them comes back.
  vi.advanceTimersByTime(60_000);
  expect(seen.started).toBe(2);
});
