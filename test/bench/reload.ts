// The largest gap of a ping-pong through an open tunnel while a policy of 100,000 rules is loaded, beside the largest gap of the
// same time without a reload: what the machine's other work costs. Run: node test/bench/reload.ts [--quick]
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { startTestDns } from '../support/dns.ts';
import { echo, startOrigin } from '../support/origin.ts';
import { auditLines, startProxy } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writePolicy } from '../support/temp.ts';

const QUICK = process.argv.includes('--quick');
const RULES = QUICK ? 1_000 : 100_000;
const ROUNDS = QUICK ? 1 : 5;
const TARGET_MS = 20;

const dir = tempDir('bench-reload');
const origin = await startOrigin(echo);
const dns = await startTestDns();
dns.set('a.allowed.test', ['127.0.0.1']);
const auditFile = join(dir, 'data', 'audit.jsonl');
const write = (rules: number): string =>
  writePolicy(join(dir, 'sallyport.yaml'), {
    version: 1,
    listen: '127.0.0.1:0',
    admin: 'off',
    clients: { from: ['127.0.0.0/8'] },
    allow: [
      { host: 'a.allowed.test', ports: [origin.port], protocol: 'any', addresses: ['127.0.0.0/8'] },
      ...Array.from({ length: rules }, (_, index) => `host-${index}.zone${index % 997}.example`),
    ],
    dns: { servers: [dns.address] },
    audit: { file: auditFile },
    usage: { store: join(dir, 'data', 'usage.db') },
    watch: false,
  });

const proxy = await startProxy(['--config', write(RULES)], { cwd: dir });
const client = await RawClient.connect(proxy.proxy);
const target = `a.allowed.test:${origin.port}`;
client.send(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
assert.equal((await client.readHead()).status, 200);

/** Pings until told to stop; the longest round trip and the whole time, in ms. */
async function pingUntil(done: Promise<unknown>): Promise<{ gapMs: number; tookMs: number }> {
  const startMs = performance.now();
  let running = true;
  void done.finally(() => {
    running = false;
  });
  let gapMs = 0;
  while (running) {
    const sentMs = performance.now();
    client.send('ping');
    await client.read(4);
    gapMs = Math.max(gapMs, performance.now() - sentMs);
  }
  return { gapMs, tookMs: performance.now() - startMs };
}

const gaps: number[] = [];
for (let round = 1; round <= ROUNDS; round++) {
  write(RULES + round);
  proxy.signal('SIGHUP');
  const loaded = auditLines(
    auditFile,
    (lines) => lines.filter((line) => line.event === 'policy' && line.detail['result'] === 'loaded').length >= round,
  );
  const during = await pingUntil(loaded);
  const quiet = await pingUntil(new Promise((resolve) => setTimeout(resolve, during.tookMs)));
  gaps.push(during.gapMs);
  console.log(
    `reload ${round}: ${during.tookMs.toFixed(0)} ms, largest gap ${during.gapMs.toFixed(1)} ms; without a reload ${quiet.gapMs.toFixed(1)} ms`,
  );
}
client.close();
const end = await proxy.stop();
assert.equal(end.code, 0, end.stderr);
await origin.close();
await dns.close();
const middle = gaps.toSorted((a, b) => a - b)[gaps.length >> 1] as number;
console.log(`reload: ${RULES} rules, median of the largest gaps ${middle.toFixed(1)} ms; the goal is ${TARGET_MS}`);
