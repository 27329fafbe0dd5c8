// Asks the system's resolver (dns: system): the hosts file, then getaddrinfo. Two traps are closed here. (1) Search domains:
// glibc asks `a.example.<search>` when `a.example` does not exist (and before it, with Kubernetes' ndots:5), so whoever owns
// the search domain could answer for an allowed name; a trailing dot forbids that, but no hosts file has one, so the file is
// read here and getaddrinfo gets the absolute name. (2) getaddrinfo cannot be cancelled and runs on libuv's few threads.
import type { LookupAddress } from 'node:dns';
import { lookup as getaddrinfo } from 'node:dns/promises';
import { readFileSync, statSync } from 'node:fs';
import { type Answer, type Lookup, type LookupSource, lookupFailure } from './lookup.ts';

// getaddrinfo tells no TTL.
const SYSTEM_TTL_MS = 30_000;
const HOSTS_FILE = '/etc/hosts';
// libuv gives getaddrinfo at most half of its threads (so that files stay readable beside a stuck name server). More at once
// would wait in libuv's queue, where a look-up that nobody wants any more cannot be taken out; in ours it can.
const THREADS_DEFAULT = 4;

type GetAddrInfo = (name: string) => Promise<readonly LookupAddress[]>;

/** What tests replace: where the hosts file is, and what stands for getaddrinfo. */
export interface SystemParts {
  readonly hostsFile?: string;
  /** Is given the absolute name, with its trailing dot. */
  readonly getaddrinfo?: GetAddrInfo;
}

/** A source over the hosts file and getaddrinfo. Docker's embedded server and NSS modules see the absolute name, too. */
export function systemLookups(parts: SystemParts = {}): LookupSource {
  const hosts = new HostsFile(parts.hostsFile ?? HOSTS_FILE);
  const queue = new Queue(parts.getaddrinfo ?? ((name) => getaddrinfo(name, { all: true, order: 'verbatim' })));
  return {
    lookup(host: string): Lookup {
      const listed = hosts.addresses(host);
      if (listed.length === 0) return queue.lookup(host);
      return { answer: Promise.resolve(found(listed)), cancel: () => {} };
    },
  };
}

function found(addresses: readonly string[]): Answer {
  return { ok: true, addresses, ttlMs: SYSTEM_TTL_MS, partial: false };
}

/** Runs as many look-ups as libuv really does; the others wait here and can leave. */
class Queue {
  readonly #getaddrinfo: GetAddrInfo;
  readonly #runningMax: number;
  #running = 0;
  readonly #waiting = new Set<() => void>();

  constructor(getaddrinfo: GetAddrInfo) {
    this.#getaddrinfo = getaddrinfo;
    const threads = Number(process.env['UV_THREADPOOL_SIZE']) || THREADS_DEFAULT;
    this.#runningMax = Math.max(1, Math.floor((threads + 1) / 2));
  }

  lookup(host: string): Lookup {
    const { promise, resolve } = Promise.withResolvers<Answer>();
    const start = (): void => {
      this.#running += 1;
      void this.#run(host).then(resolve);
    };
    if (this.#running < this.#runningMax) start();
    else this.#waiting.add(start);
    const cancel = (): void => {
      if (this.#waiting.delete(start)) resolve(lookupFailure('ECANCELLED'));
    };
    return { answer: promise, cancel };
  }

  async #run(host: string): Promise<Answer> {
    try {
      const addresses = await this.#getaddrinfo(`${host}.`);
      return found(addresses.map(({ address }) => address));
    } catch (error) {
      const { code, name } = error as NodeJS.ErrnoException;
      return lookupFailure(code ?? name);
    } finally {
      this.#running -= 1;
      const [next] = this.#waiting;
      if (next !== undefined) {
        this.#waiting.delete(next);
        next();
      }
    }
  }
}

/** The hosts file, read again when it has changed. A file that cannot be read lists nothing. */
class HostsFile {
  readonly #path: string;
  #stamp = '';
  #names: ReadonlyMap<string, readonly string[]> = new Map();

  constructor(path: string) {
    this.#path = path;
  }

  addresses(host: string): readonly string[] {
    try {
      const { ino, size, mtimeMs } = statSync(this.#path);
      const stamp = `${ino} ${size} ${mtimeMs}`;
      if (stamp !== this.#stamp) {
        this.#names = parseHosts(readFileSync(this.#path, 'utf8'));
        this.#stamp = stamp;
      }
    } catch {
      this.#names = new Map();
      this.#stamp = '';
    }
    return this.#names.get(host) ?? [];
  }
}

// hosts(5): an address, then names, separated by blanks; # begins a comment. A name may stand on several lines.
function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [address, ...aliases] = (line.split('#', 1)[0] ?? '').trim().split(/\s+/);
    if (!address) continue;
    for (const alias of aliases) {
      const name = alias.toLowerCase();
      const addresses = names.get(name);
      if (addresses === undefined) names.set(name, [address]);
      else addresses.push(address);
    }
  }
  return names;
}
