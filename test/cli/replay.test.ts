import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Identity } from '../../src/policy/record.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { tempDir } from '../support/temp.ts';
import { NOW, policyFile, type, typeJson } from './console.ts';

const job = (pipeline: string, id: string): Identity => ({
  kind: 'job',
  attributes: { pipeline, job: id },
  claimed: {},
});

/** A log that the proxy's own writer made: a.example by two jobs, b.example by one, an hour apart. */
function history(file = join(tempDir('replay'), 'audit.jsonl')): string {
  let now = NOW - 3 * 3_600_000;
  const log = openAuditLog({
    file,
    node: 'n',
    limits: DEFAULT_LIMITS,
    whenFull: 'refuse',
    now: () => new Date(now),
    sync: 'none',
  });
  const asked = [
    ['r1', 'a.example', job('web', 'j1')],
    ['r2', 'a.example', job('web', 'j2')],
    ['r3', 'b.example', job('<img src=x>\u202e', 'j3')],
  ] as const;
  for (const [id, host, identity] of asked) {
    log.decided(decidedRecord({ id, host, identity }));
    log.ended(endedRecord({ id, host, identity }));
    now += 3_600_000;
  }
  log.close();
  return file;
}

describe('sallyport replay', () => {
  it('exits 3 and names what would newly fail, in each format', async () => {
    const log = history();
    const { file } = policyFile({ allow: ['a.example'] });
    const table = await type(['replay', '--policy', file, '--log', log]);
    expect(table.code).toBe(3);
    expect(table.out).toContain('WOULD NEWLY FAIL');
    expect(table.out).toMatch(/b\.example:443 +connect +<img src=x>\\u\{202e\} +1 +1 +host-not-allowed/);
    const markdown = await type(['replay', '--policy', file, '--log', log, '--format', 'markdown', '--ready']);
    expect(markdown.code).toBe(3);
    expect(markdown.out).toContain('| &#60;img src=x&#62;&#92;u{202e} | would-fail |');
    expect(markdown.out).not.toContain('<img');
    const { code, json } = await typeJson(['replay', '--policy', file, '--log', log]);
    expect(code).toBe(3);
    expect(json).toMatchObject({
      requests: 3,
      damaged_lines: 0,
      newly_fail: [{ host: 'b.example', jobs: 1 }],
      newly_pass: [],
    });
  });

  it('exits 0 where nothing would newly fail, and takes the log that the policy in force names', async () => {
    const { file, audit } = policyFile({ allow: ['a.example', 'b.example'] });
    history(audit);
    const found = await typeJson(['replay', '--policy', file, '--config', file, '--since', '90m']);
    expect(found).toMatchObject({ code: 0, json: { requests: 1, newly_fail: [], logs: [audit] } });
  });

  it('--from and --to are a window, as in a report', async () => {
    const { file } = policyFile({ allow: ['a.example'] });
    const log = history();
    const run = (...window: string[]) => typeJson(['replay', '--policy', file, '--log', log, ...window]);
    const all = await run();
    expect(all.json).toMatchObject({ requests: 3, from: null, to: new Date(NOW).toISOString() });
    const late = await run('--from', '90m');
    expect(late.json).toMatchObject({ requests: 1, from: new Date(NOW - 90 * 60_000).toISOString() });
    expect((await run('--to', '90m')).json).toMatchObject({ requests: 2 });
    expect((await run('--since', '90m', '--until', '80m')).json).toMatchObject({ requests: 0 });
    expect((await type(['replay', '--policy', file, '--log', log, '--from', '1h', '--to', '2h'])).code).toBe(2);
  });

  it('says that the log is damaged, and never that all is well then', async () => {
    const log = history();
    appendFileSync(log, 'damage\n');
    const { file } = policyFile({ allow: ['a.example', 'b.example'] });
    const safe = await type(['replay', '--policy', file, '--log', log]);
    expect(safe.code).toBe(1);
    expect(safe.out).toContain('the log is damaged: 1 lines could not be replayed');
    const failing = policyFile({ allow: ['a.example'] });
    expect(await type(['replay', '--policy', failing.file, '--log', log])).toMatchObject({ code: 3 });
  });

  it('reads what gzip has packed, and says how many lines are missing', async () => {
    const log = history();
    const [first = '', second = '', ...rest] = readFileSync(log, 'latin1').split('\n');
    writeFileSync(`${log}.1.gz`, gzipSync(`${first}\n${second}\n`));
    writeFileSync(log, rest.join('\n'));
    const { file } = policyFile({ allow: ['a.example', 'b.example'] });
    expect(await typeJson(['replay', '--policy', file, '--log', log])).toMatchObject({
      code: 0,
      json: { requests: 3, missing_lines: 0, unread_files: [] },
    });
    writeFileSync(log, rest.slice(1).join('\n'));
    const gap = await type(['replay', '--policy', file, '--log', log]);
    expect(gap.code).toBe(1);
    expect(gap.out).toContain('the log has gaps: 1 lines are missing');
    // An archive that cannot be opened is named where its lines are missed; the window of the rest is whole without it.
    writeFileSync(`${log}.1.gz`, 'rubbish');
    writeFileSync(log, rest.join('\n'));
    const unread = { json: { unread_files: [`${log}.1.gz`] } };
    expect(await typeJson(['replay', '--policy', file, '--log', log])).toMatchObject({ code: 1, ...unread });
    const since = new Date(NOW - 90 * 60_000).toISOString();
    expect(await typeJson(['replay', '--policy', file, '--log', log, '--since', since])).toMatchObject({
      code: 0,
      json: { requests: 1, unread_files: [] },
    });
  });

  it('reads several logs, and says which one is not there', async () => {
    const { file } = policyFile({ allow: ['a.example', 'b.example'] });
    const both = await typeJson(['replay', '--policy', file, '--log', history(), '--log', history()]);
    expect(both).toMatchObject({ code: 0, json: { requests: 6 } });
    const none = await type(['replay', '--policy', file, '--log', '/nowhere/audit.jsonl']);
    expect(none.code).toBe(1);
    expect(none.err).toContain('there is no audit log /nowhere/audit.jsonl');
    expect((await type(['replay', '--log', history()])).code).toBe(2);
  });

  it('says which pipelines are safe', async () => {
    const { file } = policyFile({ mode: 'observe', allow: ['a.example'] });
    const found = await type(['replay', '--policy', file, '--log', history(), '--ready']);
    expect(found.code).toBe(3);
    expect(found.out).toMatch(/web +safe +2 +2\n/);
    expect(found.out).toMatch(/<img src=x>\\u\{202e\} +would-fail +1 +1 +b\.example:443/);
  });

  const built = join(import.meta.dirname, '../../dist/main.js');
  it.skipIf(!existsSync(built))('does so as it is built', () => {
    const { file } = policyFile({ allow: ['a.example'] });
    const ran = spawnSync(process.execPath, [built, 'replay', '--policy', file, '--log', history(), '--json'], {
      encoding: 'utf8',
    });
    expect([ran.status, ran.stderr]).toEqual([3, '']);
    expect(JSON.parse(ran.stdout)).toMatchObject({ newly_fail_requests: 1 });
  });
});
