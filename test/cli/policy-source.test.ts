// Commands on a machine whose policy stands elsewhere: what they read and what they would edit is the policy, not the file of the machine.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { decidedRecord } from '../support/records.ts';
import { writeFile } from '../support/temp.ts';
import { NOW, policyFile, type, typeJson } from './console.ts';

it('explain, policy and suggest speak of the file in which the rules stand', async () => {
  const { file, dir, audit } = policyFile({ policy: { source: 'elsewhere' } });
  const base = writeFile(join(dir, 'policy', 'sallyport.yaml'), 'version: 1\n# ours\nallow:\n  - a.example\n');
  writeFile(file, readFileSync(file, 'utf8').replace('elsewhere', join(dir, 'policy')));
  expect((await typeJson(['explain', 'a.example', '--config', file])).json['rule']).toMatchObject({
    origin: `${base}:4`,
  });
  const log = openAuditLog({
    file: audit,
    node: 'n',
    limits: DEFAULT_LIMITS,
    whenFull: 'refuse',
    now: () => new Date(NOW - 1_000),
  });
  for (const job of ['j1', 'j2']) {
    const identity = { kind: 'job', attributes: { pipeline: 'web', job }, claimed: {} } as const;
    const refused = {
      verdict: 'deny',
      reason: 'host-not-allowed',
      outcome: 'host-not-allowed',
      group: null,
      rule: null,
    } as const;
    log.decided({ ...decidedRecord({ id: job }), ...refused, identity, host: 'b.example' });
  }
  log.close();
  const { code, out, err } = await type(['suggest', '--config', file]);
  expect([code, err]).toEqual([0, '']);
  expect(out).toContain('# ours');
  expect(out).toContain('- b.example');
  expect(out).not.toContain('listen');
});
