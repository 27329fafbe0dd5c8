// The thread that makes reports: bounded in what waits and how long, and mended by the next question.
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type Question, Reports } from '../../src/admin/reports.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import { openStore } from '../../src/usage/store.ts';
import { tempDir, writePolicy } from '../support/temp.ts';

const open: Reports[] = [];
afterEach(() => {
  for (const reports of open.splice(0)) reports.close();
});

async function start(limits: object, policy: object = { allow: ['a.test'] }) {
  const dir = tempDir('reports');
  const file = writePolicy(join(dir, 'sallyport.yaml'), {
    version: 1,
    audit: { file: join(dir, 'audit.jsonl') },
    ...policy,
  });
  const store = join(dir, 'usage.db');
  await openStore(store, 'write').close();
  const meter = createMeter();
  const data = { file, overrides: {}, store, storeTimeoutMs: 1_000 };
  const reports = new Reports(data, { limits: { ...DEFAULT_LIMITS, ...limits }, meter });
  open.push(reports);
  return { reports, meter, file };
}
const QUESTION: Question = { kind: 'report', from: 0, to: Date.now(), pipeline: null, job: null, by: null };

describe('reports for the admin API', () => {
  it('are made one after another, and beyond the limit refused', async () => {
    const { reports, meter } = await start({ admin_reports_max: 2 });
    const asked = [reports.ask(QUESTION, 'p'), reports.ask(QUESTION, 'p'), reports.ask(QUESTION, 'p')];
    await expect(asked[2]).rejects.toMatchObject({ status: 503, code: 'admin-busy' });
    expect(meter.hits.get('admin_reports_max')).toBe(1);
    for (const json of await Promise.all(asked.slice(0, 2))) expect(JSON.parse(json).totals.requests).toBe(0);
  });

  it('that take too long are ended with their thread; the next one gets a new thread', async () => {
    const limits = { admin_report_timeout_ms: 1 };
    const { reports, meter } = await start(limits);
    await expect(reports.ask(QUESTION, 'p')).rejects.toMatchObject({ status: 503, code: 'admin-busy' });
    expect(meter.hits.get('admin_report_timeout_ms')).toBe(1);
    const patient = await start({});
    await expect(patient.reports.ask(QUESTION, 'p')).resolves.toContain('"totals"');
  });

  it('know the policy file as it is now, also where its digest stays', async () => {
    const { reports, file } = await start({});
    const suggest: Question = {
      kind: 'suggest',
      from: 0,
      to: Date.now(),
      pipeline: null,
      jobsMin: 1,
      scoped: false,
      unusedDays: 30,
    };
    await expect(reports.ask(suggest, 'p')).resolves.toContain('"diff"');
    appendFileSync(file, '# a remark\n');
    await expect(reports.ask(suggest, 'p')).resolves.toContain('"diff"');
  });

  it('say what is wrong with the policy file by its code', async () => {
    const { reports } = await start({}, { allow: ['*'] });
    await expect(reports.ask(QUESTION, 'p')).rejects.toMatchObject({ status: 503, code: 'config-pattern' });
  });

  it('say that they failed where the fault is ours', async () => {
    const { reports } = await start({});
    const asked = reports.ask({ ...QUESTION, from: Number.NaN }, 'p');
    await expect(asked).rejects.toMatchObject({ status: 503, code: 'admin-failed' });
  });

  it('end with the proxy', async () => {
    const { reports } = await start({});
    const asked = reports.ask(QUESTION, 'p');
    reports.close();
    await expect(asked).rejects.toMatchObject({ code: 'admin-busy' });
  });
});
