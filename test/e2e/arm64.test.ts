// The native engine on another kind of processor: cross-compiled as for the package, and run by a Node.js for arm64 in an emulator. Skipped
// where one of the three is not here; SALLYPORT_NODE_ARM64 names the Node.js (.ci/run has it).
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Pattern } from '../proxy/pattern.ts';
import { startTestDns } from '../support/dns.ts';
import { echo, startOrigin } from '../support/origin.ts';
import { launch, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writePolicy } from '../support/temp.ts';
import { LOOPBACK } from '../support/world.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const NODE = process.env['SALLYPORT_NODE_ARM64'] ?? '';
const LIBRARIES = '/usr/aarch64-linux-gnu';
const READY = /sallyport ready: proxy 127\.0\.0\.1:(\d+)/;
/** An emulator takes its time. */
const EMULATED_MS = 300_000;
const BYTES = 1_000_003;

const isHere = (program: string): boolean => existsSync(join('/usr/bin', program));
const complete = existsSync(NODE) && isHere('qemu-aarch64-static') && isHere('aarch64-linux-gnu-g++');

describe.skipIf(!complete)('on arm64', { timeout: EMULATED_MS }, () => {
  it('tunnels are carried whole by the native engine, refused and recorded', async () => {
    const dir = tempDir('arm64');
    for (const part of ['package.json', 'config', 'dist'])
      cpSync(join(ROOT, part), join(dir, 'product', part), { recursive: true });
    const engine = join(dir, 'product', 'dist', 'native', 'linux-arm64', 'sallyport.node');
    execFileSync(process.execPath, ['scripts/build-native.mjs', '--arch', 'arm64', '--out', engine], { cwd: ROOT });

    const origin = await startOrigin(echo);
    const dns = await startTestDns();
    dns.set('a.allowed.test', ['127.0.0.1']);
    const config = writePolicy(join(dir, 'sallyport.yaml'), {
      version: 1,
      // It does not start with another.
      engine: 'native',
      listen: '127.0.0.1:0',
      admin: 'off',
      clients: { from: LOOPBACK },
      allow: [{ host: 'a.allowed.test', ports: [origin.port], protocol: 'any', addresses: LOOPBACK }],
      dns: { servers: [dns.address] },
      audit: { file: join(dir, 'audit.jsonl') },
    });
    const emulated = ['qemu-aarch64-static', '-L', LIBRARIES, NODE, join(dir, 'product', 'dist', 'main.js')];
    const proxy = launch([...emulated, 'serve', '--config', config], { cwd: dir });
    onTestFinished(() => void proxy.child.kill('SIGKILL'));
    const [, port = ''] = await proxy.printed(READY);
    const at = { host: '127.0.0.1', port: Number(port) };
    const tunnel = async (seed: number): Promise<void> => {
      const client = await RawClient.connect(at);
      const target = `a.allowed.test:${origin.port}`;
      const bytes = new Pattern(seed).slice(0, BYTES);
      // Its first bytes right behind the head.
      client.send(
        Buffer.concat([Buffer.from(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`), bytes.subarray(0, 100)]),
      );
      expect((await client.readHead()).status).toBe(200);
      client.send(bytes.subarray(100));
      expect((await client.read(BYTES)).equals(bytes)).toBe(true);
      client.end();
      expect((await client.readAll()).length).toBe(0);
    };
    await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(tunnel));
    const refused = await RawClient.connect(at);
    refused.send('CONNECT b.refused.test:443 HTTP/1.1\r\nHost: b.refused.test:443\r\n\r\n');
    expect((await refused.readHead()).status).toBe(403);
    refused.close();

    proxy.child.kill('SIGTERM');
    expect((await proxy.exited).code).toBe(0);
    const report = await sallyport(['report', '--config', config, '--json'], { cwd: dir });
    const moved = 8 * BYTES;
    expect(JSON.parse(report.stdout).totals).toMatchObject({
      tunnels: 8,
      denied: 1,
      bytes_up: moved,
      bytes_down: moved,
    });
    expect((await sallyport(['audit', 'verify', '--config', config])).code).toBe(0);
    await origin.close();
    await dns.close();
  });
});
