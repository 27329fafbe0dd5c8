// `doctor` from beginning to end: the variables, the proxy, each host through it, the idle tunnel, the tools. Everything that is asked of
// the network is bounded in time; what cannot be looked at is skipped and said.
import type { NeverProxy } from '../catalog/catalog.ts';
import type { Authority } from '../policy/authority.ts';
import { openTunnel, type ProxyRoad } from './client-tunnel.ts';
import { bad, type Check, ok, skip } from './doctor-check.ts';
import { type Probe, probeHost, probeIdle } from './doctor-probe.ts';
import { toolChecks } from './doctor-tools.ts';
import { noProxyVariable, proxyVariables } from './doctor-variables.ts';
import type { Machine } from './machine.ts';

export interface Examination {
  readonly machine: Machine;
  /** The way to the proxy; null where none is named. */
  readonly road: ProxyRoad | null;
  /** For each step. */
  readonly timeoutMs: number;
  readonly targets: readonly Authority[];
  readonly never: readonly NeverProxy[];
  /** How long a tunnel is to stay idle; null: not asked for. */
  readonly idleMs: number | null;
  /** Told as it is found. */
  readonly progress: (what: string) => void;
}

/** Hosts that are asked for at the same time. */
const AT_ONCE = 8;

export async function examine(examination: Examination): Promise<Check[]> {
  const { machine, road, targets, never } = examination;
  const proxy = road?.proxy ?? null;
  const variables = [
    ...proxyVariables(machine.env, proxy),
    ...noProxyVariable(machine.env, never, targets, proxy?.host ?? null),
  ];
  if (road === null) return [...variables, skip({ area: 'proxy', subject: 'proxy' }, 'no proxy is named')];
  const network = await throughProxy(examination, { ...road, timeoutMs: examination.timeoutMs });
  examination.progress('looking at tools');
  return [...variables, ...network, ...(await toolChecks(machine, road.proxy))];
}

async function throughProxy({ targets, idleMs, progress }: Examination, probe: Probe): Promise<Check[]> {
  const { proxy } = probe;
  const [first] = targets;
  if (first === undefined) return [skip({ area: 'host', subject: 'hosts' }, 'no host is named')];
  progress(`asking ${proxy.place}`);
  const answers = await proxyAnswers(probe, first);
  if (answers.state === 'fail') return [answers];
  const hosts = await inTurns(targets, (target) => {
    progress(`asking for ${target.text}`);
    return probeHost(probe, target);
  });
  const reached = targets.find((_, index) => hosts[index]?.state !== 'fail');
  if (idleMs === null) return [answers, ...hosts];
  if (reached === undefined)
    return [answers, ...hosts, skip({ area: 'stream', subject: 'idle tunnel' }, 'no host can be reached')];
  progress(`a tunnel to ${reached.text} is idle for ${Math.round(idleMs / 1_000)} s`);
  return [answers, ...hosts, await probeIdle(probe, reached, idleMs)];
}

/** Whether the proxy answers at all; a refusal of the host is an answer, one of the client's credentials is not. */
async function proxyAnswers(probe: Probe, target: Authority): Promise<Check> {
  const at = { area: 'proxy', subject: probe.proxy.place } as const;
  const startedMs = performance.now();
  const opened = await openTunnel({ ...probe, target });
  const ms = Math.round(performance.now() - startedMs);
  if (opened.ok) opened.socket.destroy();
  else if (opened.step !== 'refused' || opened.status === 407)
    return bad('fail', at, opened.message, opened.hint ?? '', ms);
  return ok(at, 'answers', ms);
}

/** `work` for each, a few at a time, in the order of the list. */
async function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as T);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}
