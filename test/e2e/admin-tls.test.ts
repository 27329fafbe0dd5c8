// The admin listener with a certificate, for other machines: TLS alone, names of the certificate alone, the token all the same.
// And its bound on connections, which nobody can use up for good.
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { run, sallyport } from '../support/proxy-process.ts';
import { tempDir, writeFile, writePolicy } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { startWorld, type World } from '../support/world.ts';

const NAME = 'admin.corp.test';
let world: World | null = null;
afterEach(async () => {
  await world?.close();
  world = null;
});

function twoHalves(): { cert: string; key: string } {
  const dir = tempDir('admin-tls');
  const [one, other] = [certificateFor([NAME]), certificateFor([NAME])];
  return { cert: writeFile(join(dir, 'cert.pem'), one.cert), key: writeFile(join(dir, 'key.pem'), other.key, 0o600) };
}

describe('with a certificate', () => {
  it('TLS is spoken, for the names of the certificate and addresses, and the token is asked for', async () => {
    const dir = tempDir('admin-tls');
    const { cert, key } = certificateFor([NAME]);
    const tls = { cert: writeFile(join(dir, 'cert.pem'), cert), key: writeFile(join(dir, 'key.pem'), key, 0o600) };
    const token_file = join(dir, 'token');
    world = await startWorld({ admin: { listen: `127.0.0.1:${await freePort()}`, token_file, tls } });
    const port = world.proxy.admin?.port;
    const token = `Authorization: Bearer ${readFileSync(token_file, 'utf8').trim()}`;
    const ask = async (...args: string[]): Promise<string> =>
      (
        await run([
          ...['curl', '-sS', '--noproxy', '*', '--cacert', testCa().caFile, '-o', '/dev/null', '-w', '%{http_code}'],
          ...['--resolve', `${NAME}:${port}:127.0.0.1`, ...args, `https://${NAME}:${port}/v1/status`],
        ])
      ).stdout;
    expect(await ask('-H', token)).toBe('200');
    expect(await ask()).toBe('401');
    expect(await ask('-H', token, '-H', 'Host: other.corp.test')).toBe('403');
    expect(await ask('-H', token, '-H', `Origin: https://${NAME}:${port}`)).toBe('200');
    expect(await ask('-H', token, '-H', `Origin: http://${NAME}:${port}`)).toBe('403');
    // Commands of this host expect that very certificate.
    const command = (name: string) =>
      sallyport([name, '--config', (world as World).configFile], { cwd: (world as World).dir });
    expect(await command('health')).toMatchObject({ code: 0, stdout: 'ready\n' });
    const other = certificateFor([NAME]);
    writeFile(tls.cert, other.cert);
    expect(await command('health')).toMatchObject({ code: 1, stderr: expect.stringContaining('does not answer') });
    expect(await command('tail')).toMatchObject({ code: 1, stderr: expect.stringContaining('admin-unreachable') });
    const plain = await run(['curl', '-sS', '--noproxy', '*', `http://127.0.0.1:${port}/healthz`]);
    expect(plain.code).not.toBe(0);
  });

  it.each([
    [
      'a certificate that is not there',
      { listen: '127.0.0.1:0', tls: { cert: '/nowhere', key: '/nowhere' } },
      '/nowhere cannot be read: ENOENT\n  tls-invalid',
    ],
    ['a key of another certificate', { listen: '127.0.0.1:0', tls: twoHalves() }, 'is not the key of the certificate'],
    ['other machines without one', '0.0.0.0:3129', 'config-conflict'],
    ['a key that is not known', { listen: '127.0.0.1:0', token: 'x' }, 'config-'],
  ])('%s: nothing starts', async (_, admin, code) => {
    const file = writePolicy(join(tempDir('admin'), 'sallyport.yaml'), { version: 1, listen: '127.0.0.1:0', admin });
    const ended = await sallyport(['serve', '--config', file], { cwd: tempDir('admin') });
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain(code);
  });
});

describe('connections of the admin listener', () => {
  it('are bounded; silent ones are closed and make room', async () => {
    world = await startWorld({ limits: { admin_connections_max: 8 } });
    const { admin } = world.proxy;
    const silent = Array.from({ length: 8 }, () => net.connect(admin?.port ?? 0, '127.0.0.1'));
    await Promise.all(silent.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
    const health = () =>
      fetch(`http://127.0.0.1:${admin?.port}/healthz`).then(
        ({ status }) => status,
        () => 0,
      );
    expect(await health()).toBe(0);
    await Promise.all(silent.map((socket) => new Promise((resolve) => socket.resume().once('close', resolve))));
    expect(await health()).toBe(200);
  });
});
