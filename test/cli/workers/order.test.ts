// What a worker is told to be, as a message carries it, against what the policy file says by the time that it starts.
import { expect, it } from 'vitest';
import { asWorker, atStart, type Order, startSettings } from '../../../src/cli/workers/order.ts';
import type { LoadedConfig } from '../../../src/config/load.ts';
import { loadConfigHere } from '../../../src/config/load-here.ts';
import { tempDir, writePolicy } from '../../support/temp.ts';

const loaded = (name: string, more: object): LoadedConfig =>
  loadConfigHere({ file: writePolicy(`${tempDir('order')}/${name}.yaml`, { version: 1, ...more }), now: 0 });

it('a worker that starts later has what the primary started with, and the policy of now', () => {
  const first = loaded('first', {
    ...{ workers: 2, engine: 'js', limits: { verifications_pending_max: 100 }, allow: ['a.test'] },
    ...{
      audit: { file: '/tmp/a.jsonl', rotate_bytes: 0 },
      usage: { store: '/tmp/u.db' },
      dns: { servers: ['10.0.0.2'] },
    },
  });
  const order = JSON.parse(
    JSON.stringify({
      ...{ worker: 2, workers: 2, auditFile: '/tmp/a.jsonl', node: 'n', start: startSettings(first.settings) },
      ...{ places: [], guarded: [], admin: null, key: '', leases: [] },
    }),
  ) as Order;
  const now = loaded('now', {
    ...{
      engine: 'native',
      limits: { verifications_pending_max: 8 },
      allow: ['b.test', 'c.test'],
      plain_http: false,
    },
    ...{ audit: { file: '/tmp/b.jsonl', when_full: 'drop-and-mark' }, usage: { store: '/tmp/v.db' }, dns: 'system' },
  });
  const { settings, policy } = atStart(now, order);
  const sibling = asWorker(first, order).settings;
  for (const key of ['engine', 'dns', 'limits', 'audit', 'usage', 'node', 'admin'] as const)
    expect(settings[key], key).toEqual(sibling[key]);
  expect(settings.limits.verifications_pending_max).toBe(50);
  expect([settings.plainHttp, policy.digest]).toEqual([false, now.policy.digest]);
  // A reload looks at the file, so that it can say what has changed and does not count yet.
  expect(asWorker(now, order).settings.limits.verifications_pending_max).toBe(4);
});
