// Fetches the issuer's keys over HTTPS, on the road that requests take too (net/guarded-get.ts).
import { type GuardedPlace, type GuardedRoad, guardedGet } from '../net/guarded-get.ts';

export type KeyPlace = GuardedPlace;
export type KeyRoad = GuardedRoad;

/** @returns the body of a 200. Rejects with an Error whose message says what failed */
export async function fetchKeys(place: KeyPlace, road: KeyRoad): Promise<string> {
  const headers = { Accept: 'application/json' };
  const ask = { headers, timeout: 'jwks_timeout_ms', bytes: 'jwks_bytes', statuses: [200] } as const;
  return (await guardedGet(place, road, ask)).body;
}
