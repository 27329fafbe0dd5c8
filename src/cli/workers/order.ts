// What a primary and its workers say to each other, and how the settings of the policy file become those of one worker. A worker is a
// whole proxy: the primary opens the listening sockets, passes them on, and keeps what all of them must know together.
import type { AddressInfo } from 'node:net';
import { availableParallelism } from 'node:os';
import type { Fork } from '../../audit/branch.ts';
import { workerLog, workerNode } from '../../audit/family.ts';
import type { Settings } from '../../config/config.ts';
import type { LoadedConfig } from '../../config/load.ts';
import type { Lease, LeaseBegun, LeaseChange } from '../../identity/leases.ts';
import { dividedLimits, WORKERS_MAX } from '../../limits.ts';
import type { Mode } from '../../policy/compile.ts';
import type { Note } from '../../policy/record.ts';
import type { Place } from '../places.ts';

/** Environment variable of a worker: the pid of its primary. */
export const WORKER_OF = 'SALLYPORT_WORKER_OF';
/** Descriptor of the first socket that a worker gets; those before it are the standard streams and the channel to the primary. */
export const FIRST_SOCKET = 4;

/** Plain data: a message copies it. */
type StartSettings = Pick<Settings, 'engine' | 'dns' | 'limits' | 'audit' | 'usage'>;

/** What a worker is to be. What of the policy file takes effect at the next start is the primary's start, for late workers too. */
export interface Order {
  /** Counts from 1. */
  readonly worker: number;
  readonly workers: number;
  readonly auditFile: string;
  readonly node: string;
  /** What takes effect at a start alone, as the primary has it. */
  readonly start: StartSettings;
  /** Those of its sockets, in the order of the descriptors. */
  readonly places: readonly Place[];
  /** All endpoints of the proxy: never reached through it. */
  readonly guarded: readonly AddressInfo[];
  /** Where the primary asks it for its pages, and with which token; null where the policy has no admin listener. */
  readonly admin: { readonly path: string; readonly token: string } | null;
  /** For the digests of credentials. */
  readonly key: string;
  readonly leases: readonly Lease[];
  /** Where the worker of this number of the process before has given its log free; null where there is none. */
  readonly takeOver: Fork | null;
}

export type LeaseResult = LeaseBegun | boolean;

/** What a worker asks the primary, with the answer that it waits for. */
export type Question =
  | { readonly about: 'lease'; readonly change: LeaseChange }
  | { readonly about: 'bind'; readonly digest: string; readonly address: string; readonly untilMs: number }
  | { readonly about: 'attempt'; readonly address: string };

export type Act = 'reload' | 'reopen' | 'end';

export type ToWorker =
  | { readonly type: 'order'; readonly order: Order }
  | { readonly type: 'act'; readonly act: Act }
  /** An upgrade: the log is to be given free; then the upgrade has failed, or another process serves now. */
  | { readonly type: 'hand-over'; readonly attempt: number }
  | { readonly type: 'take-back' }
  /** `counted`: a worker of that process writes the log, and counts it. */
  | { readonly type: 'replaced'; readonly counted: boolean }
  /** One change of the leases; all workers hear of all changes in the same order. */
  | { readonly type: 'lease'; readonly number: number; readonly change: LeaseChange }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown };

export type FromWorker =
  | { readonly type: 'ready'; readonly engine: string }
  | { readonly type: 'failed'; readonly why: string }
  | { readonly type: 'in-force'; readonly policy: string; readonly mode: Mode }
  | { readonly type: 'reload' }
  /** A reload is over; the digest is that of the policy in force now. */
  | { readonly type: 'reloaded'; readonly policy: string }
  | { readonly type: 'health'; readonly notReady: string | null }
  | { readonly type: 'noted'; readonly note: Note }
  | { readonly type: 'handed'; readonly attempt: number; readonly fork: Fork | null; readonly why: string }
  | { readonly type: 'ask'; readonly id: number; readonly question: Question }
  | { readonly type: 'right'; readonly address: string }
  | { readonly type: 'applied'; readonly number: number; readonly result: LeaseResult };

/** How many processes are to serve. */
export function workersOf({ workers }: Pick<Settings, 'workers'>): number {
  return workers === 'auto' ? Math.min(availableParallelism(), WORKERS_MAX) : workers;
}

/** Of the settings what a reload does not change, for workers that start later. */
export function startSettings({ engine, dns, limits, audit, usage }: Settings): StartSettings {
  return { engine, dns, limits, audit, usage };
}

/** Settings of the policy file → those with which a worker starts: the file may be a newer one than that of the others' start. */
export function atStart(loaded: LoadedConfig, order: Order): LoadedConfig {
  return asWorker({ ...loaded, settings: { ...loaded.settings, ...order.start } }, order);
}

/** Settings of the policy file → those of one worker. */
export function asWorker(loaded: LoadedConfig, order: Order): LoadedConfig {
  const { worker, workers, auditFile, node, admin } = order;
  const { settings } = loaded;
  return {
    ...loaded,
    settings: {
      ...settings,
      node: workerNode(node, worker),
      limits: dividedLimits(settings.limits, workers),
      audit: { ...settings.audit, file: workerLog(auditFile, worker) },
      admin: admin && { host: '', port: 0, path: admin.path, tokenFile: '', tls: null },
    },
  };
}
