// What all runs of one process share: an origin that hears every loopback address on one port, a port that refuses, a port
// whose queue is full (a dial there gets no answer), and the compiled policies. No name and no address leads off loopback.
import net from 'node:net';
import { Worker } from 'node:worker_threads';
import { loadCatalog } from '../../src/catalog/load.ts';
import type { Settings } from '../../src/config/config.ts';
import type { LoadedConfig } from '../../src/config/load.ts';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { Policy } from '../../src/policy/decide.ts';
import { createView, type ReportView } from '../../src/report/view.ts';
import { tempDir, writeFile } from '../support/temp.ts';

/** Addresses 127.1.x.y are listed; every other one is forbidden, and the origin hears it all the same. */
export const LISTED = '127.1.0.0/16';
export const allowed = (n: number): string => `127.1.${n >> 8}.${n & 255}`;
export const forbidden = (n: number): string => `127.9.${n >> 8}.${n & 255}`;

export const POLICY_NAMES = ['wide', 'narrow', 'observe'] as const;
export type PolicyName = (typeof POLICY_NAMES)[number];
export const ZONES = ['any', 'tls', 'ssh', 'web', 'moved', 'trial', 'bad', 'none'] as const;
export type Zone = (typeof ZONES)[number];
export type Kind = 'connect' | 'forward';

/** What the policy says of a name, worked out by hand: the oracle of the runs. `moved` is listed in two of the three. */
export function expected(policy: PolicyName, zone: Zone, kind: Kind): 'allow' | 'observe' | 'deny' {
  if (zone === 'bad') return 'deny';
  const unlisted = policy === 'observe' ? 'observe' : 'deny';
  if (zone === 'none') return unlisted;
  if (zone === 'moved') return policy === 'narrow' ? 'deny' : 'allow';
  if (zone === 'any') return 'allow';
  if (zone === 'web') return kind === 'forward' ? 'allow' : unlisted;
  if (kind === 'forward') return unlisted;
  return zone === 'trial' ? 'observe' : 'allow';
}

export interface Ports {
  readonly origin: number;
  readonly refusing: number;
  readonly silent: number;
}

export interface Stage {
  readonly ports: Ports;
  readonly settings: Settings;
  readonly policies: Readonly<Record<PolicyName, Policy>>;
  readonly view: ReportView;
  /** Who hears the origin's connections now. */
  heard: (socket: net.Socket) => void;
  close(): Promise<void>;
}

function listening(server: net.Server, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port: 0, host }, () => resolve((server.address() as net.AddressInfo).port));
  });
}

// A listener whose thread is blocked never accepts; once its short queue is full, the kernel drops what else arrives.
const DEAF = `
const { parentPort, workerData } = require('node:worker_threads');
const server = require('node:net').createServer();
server.listen({ port: 0, host: '0.0.0.0', backlog: 1 }, () => {
  parentPort.postMessage(server.address().port);
  setImmediate(() => Atomics.wait(workerData, 0, 0));
});`;

async function deafPort(): Promise<{ port: number; close: () => Promise<unknown> }> {
  const latch = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(DEAF, { eval: true, workerData: latch });
  const port = await new Promise<number>((resolve) => worker.once('message', resolve));
  const fillers: net.Socket[] = [];
  // The queue of n takes n + 1; the next one hangs. Which one that is shows only by the others' being through.
  for (let through = 0; through < 2; through++) {
    const filler = net.connect({ host: '127.0.0.1', port });
    filler.on('error', () => {});
    fillers.push(filler);
    await new Promise((resolve) => filler.once('connect', resolve));
  }
  const close = (): Promise<unknown> => {
    for (const filler of fillers) filler.destroy();
    Atomics.store(latch, 0, 1);
    Atomics.notify(latch, 0);
    return worker.terminate();
  };
  return { port, close };
}

function policyText(name: PolicyName, ports: Ports): string {
  const rule = (zone: string, protocol: string, more = ''): string =>
    `  - { host: "*.${zone}.test", ports: [${Object.values(ports).join(', ')}], protocol: ${protocol}, addresses: [${LISTED}]${more} }`;
  return [
    'version: 1',
    'listen: 127.0.0.1:3128',
    'clients: { from: [127.0.0.0/8] }',
    ...(name === 'observe' ? ['mode: observe', `observe: { addresses: [${LISTED}] }`] : []),
    'allow:',
    rule('any', 'any'),
    rule('tls', 'tls'),
    rule('ssh', 'ssh'),
    rule('web', 'http'),
    rule('trial', 'tls', ', mode: observe'),
    ...(name === 'narrow' ? [] : [rule('moved', 'any')]),
    'deny: ["*.bad.test"]',
    '',
  ].join('\n');
}

export async function openStage(): Promise<Stage> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => stage.heard(socket));
  const holder = net.createServer();
  const deaf = await deafPort();
  // Bound on one address and asked for on others: nobody else gets the port, and nobody answers there.
  const ports = {
    origin: await listening(server, '0.0.0.0'),
    refusing: await listening(holder, '127.8.0.1'),
    silent: deaf.port,
  };
  const dir = tempDir('sim-policy');
  const load = (name: PolicyName): LoadedConfig => {
    const file = writeFile(`${dir}/${name}.yaml`, policyText(name, ports));
    return loadConfigHere({ file, overrides: {}, now: Date.now() });
  };
  const wide = load('wide');
  const policy = (of: LoadedConfig): Policy => new Policy(of.policy);
  const stage: Stage = {
    ports,
    settings: wide.settings,
    policies: { wide: policy(wide), narrow: policy(load('narrow')), observe: policy(load('observe')) },
    view: createView({ catalog: loadCatalog(), rules: policy(wide).rules(), expectedDenials: [] }),
    heard: (socket) => socket.destroy(),
    close: async () => {
      server.close();
      holder.close();
      await deaf.close();
    },
  };
  return stage;
}
