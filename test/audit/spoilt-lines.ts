// Lines of a log for property tests of its readers: whatever can be recorded, hostile text included, and whatever becomes of it.

import { LineWriter } from '../../src/audit/line.ts';
import type { Decided, Ended, Identity, Verdict } from '../../src/policy/record.ts';
import fc from '../support/property.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

/** The end of a line; readers check its shape, not the hash. */
export const PREV = `,"prev":"${'0a'.repeat(32)}"}`;

/** Up to 24 lines; each that is spoilt stands after itself as it was, so that a reader has its facts at hand. */
export function spoiltLines(): fc.Arbitrary<string[]> {
  const writer = new LineWriter(64);
  const hostile = fc.oneof(
    fc.constantFrom('a', 'b.example', '","addresses":["x"]', '","outcome":"closed"', '\\', '"', '\u2028', '\ud800'),
    fc.string({ unit: 'binary', maxLength: 12 }),
  );
  const text = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('web', 'api.example') },
    { weight: 1, arbitrary: hostile },
  );
  const identity: fc.Arbitrary<Identity> = fc.record({
    kind: fc.constantFrom('anonymous', 'claimed', 'address', 'job'),
    attributes: fc.record({ pipeline: text, job: text }, { requiredKeys: [] }),
    claimed: fc.record({ pipeline: text }, { requiredKeys: [] }),
  });
  const common = fc.record({
    id: fc.oneof(fc.constantFrom('r1', 'r2', 'r3'), text),
    identity,
    client: text,
    host: fc.oneof(fc.constant(null), text),
    port: fc.oneof(fc.constant(null), fc.nat(65_535)),
    method: fc.oneof(fc.constant('CONNECT'), text),
    verdict: fc.constantFrom<Verdict>('allow', 'allow', 'deny', 'observe'),
    rule: fc.oneof(fc.constant(null), text),
  });
  const ends = fc.record({
    bytes_up: fc.nat(),
    bytes_down: fc.maxSafeNat(),
    outcome: fc.constantFrom('closed', 'idle-timeout'),
  });
  const begins = fc.record(
    {
      addresses: fc.oneof(fc.array(text, { maxLength: 2 }), fc.constant(undefined)),
      user_agent: text,
      target: text,
      dropped: fc.array(text, { maxLength: 1 }),
      outcome: fc.constantFrom('dns-failed', 'dns-timeout'),
      nearest: fc.record({ pattern: text, rule: fc.constant(null), why: text, fix: text }),
    },
    { requiredKeys: [] },
  );
  const stamp = fc.record({
    second: fc.nat(9),
    millis: fc.nat(999),
    hour: fc.nat(2),
    seq: fc.integer({ min: 1, max: 1e9 }),
    node: fc.constantFrom('"n"', '"m"'),
  });
  const line = fc
    .tuple(stamp, common, ends, begins, fc.boolean())
    .map(([{ second, millis, hour, seq, node }, facts, end, begin, whether]) => {
      const time = new Date(Date.UTC(2026, 0, 31, 12 + hour, 0, second, millis)).toISOString();
      const at = { time, seq, node };
      const text = whether
        ? writer.decided(at, { ...decidedRecord({ id: '' }), ...facts, ...begin } as Decided)
        : writer.ended(at, { ...endedRecord({ id: '' }), ...facts, ...end } as Ended);
      return text + PREV;
    });
  const spoil = fc.record({
    at: fc.nat(700),
    gone: fc.nat(3),
    put: fc.constantFrom('', '"', '\\', '0', ',', '}', '\u0001', 'é', ',"node":"x"'),
  });
  const lines = fc.array(fc.tuple(line, fc.option(spoil, { freq: 2 })), { minLength: 1, maxLength: 12 });
  return lines.map((made) =>
    made.flatMap(([text, harm]) =>
      harm === null ? [text, text] : [text, text.slice(0, harm.at) + harm.put + text.slice(harm.at + harm.gone)],
    ),
  );
}
