// The nftables rules of docs/threat-model.md in force, on a machine of a network that the test makes: the agent's user reaches the proxy and
// nothing else, whatever it speaks; other users of the machine are left alone.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { BALANCER, canMakeLan, Lan, ORIGIN } from '../support/lan.ts';
import { hasProgram } from '../support/programs.ts';
import { launch, PROCESSES_MS, run } from '../support/proxy-process.ts';

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/threat-model.md'), 'utf8');
const RULES = (/```nft\n([\s\S]*?)```/.exec(PAGE)?.[1] ?? '').replace('10.0.0.5', BALANCER);
const AGENT = '1001';
/** The system's: what stands first on root's path may be root's alone. */
const PYTHON = '/usr/bin/python3';

/** Answers TCP and UDP on two addresses, at the proxy's port and at another one. */
const SERVER = `
for (const host of ['${BALANCER}', '${ORIGIN}'])
  for (const port of [3128, 443]) {
    require('net').createServer((socket) => socket.end('tcp')).listen(port, host);
    const udp = require('dgram').createSocket('udp4').bind(port, host);
    udp.on('message', (_, from) => udp.send('udp', from.port, from.address));
  }
process.stdout.write('up\\n');
`;
/** One attempt; prints what came back, or the error. In Python, which every user of the machine may run. */
const CLIENT = `
import errno, socket, sys
kind, host, port = sys.argv[1:]
peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
peer.settimeout(30)
try:
    peer.connect((host, int(port)))
    if kind == 'udp':
        peer.send(b'x')
    print(peer.recv(9).decode())
except OSError as error:
    print(errno.errorcode.get(error.errno, 'nothing'))
`;

const possible = hasProgram('ip', 'nft', 'nsenter', 'setpriv') && existsSync(PYTHON) && canMakeLan();

it.skipIf(!possible)('an agent reaches the proxy and nothing else', { timeout: PROCESSES_MS }, async () => {
  const lan = await Lan.start();
  onTestFinished(() => lan.close());
  const server = launch([...lan.inside, process.execPath, '-e', SERVER]);
  onTestFinished(() => void server.child.kill('SIGKILL'));
  await server.printed(/up/);
  const host = await lan.machine('10.77.0.30');
  const attempt = async (user: string, ...to: readonly string[]): Promise<string> => {
    const as = ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', PYTHON, '-c', CLIENT, ...to];
    return (await run([...host.inside, ...as], { cwd: '/' })).stdout.trim();
  };
  const tries = [
    ['tcp', BALANCER, '3128'],
    ['tcp', BALANCER, '443'],
    ['tcp', ORIGIN, '3128'],
    ['tcp', ORIGIN, '443'],
    ['udp', BALANCER, '3128'],
    ['udp', ORIGIN, '443'],
  ];
  const all = (user: string): Promise<string[]> => Promise.all(tries.map((to) => attempt(user, ...to)));
  expect(await all(AGENT)).toEqual(['tcp', 'tcp', 'tcp', 'tcp', 'udp', 'udp']);

  const [program = '', ...args] = [...host.inside, 'nft', '-f', '-'];
  expect(spawnSync(program, args, { input: RULES, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
  expect(await all('0')).toEqual(['tcp', 'tcp', 'tcp', 'tcp', 'udp', 'udp']);
  const [proxy, ...others] = await all(AGENT);
  expect(proxy).toBe('tcp');
  // Told at once, not left to wait.
  for (const other of others) expect(other).toMatch(/^E(?:HOSTUNREACH|PERM|ACCES|CONNREFUSED)$/);
});
