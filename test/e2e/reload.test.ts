// The built proxy takes a changed policy file by itself: in place, by rename, as a mounted ConfigMap, with catalog.d; a bad one leaves
// the old policy; and a policy of 100,000 rules is taken while an open tunnel goes on.
import { mkdirSync, readFileSync, renameSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import type { Line } from '../../src/policy/record.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLines, PROCESSES_MS, readAudit, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const A = 'a.allowed.test';
const B = 'b.allowed.test';
const RULES = 100_000;
const LONG_MS = 120_000;

let world: World;
let origin: Origin;
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0)) await thing.close();
});

const rule = (host: string) => ({ host, ports: [origin.port], protocol: 'any', addresses: LOOPBACK });

async function start(policy: Readonly<Record<string, unknown>> = {}): Promise<void> {
  origin = await startOrigin(echo);
  open.push(origin);
  world = await startWorld(
    { allow: [rule(A)], limits: { watch_interval_ms: 100 }, ...policy },
    { [A]: ['127.0.0.1'], [B]: ['127.0.0.1'] },
  );
  open.push(world);
}

async function connect(host: string): Promise<{ client: RawClient; answer: string }> {
  const client = await RawClient.connect(world.proxy.proxy);
  client.send(`CONNECT ${host}:${origin.port} HTTP/1.1\r\nHost: ${host}:${origin.port}\r\n\r\n`);
  const { status, reason } = await client.readHead();
  return { client, answer: `${status} ${reason}` };
}

async function asked(host: string): Promise<string> {
  const { client, answer } = await connect(host);
  client.close();
  return answer;
}

/** The text that lets through this host and no other, as `write` of the world would have it. */
function policyFor(host: string): string {
  const before = readFileSync(world.configFile, 'utf8');
  world.write({ allow: [rule(host)] });
  const text = readFileSync(world.configFile, 'utf8');
  writeFileSync(world.configFile, before);
  return text;
}

const results = (lines: readonly Line[]): unknown[] =>
  lines.flatMap((line) => (line.event === 'policy' ? [line.detail['result']] : []));

/** Waits for so many reloads, good or bad, and gives their results. */
async function reloads(count: number): Promise<unknown[]> {
  return results(await auditLines(world.auditFile, (lines) => results(lines).length >= count));
}

it('a file that is written in place or replaced by rename is taken, one that says the same is not', async () => {
  await start({ log: { level: 'debug' } });
  const two = policyFor(B);
  const one = policyFor(A);
  utimesSync(world.configFile, 1, 1);
  await world.proxy.printed(/say the same as before/);
  expect(results(readAudit(world.auditFile))).toEqual([]);
  writeFileSync(world.configFile, two);
  expect(await reloads(1)).toEqual(['loaded']);
  expect([await asked(A), await asked(B)]).toEqual(['403 host-not-allowed', '200 Connection established']);
  writeFileSync(`${world.configFile}~`, one);
  renameSync(`${world.configFile}~`, world.configFile);
  expect(await reloads(2)).toEqual(['loaded', 'loaded']);
  expect([await asked(A), await asked(B)]).toEqual(['200 Connection established', '403 host-not-allowed']);
});

it('a mounted ConfigMap is taken when its link is swapped', async () => {
  await start({ log: { level: 'debug' } });
  const dir = dirname(world.configFile);
  for (const [version, text] of [
    ['..2026_01_01', readFileSync(world.configFile, 'utf8')],
    ['..2026_01_02', policyFor(B)],
  ] as const) {
    mkdirSync(join(dir, version));
    writeFileSync(join(dir, version, 'sallyport.yaml'), text);
  }
  const swap = (target: string, link: string): void => {
    symlinkSync(target, `${link}_tmp`);
    renameSync(`${link}_tmp`, link);
  };
  swap('..2026_01_01', join(dir, '..data'));
  swap('..data/sallyport.yaml', world.configFile);
  await world.proxy.printed(/say the same as before/);
  swap('..2026_01_02', join(dir, '..data'));
  expect(await reloads(1)).toEqual(['loaded']);
  expect([await asked(A), await asked(B)]).toEqual(['403 host-not-allowed', '200 Connection established']);
});

it('a file of catalog.d is taken when it comes and when it changes', async () => {
  await start();
  const own = join(dirname(world.configFile), 'catalog.d', 'own.yaml');
  const group = (host: string): string =>
    `format: 1\ngroups: [{ id: corp, title: Corp, entries: [{ id: corp-host, host: ${host}, purpose: Ours }] }]\n`;
  mkdirSync(dirname(own));
  writeFileSync(own, group(A));
  expect(await reloads(1)).toEqual(['loaded']);
  world.write({ allow: [{ group: 'corp' }] });
  expect(await reloads(2)).toEqual(['loaded', 'loaded']);
  // On 443 alone, and not into loopback: that the rule is found is what counts.
  expect([await asked(A), await asked(B)]).toEqual(['403 port-not-allowed', '403 host-not-allowed']);
  writeFileSync(own, group(B));
  expect(await reloads(3)).toEqual(['loaded', 'loaded', 'loaded']);
  expect([await asked(A), await asked(B)]).toEqual(['403 host-not-allowed', '403 port-not-allowed']);
});

it('a half-written file leaves the old policy and is read again when it is whole; check says what is wrong', async () => {
  await start();
  const whole = policyFor(B);
  // In the midst of a word that counts: `protocol: a`.
  writeFileSync(world.configFile, whole.slice(0, whole.indexOf('protocol: ') + 'protocol: a'.length));
  expect(await reloads(1)).toEqual(['refused']);
  await world.proxy.printed(/the old one stays in force/);
  expect(await asked(A)).toBe('200 Connection established');
  const check = await sallyport(['check', '--config', world.configFile], { cwd: world.dir });
  expect(check.code).not.toBe(0);
  writeFileSync(world.configFile, whole);
  expect(await reloads(2)).toEqual(['refused', 'loaded']);
  expect(await asked(B)).toBe('200 Connection established');
});

it('with watch: false only SIGHUP counts', async () => {
  await start({ watch: false });
  world.write({ allow: [rule(B)] });
  world.proxy.signal('SIGHUP');
  expect(await reloads(1)).toEqual(['loaded']);
  expect(await asked(B)).toBe('200 Connection established');
});

it('100,000 rules are taken while an open tunnel goes on and new ones open', { timeout: LONG_MS }, async () => {
  await start();
  const { client } = await connect(A);
  const many = Array.from({ length: RULES }, (_, index) => `host-${index}.zone${index % 997}.example`);
  world.write({ allow: [rule(A), rule(B), ...many] });
  let loaded = false;
  const done = reloads(1).then(() => {
    loaded = true;
  });
  let rounds = 0;
  while (!loaded) {
    client.send('ping');
    expect((await client.read(4)).toString()).toBe('ping');
    if (rounds++ % 64 === 0) expect(await asked(A)).toBe('200 Connection established');
  }
  await done;
  expect(await asked(B)).toBe('200 Connection established');
  client.send('last');
  expect((await client.read(4)).toString()).toBe('last');
  client.close();
});
