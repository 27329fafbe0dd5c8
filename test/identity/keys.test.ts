// The issuer's keys: when they are fetched, how often, and what happens while they cannot be. The clock is the test's.
import { describe, expect, it } from 'vitest';
import { KeysUnavailable, RemoteKeys } from '../../src/identity/keys.ts';
import { createMeter, DEFAULT_LIMITS, type LimitName } from '../../src/limits.ts';
import { tokenIssuer } from '../support/tokens.ts';

const first = tokenIssuer('first');
const second = tokenIssuer('second');
const both = JSON.stringify({ keys: [...JSON.parse(first.jwks).keys, ...JSON.parse(second.jwks).keys] });

function make(limits: Partial<Record<LimitName, number>> = {}) {
  const meter = createMeter();
  const problems: string[] = [];
  const state = { ms: 0, answer: first.jwks as string | Error | Promise<string>, asked: 0 };
  const keys = new RemoteKeys({
    fetch: async () => {
      state.asked++;
      const answer = await state.answer;
      if (answer instanceof Error) throw answer;
      return answer;
    },
    limits: { ...DEFAULT_LIMITS, ...limits },
    meter,
    now: () => state.ms,
    onProblem: (why) => void problems.push(why),
  });
  const find = (kid: string) =>
    Promise.resolve(keys.key({ alg: 'RS256', kid }, { payload: '', signature: '' })).then(
      () => 'found',
      (error: unknown) =>
        error instanceof KeysUnavailable ? 'unavailable' : ((error as { code: string }).code ?? 'odd'),
    );
  return { keys, state, meter, problems, find };
}

describe('keys from a URL', () => {
  it('are fetched once for all that come meanwhile, and again after jwks_refresh_ms, beside the request', async () => {
    const { state, find } = make({ jwks_refresh_ms: 1_000 });
    expect(await Promise.all([find('first'), find('first'), find('first')])).toEqual(['found', 'found', 'found']);
    expect(state.asked).toBe(1);
    state.ms = 999;
    await find('first');
    expect(state.asked).toBe(1);
    state.ms = 1_000;
    state.answer = second.jwks;
    expect(await find('first')).toBe('found');
    expect(state.asked).toBe(2);
    expect(await find('second')).toBe('found');
  });

  it('a key that nobody knows is looked for again, but not before jwks_retry_ms', async () => {
    const { state, find, meter } = make({ jwks_retry_ms: 1_000 });
    await find('first');
    expect(await find('second')).toBe('ERR_JWKS_NO_MATCHING_KEY');
    expect([state.asked, meter.hits.get('jwks_retry_ms')]).toEqual([1, 1]);
    state.ms = 1_000;
    state.answer = both;
    expect(await Promise.all([find('second'), find('second')])).toEqual(['found', 'found']);
    expect(state.asked).toBe(2);
    // Thousands of tokens with made-up key ids cost the issuer one look.
    state.ms = 2_000;
    for (let at = 0; at < 50; at++) expect(await find(`made-up-${at}`)).toBe('ERR_JWKS_NO_MATCHING_KEY');
    expect(state.asked).toBe(3);
  });

  it('that cannot be had: 503 at once until the next try, each wait twice as long as the last', async () => {
    const { state, find, problems } = make({ jwks_retry_ms: 3_000 });
    state.answer = new Error('connect-refused');
    expect(await find('first')).toBe('unavailable');
    expect(problems).toEqual(['connect-refused; no keys are known: tokens get 503']);
    const tries: number[] = [];
    for (let ms = 0; ms <= 12_000; ms += 500) {
      state.ms = ms;
      const before = state.asked;
      expect(await find('first')).toBe('unavailable');
      if (state.asked > before) tries.push(ms);
    }
    expect(tries).toEqual([1_000, 3_000, 6_000, 9_000, 12_000]);
    state.answer = first.jwks;
    state.ms = 15_000;
    expect(await find('first')).toBe('found');
  });

  it('that are known count on while they cannot be fetched, up to jwks_stale_max_ms', async () => {
    const { state, find, problems } = make({ jwks_refresh_ms: 1_000, jwks_stale_max_ms: 5_000 });
    await find('first');
    state.answer = new Error('gone');
    state.ms = 4_999;
    expect(await find('first')).toBe('found');
    expect(problems).toEqual(['gone; those that are known count on']);
    state.ms = 6_000;
    expect(await find('first')).toBe('unavailable');
  });

  it('an answer that is no key set leaves those that are known', async () => {
    const { state, find, problems } = make({ jwks_refresh_ms: 1_000 });
    await find('first');
    for (const [at, answer] of ['<html>', '{}', '{"keys":[]}', '{"keys":[{"kty":"oct","k":"AA"}]}'].entries()) {
      state.answer = answer;
      state.ms += 3_600_000;
      expect(await find('first')).toBe('found');
      expect(problems).toHaveLength(at + 1);
    }
  });

  it('are fetched before the first token where asked to', async () => {
    const { keys, state } = make();
    keys.warm();
    await Promise.resolve();
    expect(state.asked).toBe(1);
  });
});
