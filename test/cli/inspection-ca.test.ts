// The CA of inspection of a running proxy: which inspected hosts it cannot stand for is said at the start and at each reload.
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { InspectionCa } from '../../src/cli/inspection-ca.ts';
import { Inspector } from '../../src/inspect/inspector.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import type { CompiledPolicy } from '../../src/policy/compile.ts';
import { inFolderOfItsOwn, loadText } from '../config/support.ts';
import { inspectionCa } from '../proxy/inspected-support.ts';
import { eventually } from '../proxy/support.ts';

inFolderOfItsOwn();

it('says of hosts that the CA does not cover when a reload inspects them, each once', async () => {
  const ca = inspectionCa({ domains: ['covered.example'], addresses: [] });
  const inspected = (...hosts: string[]): CompiledPolicy => {
    const rules = hosts.map((host) => `  - { host: "${host}", inspect: true, read_only: true }\n`);
    const text = `version: 1\ninspection: { ca: { cert: ${ca.cert}, key: ${ca.key} } }\nallow:\n${rules.join('')}`;
    const { loaded } = loadText(text);
    if (!loaded) throw new Error(`this is no policy: ${text}`);
    return loaded.policy;
  };
  const said: string[] = [];
  const log = pino({}, { write: (line) => void said.push(line) });
  const warned = () => said.map((line) => JSON.parse(line)).flatMap(({ pattern }) => pattern ?? []);
  const ctx = { inspector: new Inspector(), limits: DEFAULT_LIMITS, meter: createMeter() };
  const running = new InspectionCa({ ctx, log, note: () => {} });
  await running.start({ ca }, inspected('covered.example'));
  expect(warned()).toEqual([]);
  running.use({ ca }, inspected('covered.example', 'one.example'));
  await eventually(() => warned().length > 0, 'it is said');
  running.use({ ca }, inspected('covered.example', 'one.example', '*.two.example'));
  await eventually(() => warned().length > 1, 'it is said');
  expect(warned()).toEqual(['one.example', '*.two.example']);
});
