// A network for the benchmark where this machine's would be measured instead. BBR paces what it sends by timers, on loopback too: a GB then
// costs five times as much, whoever relays it. A route with Linux's own default makes loopback what it is elsewhere; it is set in a network
// namespace of the run's own, never in the machine's.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const INSIDE = 'SALLYPORT_BENCH_NETWORK';
const ROUTE = 'ip route change table local local';
const LOOPBACK = 'dev lo proto kernel scope host src 127.0.0.1 congctl cubic';
const UP = `ip link set lo up && ${ROUTE} 127.0.0.1 ${LOOPBACK} && ${ROUTE} 127.0.0.0/8 ${LOOPBACK}`;

/** How TCP sends on loopback, for who reads the figures. */
export function congestionControl(): string {
  if (process.env[INSIDE] !== undefined) return 'cubic';
  try {
    return readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim();
  } catch {
    return 'the system’s own';
  }
}

/** Does this run in a network of its own where that is needed and possible. @returns its exit status, or null: it is to be done here */
export function runElsewhere(): number | null {
  if (congestionControl() !== 'bbr') return null;
  const unshared = ['--net', 'sh', '-c', `${UP} && exec "$@"`, 'sh'];
  if (spawnSync('unshare', [...unshared, 'true']).status !== 0) {
    console.log(
      'BBR paces what is sent on loopback: the figures of a GB are those of its timers. As root a run has a network of its own.',
    );
    return null;
  }
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [INSIDE]: 'cubic' };
  return spawnSync('unshare', [...unshared, ...again], { stdio: 'inherit', env }).status ?? 1;
}
