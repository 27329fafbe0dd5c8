import { describe, expect, it } from 'vitest';
import { asRead } from '../../src/audit/line-reader.ts';
import type { Decided, DecidedLine, Ended, EndedLine, Identity, Line } from '../../src/policy/record.ts';
import { ASKERS_MAX, Recent } from '../../src/usage/recent.ts';
import {
  addLine,
  createTally,
  type DayPaths,
  type HourNames,
  keyOfActor,
  keyOfTarget,
  OVERFLOW,
  type Tally,
} from '../../src/usage/tally.ts';
import fc from '../support/property.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const HOUR = 3_600_000;
const stamp = { time: '1970-01-01T00:00:00.000Z', seq: 1, node: 'n' };
const decided = (id: string, over: Partial<Decided> = {}): DecidedLine => ({
  ...stamp,
  event: 'decided',
  ...decidedRecord({ id, ...over }),
});
const ended = (id: string, over: Partial<Ended> = {}): EndedLine => ({
  ...stamp,
  event: 'ended',
  ...endedRecord({ id, ...over }),
});

function bounded(max = 1_000) {
  const hours = new Map<number, HourNames>();
  const names = (hour: number) => {
    const known = hours.get(hour) ?? {
      targets: new Set<string>(),
      actors: new Set<string>(),
      claimed: new Set<string>(),
    };
    hours.set(hour, known);
    return known;
  };
  const days = new Map<number, DayPaths>();
  const paths = (day: number) => {
    const known = days.get(day) ?? new Map();
    days.set(day, known);
    return known;
  };
  return { names, namesPerHour: max, paths, pathsPerDay: max, recent: new Recent() };
}

function fold(lines: readonly (readonly [Line, number])[], max?: number): Tally {
  const tally = createTally();
  const bounds = bounded(max);
  for (const [line, ms] of lines) {
    addLine(tally, { ...asRead({ ...line, prev: '' }), ms }, `text of ${'id' in line ? line.id : ''}`, bounds);
  }
  return tally;
}

const rows = (tally: Tally) =>
  [...tally.rows.values()].map((row) => ({
    ...row,
    host: tally.targets.get(row.target)?.host,
    actor: tally.actors.get(row.actor),
  }));

describe('a request counts once, by the line that finishes it', () => {
  it('at its ended line where it was let through', () => {
    const tally = fold([
      [decided('a'), 10],
      [ended('a', { bytes_up: 3, bytes_down: 4 }), HOUR + 20],
    ]);
    expect(rows(tally)).toMatchObject([
      {
        hour: 1,
        node: 'n',
        host: 'github.com',
        kind: 'connect',
        verdict: 'allow',
        outcome: 'closed',
        requests: 1,
        bytes_up: 3,
        bytes_down: 4,
        first_seen: HOUR + 20,
      },
    ]);
    expect([tally.opened.size, tally.closed.size]).toEqual([0, 0]);
    expect(tally.windows.get('n')).toEqual({ first: 10, last: HOUR + 20 });
  });

  it('at its decided line where that refuses or has an outcome', () => {
    const tally = fold([
      [decided('a', { verdict: 'deny', reason: 'host-denied' }), 1],
      [decided('b', { outcome: 'dns-failed' }), 2],
    ]);
    expect(rows(tally)).toMatchObject([
      { verdict: 'deny', reason: 'host-denied', outcome: '', requests: 1 },
      { verdict: 'allow', outcome: 'dns-failed', requests: 1 },
    ]);
    expect(tally.opened.size).toBe(0);
  });

  it('as denied where the tunnel was cut after its 200', () => {
    const tally = fold([
      [decided('a'), 1],
      [ended('a', { verdict: 'deny', reason: 'sni-mismatch', outcome: 'sni-mismatch' }), 2],
    ]);
    expect(rows(tally)).toMatchObject([{ verdict: 'deny', reason: 'sni-mismatch', requests: 1 }]);
    expect([...tally.denials.values()]).toEqual([
      { reason: 'sni-mismatch', nearest: '', rule: 'github-com', last_seen: 2 },
    ]);
  });

  it('and is open until then', () => {
    const tally = fold([[decided('a'), 1]]);
    expect(rows(tally)).toEqual([]);
    expect(tally.opened.get('a')).toEqual({ node: 'n', line: 'text of a' });
    expect([...fold([[ended('b'), 1]]).closed]).toEqual(['b']);
  });

  it('but not beyond the start of its node', () => {
    const start: Line = { ...stamp, event: 'start', policy: '', detail: {} };
    const tally = fold([
      [decided('a'), 1],
      [{ ...decided('b'), node: 'other' }, 1],
      [start, 2],
      [decided('c'), 3],
    ]);
    expect([...tally.opened.keys()]).toEqual(['b', 'c']);
    expect([...tally.started]).toEqual(['n']);
  });
});

describe('dimensions', () => {
  it('adds up what is alike, and splits by hour, verdict and kind', () => {
    const tally = fold([
      [ended('a'), 1],
      [ended('b'), 5],
      [ended('c', { method: 'GET' }), 3],
      [ended('d'), HOUR],
      [ended('e', { verdict: 'observe', reason: 'host-not-allowed' }), 4],
    ]);
    expect(rows(tally)).toMatchObject([
      {
        hour: 0,
        kind: 'connect',
        verdict: 'allow',
        requests: 2,
        bytes_up: 200,
        bytes_down: 4_000,
        first_seen: 1,
        last_seen: 5,
      },
      { hour: 0, kind: 'forward', requests: 1 },
      { hour: 1, kind: 'connect', requests: 1 },
      { hour: 0, verdict: 'observe', reason: 'host-not-allowed' },
    ]);
  });

  it('takes the proven attributes, and of a claimed identity the claimed ones', () => {
    const claimed: Identity = { kind: 'claimed', attributes: {}, claimed: { pipeline: 'web', job: 'j' } };
    const proven: Identity = { kind: 'job', attributes: { pipeline: 'api' }, claimed: { pipeline: 'lie' } };
    const tally = fold([
      [ended('a', { identity: claimed, client: '10.0.0.1' }), 1],
      [ended('b', { identity: proven }), 1],
    ]);
    expect(rows(tally).map((row) => row.actor)).toMatchObject([
      { kind: 'claimed', pipeline: 'web', job: 'j', client: '10.0.0.1' },
      { kind: 'job', pipeline: 'api', job: '' },
    ]);
  });

  it('never takes two actors for one, whatever is in their names', () => {
    const text = fc.string({ unit: fc.constantFrom('a', ':', '1', '\0', ''), maxLength: 4 });
    const actor = fc.record({
      kind: text,
      organization: text,
      pipeline: text,
      branch: text,
      step: text,
      queue: text,
      job: text,
      agent: text,
      user: text,
      client: text,
    });
    fc.assert(
      fc.property(actor, actor, (a, b) => {
        expect(keyOfActor(a) === keyOfActor(b)).toBe(JSON.stringify(a) === JSON.stringify(b));
      }),
      { numRuns: 500 },
    );
    expect(keyOfTarget({ host: '1', port: 1 })).not.toBe(keyOfTarget({ host: '11', port: 0 }));
  });

  it('puts what could not be parsed under an empty host', () => {
    const tally = fold([[decided('a', { host: null, port: null, verdict: 'deny', reason: 'authority-malformed' }), 1]]);
    expect([...tally.targets.values()]).toEqual([{ host: '', port: 0 }]);
  });
});

describe('bounds', () => {
  it('counts hosts beyond the bound together, in each hour anew', () => {
    const lines = Array.from(
      { length: 150 },
      (_, n) => [ended(`r${n}`, { host: `h${n % 50}.example` }), n < 100 ? 1 : HOUR] as const,
    );
    const tally = fold(lines, 20);
    const hourly = rows(tally).filter((row) => row.hour === 0);
    expect(hourly).toHaveLength(21);
    expect(hourly.find((row) => row.host === OVERFLOW)).toMatchObject({ requests: 60 });
    expect(rows(tally).reduce((sum, row) => sum + row.requests, 0)).toBe(150);
  });

  it('counts invented names of askers beyond the bound together', () => {
    const lines = Array.from({ length: 50 }, (_, n) => {
      const identity: Identity = { kind: 'claimed', attributes: {}, claimed: { job: `j${n}` } };
      return [ended(`r${n}`, { identity }), 1] as const;
    });
    const tally = fold(lines, 20);
    expect(rows(tally)).toHaveLength(21);
    expect(rows(tally).find((row) => row.actor?.kind === OVERFLOW)).toMatchObject({ requests: 30 });
  });
});

describe('the last denial of a target', () => {
  const nearest = { pattern: '*.s3.amazonaws.com', rule: 's3', why: 'w', fix: 'f' };

  it('has its nearest miss, also where it was only observed', () => {
    const tally = fold([
      [decided('a', { verdict: 'observe', reason: 'host-not-allowed', nearest, rule: null }), 5],
      [ended('a', { verdict: 'observe', reason: 'host-not-allowed' }), 6],
    ]);
    expect([...tally.denials.values()]).toEqual([
      { reason: 'host-not-allowed', nearest: JSON.stringify(nearest), rule: '', last_seen: 5 },
    ]);
  });

  it('is the latest by time', () => {
    const tally = fold([
      [decided('a', { verdict: 'deny', reason: 'host-denied' }), 9],
      [decided('b', { verdict: 'deny', reason: 'host-not-allowed' }), 8],
    ]);
    expect([...tally.denials.values()]).toMatchObject([{ reason: 'host-denied', last_seen: 9 }]);
  });
});

describe('what was let through within the last second', () => {
  const facts = (host: string, client: string) => ({ ...decided('x', { host, client }) });

  it('is known by asker, across the turn of a second, and no longer than one', () => {
    const recent = new Recent();
    recent.add(facts('a.example', '10.0.0.1'), 1_900);
    recent.add(facts('b.example', '10.0.0.2'), 2_100);
    expect(recent.before(facts('c.example', '10.0.0.1'), 2_900)).toEqual({ host: 'a.example', port: 443 });
    expect(recent.before(facts('c.example', '10.0.0.1'), 2_901)).toBeNull();
    expect(recent.before(facts('c.example', '10.0.0.3'), 2_100)).toBeNull();
    // A clock that went back.
    expect(recent.before(facts('c.example', '10.0.0.2'), 2_000)).toBeNull();
    // The same target: another path, or another rule.
    expect(recent.before(facts('b.example', '10.0.0.2'), 2_200)).toBeNull();
  });

  it('is remembered of so many askers; those beyond are not linked, and those before are', () => {
    const recent = new Recent();
    for (let n = 0; n <= ASKERS_MAX; n++) recent.add(facts('a.example', `client-${n}`), 5_000);
    expect(recent.before(facts('c.example', `client-${ASKERS_MAX - 1}`), 5_000)).not.toBeNull();
    expect(recent.before(facts('c.example', `client-${ASKERS_MAX}`), 5_000)).toBeNull();
  });
});

describe('a request inside an inspected CONNECT', () => {
  const inside = (over: Partial<Decided> = {}) => ({ tunnel: 't', method: 'GET', path: '/acme/x?a=…', ...over });
  const proven: Identity = { kind: 'job', attributes: { pipeline: 'web', job: 'j1', branch: 'main' }, claimed: {} };
  const refused = { verdict: 'deny', reason: 'request-not-allowed', outcome: 'request-not-allowed' } as const;
  const nearest = { pattern: 'GET /acme/**', rule: 'p:1', why: 'x', fix: '' };
  const told = (tally: Tally) =>
    [...tally.paths.values()].map(({ method, path, verdict, requests, bytes_up, bytes_down, actor, hour }) => {
      const { pipeline = '', job = '', client = '' } = tally.actors.get(actor) ?? {};
      return [hour, method, path, verdict, requests, bytes_up, bytes_down, pipeline, job, client];
    });

  it('is counted below its host by the day, and not among the tunnels', () => {
    const more = { identity: proven };
    const tally = fold([
      [decided('t', more), 1],
      [decided('a', inside(more)), 2],
      [ended('a', { ...inside(more), bytes_up: 5, bytes_down: 7 }), 3],
      [decided('b', inside(more)), 23 * HOUR],
      [ended('b', { ...inside(more), bytes_up: 1, bytes_down: 1 }), 23 * HOUR + 1],
      [decided('c', inside({ ...more, ...refused, nearest, method: 'POST' })), 24 * HOUR],
      [ended('t', more), 24 * HOUR + 1],
    ]);
    expect(told(tally)).toEqual([
      [0, 'GET', '/acme/x', 'allow', 2, 6, 8, 'web', '', ''],
      [24, 'POST', '/acme/x', 'deny', 1, 0, 0, 'web', 'j1', '10.0.0.7'],
    ]);
    expect(rows(tally)).toMatchObject([{ requests: 1, bytes_up: 100, bytes_down: 2_000, kind: 'connect' }]);
    expect([...tally.paths.values()].map((row) => row.nearest)).toEqual(['', JSON.stringify(nearest)]);
    expect([...tally.denials]).toEqual([]);
    expect([...tally.opened]).toEqual([]);
  });

  it('is open until it has ended', () => {
    expect([...fold([[decided('a', inside()), 2]]).opened.keys()]).toEqual(['a']);
    expect([...fold([[ended('a', inside()), 2]]).closed]).toEqual(['a']);
  });

  it('counts without its path beyond the bound of a host and day', () => {
    const one = (id: string, path: string, ms: number, host = 'github.com') =>
      [decided(id, { ...inside({ ...refused, path }), host }), ms] as const;
    const tally = fold(
      [
        ...['/a', '/b', '/c', '/d', '/a'].map((path, n) => one(`${n}`, path, n)),
        one('x', '/c', 5, 'other.example'),
        one('y', '/c', 24 * HOUR),
      ],
      2,
    );
    expect([...tally.paths.values()].map(({ path, method, requests }) => [path, method, requests])).toEqual([
      ['/a', 'GET', 2],
      ['/b', 'GET', 1],
      [OVERFLOW, '', 2],
      ['/c', 'GET', 1],
      ['/c', 'GET', 1],
    ]);
  });

  it('keeps no more of a path than an index takes', () => {
    const tally = fold([[decided('a', inside({ ...refused, path: `/${'\u{1F600}'.repeat(2_000)}\0` })), 1]]);
    const [row] = [...tally.paths.values()];
    expect(Buffer.byteLength(row?.path ?? '')).toBeLessThan(1_600);
    expect(row?.path.isWellFormed()).toBe(true);
  });
});
