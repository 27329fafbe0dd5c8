import { describe, expect, it } from 'vitest';
import { LineWriter } from '../../src/audit/line.ts';
import { parseLine } from '../../src/audit/parse.ts';
import type { Decided, Ended, Identity } from '../../src/policy/record.ts';
import fc from '../support/property.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const STAMP = { time: '2026-01-31T12:00:00.000Z', seq: 7, node: '"node-1"' };
const PREV = `,"prev":"${'0'.repeat(64)}"}`;

// Required<>: a key that record.ts gains must be given here, and is then missed in the line.
const DECIDED: Required<Decided> = {
  id: 'r1',
  identity: { kind: 'claimed', attributes: {}, claimed: { pipeline: 'web', job: 'j-1' } },
  client: '10.0.0.7',
  host: null,
  port: null,
  target: 'bad host',
  method: 'CONNECT',
  verdict: 'deny',
  reason: 'host-not-allowed',
  group: null,
  rule: null,
  policy: 'sha256:abc',
  tunnel: 'r0',
  path: '/acme/x?key=…',
  line: 'policy.yaml:7',
  nearest: { pattern: '*.s3.amazonaws.com', rule: 's3', why: 'one label more', fix: '{ host: "x" }' },
  addresses: ['192.0.2.1'],
  dropped: ['10.0.0.1 private'],
  outcome: 'host-not-allowed',
  user_agent: 'curl/8',
};
const BELOW = { tunnel: 'r0', path: '/acme/x', line: 'policy.yaml:7' };
const ENDED: Required<Ended> = { ...endedRecord({ id: 'r1' }), ...BELOW, address: '192.0.2.1:443', status: 200 };

describe('LineWriter', () => {
  const writer = new LineWriter(1_024);

  it('says how a job was known, and whose an address may be', () => {
    const identity: Identity = {
      ...{ kind: 'job', attributes: { pipeline: 'web', pipeline_id: 'p', build: '7' }, claimed: {} },
      ...{ via: 'lease', candidates: ['a', 'b"\u202e'] },
    };
    const text = writer.decided(STAMP, { ...DECIDED, identity }) + PREV;
    expect(parseLine(text)).toMatchObject({ identity });
    expect(Object.keys(JSON.parse(text).identity)).toEqual(['kind', 'attributes', 'claimed', 'via', 'candidates']);
  });

  it('writes every key of a decided record, in the order of the format', () => {
    const line = JSON.parse(writer.decided(STAMP, DECIDED) + PREV);
    expect(line).toEqual({
      time: STAMP.time,
      seq: 7,
      event: 'decided',
      node: 'node-1',
      ...DECIDED,
      prev: '0'.repeat(64),
    });
    expect(Object.keys(line).join(' ')).toBe(
      'time seq event id node identity client host port target method verdict reason group rule policy tunnel path line nearest addresses dropped outcome user_agent prev',
    );
  });

  it('writes every key of an ended record, in the order of the format', () => {
    const line = JSON.parse(writer.ended(STAMP, ENDED) + PREV);
    expect(line).toEqual({ time: STAMP.time, seq: 7, event: 'ended', node: 'node-1', ...ENDED, prev: '0'.repeat(64) });
    expect(Object.keys(line).join(' ')).toBe(
      'time seq event id node identity client host port method verdict reason group rule policy tunnel path line outcome bytes_up bytes_down duration_ms address status prev',
    );
  });

  it('writes a note with its detail', () => {
    const detail = { count: 3, why: 'a"b', gone: null, yes: true };
    const line = JSON.parse(writer.note(STAMP, { event: 'mode', policy: 'p', detail }) + PREV);
    expect(line).toEqual({
      time: STAMP.time,
      seq: 7,
      event: 'mode',
      node: 'node-1',
      policy: 'p',
      detail,
      prev: '0'.repeat(64),
    });
  });

  it('gives one line of ASCII that reads back as sound, whatever a client sends', () => {
    const text = fc.string({ unit: 'binary', maxLength: 80 });
    fc.assert(
      fc.property(text, text, text, text, (host, target, agent, name) => {
        const identity: Identity = { kind: 'claimed', attributes: {}, claimed: { pipeline: name } };
        const record = decidedRecord({ id: 'r1', host, target, method: name, user_agent: agent, identity });
        const line = writer.decided(STAMP, record) + PREV;
        expect(line).toMatch(/^[\x20-\x7e]+$/);
        const parsed = parseLine(line);
        expect(parsed).toMatchObject({ event: 'decided', host, verdict: 'allow', seq: 7 });
      }),
      { numRuns: 500 },
    );
  });

  it('says path and line of a request inside an inspected CONNECT alone, and no value of its query', () => {
    const inside = decidedRecord({ id: 'r2', method: 'POST', tunnel: 'r1', path: '/x?token=SECRET&page=2' });
    const line = writer.decided(STAMP, inside) + PREV;
    expect(parseLine(line)).toMatchObject({ tunnel: 'r1', path: '/x?token=…&page=…' });
    expect(line).not.toContain('SECRET');
    expect(writer.decided(STAMP, decidedRecord({ id: 'r2', path: '/x' }))).not.toContain('path');
    expect(parseLine(line.replace('"/x?token=\\u2026&page=\\u2026"', '7'))).toBeNull();
    const capped = new LineWriter(16).decided(STAMP, { ...inside, path: `/${'x'.repeat(50)}` }) + PREV;
    expect(parseLine(capped)).toMatchObject({ path: `/${'x'.repeat(15)}…[cut 35]` });
  });

  it('keeps credentials out of the target, the user agent and claimed names', () => {
    const identity: Identity = { kind: 'claimed', attributes: {}, claimed: { pipeline: 'Bearer SECRET' } };
    const line = writer.decided(
      STAMP,
      decidedRecord({
        id: 'r',
        target: 'http://u:SECRET@h/',
        user_agent: 'x Proxy-Authorization: Basic SECRET',
        identity,
      }),
    );
    expect(line).not.toContain('SECRET');
  });

  it('caps untrusted text, so that a line stays far below what a reader takes', () => {
    const long = '\u0001'.repeat(300_000);
    const identity: Identity = { kind: 'claimed', attributes: {}, claimed: { pipeline: long, job: long } };
    const line = new LineWriter(8_192).decided(
      STAMP,
      decidedRecord({ id: 'r', host: long, target: long, user_agent: long, method: long, identity }),
    );
    expect(line.length).toBeLessThan(300_000);
    expect(line).toContain('\\u2026[cut ');
  });

  it('stays a sound line where a counter went wrong', () => {
    const line = writer.ended(STAMP, endedRecord({ id: 'r', bytes_up: Number.NaN, bytes_down: -1, duration_ms: 1.5 }));
    expect(parseLine(line + PREV)).toMatchObject({ bytes_up: 0, bytes_down: 0, duration_ms: 2 });
  });
});

describe('parseLine', () => {
  const good = JSON.parse(new LineWriter(100).decided(STAMP, decidedRecord({ id: 'r' })) + PREV);

  it.each([
    ['text', 'nonsense'],
    ['a number', '7'],
    ['null', 'null'],
    ['an array', '[]'],
    ['an empty object', '{}'],
    ...[
      'time',
      'seq',
      'event',
      'id',
      'node',
      'identity',
      'client',
      'host',
      'port',
      'method',
      'verdict',
      'reason',
      'group',
      'rule',
      'policy',
      'prev',
    ].map((key) => [`a line without ${key}`, JSON.stringify({ ...good, [key]: undefined })]),
    ['an unknown verdict', JSON.stringify({ ...good, verdict: 'maybe' })],
    ['an unknown event', JSON.stringify({ ...good, event: 'else' })],
    ...[
      'yesterday',
      '2026-01-31T12:00:00Z',
      '2026-01-31T12:00:00.000+01:00',
      '2026-13-31T12:00:00.000Z',
      '2026-01-31T24:00:00.000Z',
      '2026-01-31 12:00:00.000',
      // Date.parse takes whatever stands in parentheses for a remark.
      '2026-01-31 12:00 (\u001b[2J)',
      '2026-01-31T12:00:00.000Z\n',
    ].map((time) => [`the time ${JSON.stringify(time)}`, JSON.stringify({ ...good, time })]),
    ['a negative seq', JSON.stringify({ ...good, seq: -1 })],
    ['a reason that is no code', JSON.stringify({ ...good, reason: 'a b' })],
    ['an ended line without bytes', JSON.stringify({ ...good, event: 'ended', outcome: 'closed' })],
  ])('refuses %s', (_what, text) => {
    expect(parseLine(text ?? '')).toBeNull();
  });

  it('takes a sound line', () => {
    expect(parseLine(JSON.stringify(good))).toEqual(good);
  });
});
