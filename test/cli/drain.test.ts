// The order and the pace of a drain, on a clock that the test turns. What a cut does to sockets and records is in e2e.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Drain } from '../../src/cli/drain.ts';
import { createMeter, DEFAULT_LIMITS, type Limits } from '../../src/limits.ts';
import { OpenRequest, OpenRequests } from '../../src/proxy/open-requests.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

/** A proxy with open requests of these groups, named by their order, that drains. */
function draining(groups: readonly (string | null)[], limits: Partial<Limits> = {}, connections = groups.length) {
  const tunnels = new Map<string, { bytesUp: number; bytesDown: number; cut(): void }>();
  const open = new OpenRequests(tunnels);
  const cut: string[] = [];
  const proxy = {
    connections,
    get idle() {
      return open.size === 0;
    },
    stopListening: () => {},
    closeIdle: () => {},
  };
  const end = (id: string): void => {
    const request = open.get(id);
    if (request && open.remove(request)) proxy.connections--;
  };
  groups.forEach((group, index) => {
    const id = `${group ?? 'own'}-${index}`;
    const facts = { id, group } as OpenRequest['facts'];
    open.add(new OpenRequest(open, {} as never, {} as never, [], facts));
    tunnels.set(id, {
      bytesUp: 0,
      bytesDown: 0,
      cut: () => {
        cut.push(id);
        end(id);
      },
    });
  });
  const meter = createMeter();
  const ctx = { open, limits: { ...DEFAULT_LIMITS, ...limits }, meter, closing: false, draining: false };
  const drain = new Drain({ ctx, proxy, log: { info: () => {}, warn: () => {} } }, 'stop');
  const state = { done: false };
  void drain.done.then(() => {
    state.done = true;
  });
  return { drain, ctx, proxy, open, cut, end, state, hits: meter.hits };
}

const agents = (count: number): string[] => Array.from({ length: count }, () => 'buildkite-agent');
const SECOND = 1_000;
const MINUTE = 60 * SECOND;

describe('agents', () => {
  it('are cut one after another over drain_spread_ms when nothing else is open', async () => {
    const { cut, state } = draining(agents(60));
    for (let second = 0; second < 60; second++) {
      expect(cut).toHaveLength(second + 1);
      expect(state.done).toBe(false);
      await vi.advanceTimersByTimeAsync(SECOND);
    }
    expect(cut).toEqual(agents(60).map((group, index) => `${group}-${index}`));
    expect(state.done).toBe(true);
  });

  it('are cut several at a look where they are many', async () => {
    const { cut } = draining(agents(6_000));
    await vi.advanceTimersByTimeAsync(30 * SECOND);
    expect(cut.length).toBeGreaterThanOrEqual(3_000);
    expect(cut.length).toBeLessThanOrEqual(3_010);
  });

  it('wait for the others, until the last drain_spread_ms of the time', async () => {
    const { cut, state, hits } = draining(['npm', ...agents(6), null]);
    await vi.advanceTimersByTimeAsync(29 * MINUTE - 1);
    expect(cut).toEqual([]);
    await vi.advanceTimersByTimeAsync(MINUTE);
    expect(cut).toHaveLength(6);
    expect(state.done).toBe(false);
    await vi.advanceTimersByTimeAsync(SECOND);
    // The other two are left to the caller, who cuts what is open when the time is over.
    expect(cut).toHaveLength(6);
    expect(state.done).toBe(true);
    expect(hits.get('drain_timeout_ms')).toBe(1);
  });

  it('begin to be cut as soon as the last of the others has ended', async () => {
    const { cut, end, state } = draining(['npm', ...agents(2)]);
    await vi.advanceTimersByTimeAsync(MINUTE);
    expect(cut).toEqual([]);
    end('npm-0');
    await vi.advanceTimersByTimeAsync(SECOND);
    expect(cut).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(30 * SECOND);
    expect(cut).toHaveLength(2);
    expect(state.done).toBe(true);
  });

  it('are cut at once where the spread is none', () => {
    expect(draining(agents(100), { drain_spread_ms: 0 }).cut).toHaveLength(100);
  });

  it('and all the others are left to the caller at once where there is no time', async () => {
    const { cut, state, hits } = draining([...agents(100), 'npm'], { drain_timeout_ms: 0 });
    await vi.advanceTimersByTimeAsync(0);
    expect(cut).toEqual([]);
    expect(state.done).toBe(true);
    expect(hits.get('drain_timeout_ms')).toBe(1);
  });

  it('are all cut in time where the spread is longer than the drain', async () => {
    const { cut, state } = draining([...agents(10), 'npm'], { drain_spread_ms: 10 * MINUTE, drain_timeout_ms: MINUTE });
    await vi.advanceTimersByTimeAsync(MINUTE + SECOND);
    expect(cut).toHaveLength(10);
    expect(state.done).toBe(true);
  });
});

describe('a connection that has asked for nothing yet', () => {
  it('is waited for as long as a head may take, and no longer', async () => {
    const { state } = draining([], {}, 1);
    await vi.advanceTimersByTimeAsync(DEFAULT_LIMITS.head_timeout_ms - SECOND);
    expect(state.done).toBe(false);
    await vi.advanceTimersByTimeAsync(2 * SECOND);
    expect(state.done).toBe(true);
  });
});

it('nothing open, nothing to wait for; now() stops the waiting', async () => {
  const idle = draining([]);
  const busy = draining(['npm']);
  await vi.advanceTimersByTimeAsync(0);
  expect([idle.state.done, busy.state.done]).toEqual([true, false]);
  busy.drain.now();
  await vi.advanceTimersByTimeAsync(0);
  expect(busy.state.done).toBe(true);
});
