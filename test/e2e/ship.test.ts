// The second place of the audit log, from outside: a proxy that ships, a folder that is away for a while, and the statement of the CLI.
import { readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { run, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir } from '../support/temp.ts';
import { startWorld } from '../support/world.ts';

it('closed segments get to the second place, also after it was away, and the CLI says what is there', {
  timeout: 120_000,
}, async () => {
  const keys = tempDir('keys');
  const dir = join(tempDir('second'), 'audit');
  const key = join(keys, 'key.pem');
  await run(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', key]);
  await run(['openssl', 'pkey', '-in', key, '-pubout', '-out', `${key}.pub`]);
  // Where the folder has to be stands a file: every round fails until it is gone.
  writeFileSync(dir, '');
  const world = await startWorld({
    node: 'proxy-1',
    limits: { ship_interval_ms: 1_000 },
    audit: { ship: { dir, key } },
  });
  const ask = async (): Promise<void> => {
    const client = await RawClient.connect(world.proxy.proxy);
    client.send('CONNECT denied.test:443 HTTP/1.1\r\nHost: denied.test:443\r\n\r\n');
    expect((await client.readHead()).status).toBe(403);
    client.close();
  };
  const verify = (...args: string[]) => sallyport(['audit', 'verify', '--shipped', dir, ...args], { cwd: world.dir });
  try {
    await ask();
    renameSync(world.auditFile, `${world.auditFile}.1`);
    world.proxy.signal('SIGUSR2');
    while (!world.proxy.stderr().includes('could not be shipped')) await delay(20);
    rmSync(dir);
    while (!world.proxy.stderr().includes('is shipped again')) await delay(20);
    expect(readdirSync(join(dir, 'proxy-1')).filter((name) => name.endsWith('.gz'))).toHaveLength(1);
    const shipped = await verify('--key', `${key}.pub`, '--node', 'proxy-1');
    expect(shipped, shipped.stdout + shipped.stderr).toMatchObject({ code: 0 });
    expect(shipped.stdout).toMatch(/^complete: proxy-1: to line \d+/);
    const query = await sallyport(
      ['audit', 'query', '--host', 'denied.test', '--log', join(dir, 'proxy-1', 'audit.jsonl')],
      { cwd: world.dir },
    );
    expect(query.stdout).toContain('host-not-allowed');
    const later = await verify('--key', `${key}.pub`, '--node', 'proxy-1', '--node', 'proxy-2', '--to', '2099-01-01');
    expect(later.code).toBe(1);
    expect(later.stdout).toContain('nothing is known of the time after');
    expect(later.stdout).toContain('missing: proxy-2: ');
    const foreign = join(keys, 'foreign.pem');
    await run(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', foreign]);
    await run(['openssl', 'pkey', '-in', foreign, '-pubout', '-out', `${foreign}.pub`]);
    expect((await verify('--key', `${foreign}.pub`)).stdout).toContain('not signed by a key');
    expect((await verify('--key', world.configFile)).stderr).toContain('signing-key');
  } finally {
    await world.close();
  }
});

it('a key that is none is said before anything is served', { timeout: 60_000 }, async () => {
  const dir = tempDir('second');
  const key = join(dir, 'key.pem');
  writeFileSync(key, 'no key');
  await expect(startWorld({ audit: { ship: { dir, key } } })).rejects.toThrow(/signing-key/);
});
