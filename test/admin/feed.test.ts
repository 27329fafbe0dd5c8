// The ring of events and its watchers: bounded, in order, and honest about what it no longer has.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { Feed, FeedEvent, type FeedFilter, wanted } from '../../src/admin/feed.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import { ANONYMOUS, type Decided, type Ended, type Identity, type Note } from '../../src/policy/record.ts';
import fc from '../support/property.ts';

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
  return { meter, feed: new Feed({ boot: 'b', limits, meter }) };
}
const ALL: FeedFilter = { denied: false, host: null, pipeline: null };

/** As the audit log writes it: the time, its number, the record, the hash of the line before. */
function lineOf(event: string, record: Decided | Ended | Note): string {
  const { event: _, ...rest } = { event, ...record };
  return JSON.stringify({ time: TIME, seq: 7, event, ...rest, prev: '0'.repeat(64) });
}
const TIME = '2026-01-01T00:00:00.000Z';
const decide = (feed: Feed, decided: Decided): void => feed.decided(decided, lineOf('decided', decided));
const hosts = (events: readonly FeedEvent[]) => events.map(({ record }) => ('host' in record ? record.host : null));

const ended = (verdict: Ended['verdict']): FeedEvent => {
  const { addresses: _, ...facts } = record('a', verdict);
  const { outcome: __, nearest: ___, ...rest } = facts;
  const end: Ended = { ...rest, outcome: 'closed', bytes_up: 0, bytes_down: 0, duration_ms: 1 };
  return new FeedEvent(1, lineOf('ended', end));
};

describe('the feed', () => {
  it('gives what came after a number, oldest first', () => {
    const { feed, meter } = feedOf(16);
    for (const host of ['a', 'b', 'c']) decide(feed, record(host));
    expect(hosts(feed.since(1).events)).toEqual(['b', 'c']);
    expect(feed.since(3)).toEqual({ events: [], missed: 0 });
    expect(feed.since(99)).toEqual({ events: [], missed: 0 });
    expect(meter.hits.size).toBe(0);
  });

  it('keeps so many, and counts what a reader comes back too late for', () => {
    const { feed, meter } = feedOf(3);
    for (const host of ['a', 'b', 'c', 'd', 'e']) decide(feed, record(host));
    const { events, missed } = feed.since(1);
    expect([hosts(events), missed]).toEqual([['c', 'd', 'e'], 1]);
    expect(meter.hits.get('admin_events_max')).toBe(1);
    expect(feed.since(2)).toMatchObject({ missed: 0 });
  });

  it('tells watchers in the same turn until they leave', () => {
    const { feed } = feedOf(3);
    const heard: string[] = [];
    const stop = feed.watch(({ kind, number }) => heard.push(`${kind} ${number}`));
    decide(feed, record('a'));
    const reopen: Note = { event: 'reopen', policy: '', detail: {} };
    feed.note(reopen, lineOf('reopen', reopen));
    stop();
    decide(feed, record('b'));
    expect([heard, feed.watchers]).toEqual([['decided 1', 'note 2'], 0]);
  });

  it('gives the lines of the audit log, without their number and their place in the chain', () => {
    const { feed } = feedOf(3);
    const asked = record('a","prev":"x');
    decide(feed, asked);
    feed.decided(asked, `${lineOf('decided', asked).slice(0, lineOf('decided', asked).lastIndexOf(',"prev"'))}}`);
    for (const event of feed.since(0).events)
      expect(JSON.parse(event.text)).toEqual({ time: TIME, event: 'decided', ...asked });
  });

  it('finds the last that are wanted, however many came between', () => {
    const { feed } = feedOf(16);
    for (const host of ['a', 'b', 'c', 'd']) decide(feed, record(host, host < 'c' ? 'deny' : 'allow'));
    expect(hosts(feed.latest(2, ALL))).toEqual(['c', 'd']);
    expect(hosts(feed.latest(1, { ...ALL, denied: true }))).toEqual(['b']);
    expect(hosts(feed.latest(9, { ...ALL, host: 'a' }))).toEqual(['a']);
    expect(feed.latest(0, ALL)).toEqual([]);
  });

  it('keeps fewer of long lines, and nothing that a longer one would have to lie beside', () => {
    const { feed } = feedOf(4);
    const long = (host: string, bytes: number): Decided => ({ ...record(host), user_agent: 'x'.repeat(bytes) });
    for (const host of ['a', 'b', 'c']) decide(feed, long(host, 1_500));
    expect(hosts(feed.since(0).events)).toEqual(['b', 'c']);
    decide(feed, long('d', 8_000));
    expect(feed.since(0)).toEqual({ events: [], missed: 4 });
    decide(feed, record('e'));
    expect(hosts(feed.since(0).events)).toEqual(['e']);
  });

  it('is a queue of lines, whatever their lengths', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3_000), { maxLength: 60 }), (sizes) => {
        const { feed } = feedOf(8);
        const lines = sizes.map((size, at) => lineOf('decided', { ...record(`h${at}`), user_agent: 'x'.repeat(size) }));
        for (const line of lines) feed.decided(JSON.parse(line), line);
        const { events, missed } = feed.since(0);
        expect(missed + events.length).toBe(lines.length);
        expect(events.map(({ number }) => number)).toEqual(events.map((_, at) => missed + 1 + at));
        expect(events.map((event) => event.record)).toEqual(lines.slice(missed).map((line) => JSON.parse(line)));
        // What has room is kept: eight of them, or as many as fill the bytes of eight but for the gap at its end.
        const kept = lines.slice(missed === 0 ? 0 : missed - 1);
        const fits = kept.length <= 8 && kept.reduce((sum, line) => sum + line.length, 0) <= 8_192 - 4_000;
        if (missed > 0) expect(fits).toBe(false);
      }),
    );
  });

  it('keeps no record alive', async () => {
    const { feed } = feedOf(16);
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const known = Array.from({ length: 8 }, (_, at) => {
      const one = record(`h${at}`);
      decide(feed, one);
      return new WeakRef(one);
    });
    await new Promise(setImmediate);
    collect();
    expect(known.filter((one) => one.deref() !== undefined)).toEqual([]);
    expect(feed.since(0).events).toHaveLength(8);
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
    const event = new FeedEvent(1, lineOf('decided', decided));
    expect(wanted(event, { ...ALL, ...filter })).toBe(takes);
  });
});
