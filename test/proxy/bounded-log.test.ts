// What a client can cause is said once a second with a count, whatever it is: limits, a full disk, faults of the proxy's own.
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BoundedLog } from '../../src/proxy/bounded-log.ts';
import { allowing, connectHead, rawOrigin, startRig } from './support.ts';

const HOST = 'a.test';

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly times?: number;
  readonly n?: number;
}

// The window alone is stopped; sockets keep their time.
beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

const parsed = (text: string): Line[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);

describe('the log that requests write to', () => {
  function bounded(): { log: BoundedLog; lines: () => Line[] } {
    let text = '';
    return {
      log: new BoundedLog(
        pino(
          {},
          {
            write: (line: string) => {
              text += line;
            },
          },
        ),
      ),
      lines: () => parsed(text),
    };
  }

  it('says a message at once, then once a second with its count and its last fields, as long as it comes', () => {
    const { log, lines } = bounded();
    for (let n = 1; n <= 10_000; n++) log.error({ n }, 'a fault');
    expect(lines()).toMatchObject([{ level: 50, msg: 'a fault', n: 1 }]);
    vi.advanceTimersByTime(1_000);
    expect(lines().slice(1)).toMatchObject([{ level: 50, msg: 'a fault', n: 10_000, times: 9_999 }]);
    log.error({ n: 10_001 }, 'a fault');
    vi.advanceTimersByTime(999);
    expect(lines()).toHaveLength(2);
    vi.advanceTimersByTime(1);
    expect(lines().slice(2)).toMatchObject([{ n: 10_001, times: 1 }]);
  });

  it('is silent when nothing more came, and at once again after that', () => {
    const { log, lines } = bounded();
    log.warn({}, 'once');
    vi.advanceTimersByTime(60_000);
    expect(lines()).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
    log.warn({}, 'once');
    expect(lines()).toHaveLength(2);
  });

  it('hides no message behind another', () => {
    const { log, lines } = bounded();
    for (let n = 0; n < 100; n++) log.warn({}, 'loud');
    log.warn({}, 'a rare one');
    log.fatal({}, 'a bug');
    expect(lines().map(({ msg }) => msg)).toEqual(['loud', 'a rare one', 'a bug']);
  });
});

describe('a client that causes a line with each request', () => {
  it.each<[string, string, (rig: Awaited<ReturnType<typeof startRig>>) => void]>([
    [
      'while the audit log fails',
      'the decision could not be recorded; the request is refused',
      (rig) => {
        rig.recorder.failing = 'decided';
      },
    ],
    [
      'by a fault inside the proxy',
      'a request failed inside the proxy and was refused',
      (rig) => {
        vi.spyOn(rig.ctx.resolver, 'resolve').mockImplementation(() => {
          throw new TypeError('a bug');
        });
      },
    ],
  ])('gets one line and a count: %s', async (_, message, break_) => {
    const origin = await rawOrigin();
    const rig = await startRig({ policy: allowing(HOST, origin.port), names: { [HOST]: ['127.0.0.1'] } });
    break_(rig);
    for (let i = 0; i < 30; i++) {
      const client = await rig.send(connectHead(`${HOST}:${origin.port}`));
      expect((await client.readHead()).status).toBeGreaterThanOrEqual(500);
      client.close();
    }
    const said = (): Line[] => parsed(rig.logText()).filter(({ msg }) => msg === message);
    expect(said()).toHaveLength(1);
    vi.advanceTimersByTime(1_000);
    expect(said()).toMatchObject([{}, { times: 29 }]);
  });

  it('gets one line and a count when it is turned away', async () => {
    const origin = await rawOrigin();
    const rig = await startRig({ policy: allowing(HOST, origin.port), limits: { client_connections_max: 1 } });
    await rig.client();
    for (let i = 0; i < 30; i++) expect((await (await rig.client()).readResponse()).status).toBe(503);
    expect(parsed(rig.logText())).toMatchObject([
      { msg: 'connections are refused: client_connections_max is reached', limit: 'client_connections_max' },
    ]);
    vi.advanceTimersByTime(1_000);
    expect(parsed(rig.logText())[1]).toMatchObject({ times: 29 });
  });
});
