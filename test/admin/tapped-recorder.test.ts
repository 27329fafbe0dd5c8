// What watchers are told is what the audit log has: the same line, with the secrets taken out, also where the disk takes nothing.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Feed } from '../../src/admin/feed.ts';
import { TappedRecorder } from '../../src/admin/tapped-recorder.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import { Disk, errorOf, ScratchLog } from '../support/audit.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const allowed = decidedRecord({ id: 'r1' });
const secret = decidedRecord({
  id: 'r2',
  host: null,
  port: null,
  verdict: 'deny',
  reason: 'target-malformed',
  outcome: 'target-malformed',
  target: 'https://ci:hunter2@a.test/x?sig=hunter2',
  user_agent: 'x Authorization: Bearer hunter2',
});
const ended = endedRecord({ id: 'r1' });

let scratch: ScratchLog;
beforeEach(() => {
  scratch = new ScratchLog();
});
afterEach(() => scratch.close());

function watched(over: Parameters<ScratchLog['open']>[0] = {}) {
  const feed = new Feed({ boot: 'b', limits: DEFAULT_LIMITS, meter: createMeter() });
  const failures: unknown[] = [];
  const log = scratch.open(over);
  const recorder = new TappedRecorder(log, [feed], (error) => failures.push(error));
  const told = (): object[] => feed.since(0).events.map(({ text }) => JSON.parse(text));
  return { feed, log, recorder, told, failures };
}

/** A line of the file as it is told: without its number and its place in the chain. */
const shown = (line: object): object => {
  const { seq: _, prev: __, ...rest } = line as Record<string, unknown>;
  return rest;
};

describe('what watchers are told', () => {
  it('is what stands in the log, without secrets', () => {
    const { log, recorder, told, failures } = watched();
    recorder.decided(allowed);
    recorder.decided(secret);
    recorder.ended(ended);
    recorder.note({ event: 'mode', policy: 'p', detail: { by: 'https://ci:hunter2@b.test' } });
    log.close();
    expect(JSON.stringify(told())).not.toContain('hunter2');
    expect(told()).toEqual(scratch.lines().map(shown));
    expect([told().length, failures]).toEqual([4, []]);
  });

  it('of a full disk is the same of what goes on all the same, and nothing of what is refused', () => {
    const disk = new Disk();
    const dropping = watched({ calls: disk, whenFull: 'drop-and-mark' });
    dropping.recorder.decided(allowed);
    disk.full = true;
    dropping.recorder.decided(secret);
    dropping.recorder.ended(ended);
    dropping.recorder.note({ event: 'mode', policy: 'p', detail: {} });
    expect(dropping.told()).toMatchObject([
      { id: 'r1' },
      { id: 'r2', event: 'decided' },
      { id: 'r1' },
      { event: 'mode' },
    ]);
    expect(JSON.stringify(dropping.told())).not.toContain('hunter2');
    disk.full = false;
    scratch.close();

    scratch = new ScratchLog();
    const refusing = watched({ calls: disk });
    disk.full = true;
    expect(errorOf(() => refusing.recorder.decided(secret)).code).toBe('audit-unwritable');
    expect(refusing.told()).toEqual([]);
    disk.full = false;
  });
});
