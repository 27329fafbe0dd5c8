// The relations between limits, at their edges; each limit by itself is tested where it binds.
import { expect, it } from 'vitest';
import { DEFAULT_LIMITS, type LimitName, limitProblems } from '../src/limits.ts';

it.each<[LimitName, LimitName, string]>([
  ['tunnels_max', 'connections_max', 'tunnels_max cannot exceed connections_max: every tunnel is a connection'],
  ['client_connections_max', 'connections_max', 'client_connections_max cannot exceed connections_max'],
  ['jwks_refresh_ms', 'jwks_stale_max_ms', 'jwks_refresh_ms cannot exceed jwks_stale_max_ms'],
])('%s may be as large as %s, and no larger', (lesser, greater, message) => {
  const limits = { ...DEFAULT_LIMITS, [greater]: 10_000 };
  expect(limitProblems({ ...limits, [lesser]: 10_000 })).toEqual([]);
  expect(limitProblems({ ...limits, [lesser]: 10_001 })).toEqual([{ name: lesser, message }]);
});

it('the next address is tried before the time for all of them is over', () => {
  const limits = { ...DEFAULT_LIMITS, connect_attempt_delay_ms: 500 };
  expect(limitProblems({ ...limits, connect_timeout_ms: 501 })).toEqual([]);
  expect(limitProblems({ ...limits, connect_timeout_ms: 500 })).toEqual([
    { name: 'connect_attempt_delay_ms', message: 'connect_attempt_delay_ms must be below connect_timeout_ms' },
  ]);
});
