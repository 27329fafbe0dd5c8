// The ring of events and its watchers: bounded, in order, and honest about what it no longer has.
import { describe, expect, it } from 'vitest';
import { Feed, type FeedEvent, wanted } from '../../src/admin/feed.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import { ANONYMOUS, type Decided, type Ended, type Identity } from '../../src/policy/record.ts';

const record = (host: string, verdict: Decided['verdict'] = 'deny', identity: Identity = ANONYMOUS): Decided => ({
  id: host,
  identity,
  client: '127.0.0.1',
  host,
  port: 443,
  method: 'CONNECT',
  verdict,
  reason: verdict === 'allow' ? 'allowed' : 'host-not-allowed',
  group: null,
  rule: null,
  policy: 'sha256:0',
});

function feedOf(max: number) {
  const meter = createMeter();
  const limits = { ...DEFAULT_LIMITS, admin_events_max: max };
  return { meter, feed: new Feed({ boot: 'b', limits, meter, now: () => 0 }) };
}
const hosts = (events: readonly FeedEvent[]) => events.map(({ record }) => ('host' in record ? record.host : null));

const ended = (verdict: Ended['verdict']): FeedEvent => {
  const { addresses: _, ...facts } = record('a', verdict);
  const { outcome: __, nearest: ___, ...rest } = facts;
  return {
    kind: 'ended',
    number: 1,
    atMs: 0,
    record: { ...rest, outcome: 'closed', bytes_up: 0, bytes_down: 0, duration_ms: 1 },
  };
};

describe('the feed', () => {
  it('gives what came after a number, oldest first', () => {
    const { feed, meter } = feedOf(16);
    for (const host of ['a', 'b', 'c']) feed.decided(record(host));
    expect(hosts(feed.since(1).events)).toEqual(['b', 'c']);
    expect(feed.since(3)).toEqual({ events: [], missed: 0 });
    expect(feed.since(99)).toEqual({ events: [], missed: 0 });
    expect(meter.hits.size).toBe(0);
  });

  it('keeps so many, and counts what a reader comes back too late for', () => {
    const { feed, meter } = feedOf(3);
    for (const host of ['a', 'b', 'c', 'd', 'e']) feed.decided(record(host));
    const { events, missed } = feed.since(1);
    expect([hosts(events), missed]).toEqual([['c', 'd', 'e'], 1]);
    expect(meter.hits.get('admin_events_max')).toBe(1);
    expect(feed.since(2)).toMatchObject({ missed: 0 });
  });

  it('tells watchers in the same turn until they leave', () => {
    const { feed } = feedOf(3);
    const heard: string[] = [];
    const stop = feed.watch(({ kind, number }) => heard.push(`${kind} ${number}`));
    feed.decided(record('a'));
    feed.note({ event: 'reopen', policy: '', detail: {} });
    stop();
    feed.decided(record('b'));
    expect([heard, feed.watchers]).toEqual([['decided 1', 'note 2'], 0]);
  });

  it('of ended records, who wants refusals gets those that a check cut alone', () => {
    const filter = { denied: true, host: null, pipeline: null };
    expect([ended('deny'), ended('observe'), ended('allow')].map((event) => wanted(event, filter))).toEqual([
      true,
      false,
      false,
    ]);
  });

  it.each<[string, Decided, Partial<Parameters<typeof wanted>[1]>, boolean]>([
    ['what was refused', record('a.test'), { denied: true }, true],
    ['what would have been', record('a.test', 'observe'), { denied: true }, true],
    ['what was let through', record('a.test', 'allow'), { denied: true }, false],
    ['a host of the glob', record('a.b.test'), { host: '*.test' }, true],
    ['another host', record('a.test.evil'), { host: '*.test' }, false],
    ['a host that could not be read', { ...record(''), host: null }, { host: 'a*' }, false],
    [
      'a proven pipeline',
      record('a', 'deny', { kind: 'job', attributes: { pipeline: 'web' }, claimed: {} }),
      { pipeline: 'w*' },
      true,
    ],
    [
      'a claimed pipeline',
      record('a', 'deny', { kind: 'claimed', attributes: {}, claimed: { pipeline: 'web' } }),
      { pipeline: 'web' },
      true,
    ],
    ['nobody', record('a'), { pipeline: 'web' }, false],
  ])('a filter takes or leaves %s', (_, decided, filter, takes) => {
    const event: FeedEvent = { kind: 'decided', record: decided, number: 1, atMs: 0 };
    expect(wanted(event, { denied: false, host: null, pipeline: null, ...filter })).toBe(takes);
  });
});
