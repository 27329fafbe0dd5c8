// A network namespace of the test's own in which the addresses of instance metadata exist, as addresses of its loopback, with a
// service behind them that gives out everything that a real one would, credentials first of all. Nothing leaves the namespace,
// and it goes when its holder goes. Needs the right to make one; `canMakeNamespace` says whether there is one.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { launch } from './proxy-process.ts';

export const ADDRESSES = ['169.254.169.254', '169.254.170.2'] as const;
const UP = ['ip link set lo up', ...ADDRESSES.map((address) => `ip addr add ${address}/32 dev lo`)].join(' && ');
const UNSHARE = process.getuid?.() === 0 ? ['unshare', '--net'] : ['unshare', '--user', '--map-root-user', '--net'];

export function canMakeNamespace(): boolean {
  const [program = '', ...args] = UNSHARE;
  return spawnSync(program, [...args, 'sh', '-c', UP]).status === 0;
}

export interface MetadataNamespace {
  /** Put before a command, it runs inside. */
  readonly inside: readonly string[];
  /** The name server inside: it knows metadata.google.internal. */
  readonly dns: string;
  /** What has reached the service so far, as `METHOD address path`. */
  reached(): readonly string[];
  close(): Promise<void>;
}

export async function startMetadataNamespace(): Promise<MetadataNamespace> {
  const service = join(import.meta.dirname, 'metadata-service.ts');
  const holder = launch([...UNSHARE, 'sh', '-c', `${UP} && exec "$@"`, 'sh', process.execPath, service]);
  const [, dns = ''] = await holder.printed(/^ready (\S+)$/m);
  const user = process.getuid?.() === 0 ? [] : ['--user', '--preserve-credentials'];
  return {
    inside: ['nsenter', '--target', String(holder.child.pid), '--net', ...user, '--'],
    dns,
    reached: () => [...holder.stdout().matchAll(/^reached (.*)$/gm)].map((match) => match[1] ?? ''),
    close: async () => {
      holder.child.kill('SIGKILL');
      await holder.exited;
    },
  };
}
