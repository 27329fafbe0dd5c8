// Which grants count: the ceiling, the time they may last, how many there may be, and what a row must look like to be one.
import { describe, expect, it } from 'vitest';
import { judgeGrants } from '../../src/config/grants.ts';
import { DEFAULT_LIMITS, type Limits } from '../../src/limits.ts';
import type { RuleSource } from '../../src/policy/compile.ts';
import type { Grant } from '../../src/policy/grant.ts';
import { ENDED_MS } from '../../src/policy/grant.ts';
import { cidr, NOW, rule } from '../policy/support.ts';

const HOUR = 3_600_000;
const CEILING = [
  rule('*.corp.test', { ports: [443, 22], protocol: 'any', addresses: [cidr('10.0.0.0/8')], origin: 'ceiling.yaml:3' }),
];

function made(more: Partial<Grant> = {}): Grant {
  return {
    ...{ id: 'g1', host: 'a.corp.test', port: 443, protocol: null, addresses: [], for: { pipeline: ['web'] } },
    ...{ created: NOW, expires: NOW + HOUR, revoked: null, reason: 'r', owner: 'o', by: 'me', revokedBy: null },
    ...more,
  };
}

const judged = (
  grants: readonly Grant[],
  limits: Partial<Limits> = {},
  ceiling: readonly RuleSource[] | null = CEILING,
) => judgeGrants({ grants, ceiling, limits: { ...DEFAULT_LIMITS, ...limits }, now: NOW });

describe('a grant', () => {
  it('inside the ceiling is a rule for those alone, and until it ends', () => {
    const [counting] = judged([made({ port: 22, addresses: ['10.1.0.0/16'] })]).counting;
    expect(counting?.rule).toMatchObject({
      ...{
        effect: 'allow',
        ports: [22],
        for: { pipeline: ['web'] },
        expires: NOW + HOUR,
        layer: 'grants',
        metadata: false,
      },
      ...{ id: 'grant g1', origin: 'grant g1', mode: null, reason: 'r', owner: 'o' },
    });
  });

  it.each<[string, Partial<Grant>, string]>([
    [
      'another host',
      { host: 'evil.test' },
      'it is outside the ceiling: the nearest line of the ceiling is *.corp.test at ceiling.yaml:3, and it is for other hosts',
    ],
    ['the wildcard above', { host: '*.test' }, 'outside the ceiling'],
    ['another port', { port: 8443 }, 'it has ports 443, 22, not 8443'],
    ['other addresses', { addresses: ['192.168.0.0/16'] }, 'it has addresses 10.0.0.0/8, not 192.168.0.0/16'],
    ['too long', { expires: NOW + 169 * HOUR }, 'it lasts longer than limits.grant_duration_max_h allows, 168 hours'],
    ['made in the future', { created: NOW + HOUR, expires: NOW + 2 * HOUR }, 'it was made in the future'],
    ['no pattern', { host: '*' }, 'it is not well-formed'],
    ['no port', { port: 0 }, 'it is not well-formed'],
    ['no port either', { port: 1.5 }, 'it is not well-formed'],
    ['no protocol', { protocol: 'gopher' as never }, 'it is not well-formed'],
    ['no range', { addresses: ['10.0.0.5/8'] }, 'it is not well-formed'],
    ['nobody, which is everybody', { for: {} }, 'it is not well-formed'],
    ['an unknown attribute', { for: { team: ['x'] } as never }, 'it is not well-formed'],
    ['an attribute without a value', { for: { pipeline: [] } }, 'it is not well-formed'],
    ['a text for a list', { for: { pipeline: 'web' } as never }, 'it is not well-formed'],
  ])('refused: %s', (_, more, why) => {
    const { counting, refused } = judged([made(more)]);
    expect(counting).toEqual([]);
    expect(refused.map((one) => one.why)).toEqual([expect.stringContaining(why)]);
  });

  it('refused: all of them without a valid ceiling', () => {
    expect(judged([made()], {}, null).refused).toMatchObject([{ why: expect.stringContaining('no valid ceiling') }]);
    expect(judged([made()], {}, []).refused).toMatchObject([
      { why: 'it is outside the ceiling: the ceiling is empty' },
    ]);
  });

  it('as long as it may last, to the millisecond', () => {
    expect(judged([made({ expires: NOW + HOUR })], { grant_duration_max_h: 1 }).counting).toHaveLength(1);
    expect(judged([made({ expires: NOW + HOUR + 1 })], { grant_duration_max_h: 1 }).refused).toMatchObject([
      { limit: 'grant_duration_max_h' },
    ]);
  });

  it('as many as there may be, the oldest first; revoked ones do not count', () => {
    const grants = [2, 1, 3].map((at) => made({ id: `g${at}`, created: NOW - at, expires: NOW + HOUR - at }));
    const { counting, refused } = judged([...grants, made({ id: 'r', created: NOW - 9, revoked: NOW })], {
      grants_max: 2,
    });
    expect(counting.map(({ grant }) => grant.id)).toEqual(['g3', 'g2']);
    expect(refused).toMatchObject([{ grant: { id: 'g1' }, limit: 'grants_max' }]);
  });

  it('is there for a day after its end, so that a refusal can say so', () => {
    const ended = (ago: number) => made({ created: NOW - 40 * HOUR, expires: NOW - ago });
    expect(judged([ended(ENDED_MS - 1)]).counting).toHaveLength(1);
    expect(judged([ended(ENDED_MS)])).toEqual({ counting: [], refused: [] });
  });
});
