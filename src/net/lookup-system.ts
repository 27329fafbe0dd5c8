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
    lookup(host: string, client: string): Lookup {
      const listed = hosts.addresses(host);
      if (listed.length === 0) return queue.lookup(host, client);
      return { answer: Promise.resolve(found(listed)), cancel: () => {} };
    },
  };
}

function found(addresses: readonly string[]): Answer {
  return { ok: true, addresses, ttlMs: SYSTEM_TTL_MS, partial: false };
}

interface Waiting {
  readonly host: string;
  /** Whose turns it may take; empty once it runs, or has left. */
  readonly clients: Set<string>;
  readonly settle: (answer: Answer) => void;
}

/**
 * Runs as many look-ups as libuv really does; the others wait here and can leave. Clients take turns, and where there are two
 * threads or more no client has all of them: names that never answer hold up those who ask for them.
 */
class Queue {
  readonly #getaddrinfo: GetAddrInfo;
  readonly #runningMax: number;
  readonly #shareMax: number;
  readonly #running: string[] = [];
  /** By client, the next turn first. */
  readonly #waiting = new Map<string, Set<Waiting>>();

  constructor(getaddrinfo: GetAddrInfo) {
    this.#getaddrinfo = getaddrinfo;
    const threads = Number(process.env['UV_THREADPOOL_SIZE']) || THREADS_DEFAULT;
    this.#runningMax = Math.max(1, Math.floor((threads + 1) / 2));
    this.#shareMax = Math.max(1, this.#runningMax - 1);
  }

  lookup(host: string, client: string): Lookup {
    const { promise, resolve } = Promise.withResolvers<Answer>();
    const waiting: Waiting = { host, clients: new Set(), settle: resolve };
    this.#add(waiting, client);
    return {
      answer: promise,
      join: (other) => {
        if (waiting.clients.size > 0) this.#add(waiting, other);
      },
      cancel: () => {
        if (this.#leave(waiting)) resolve(lookupFailure('ECANCELLED'));
      },
    };
  }

  #add(waiting: Waiting, client: string): void {
    waiting.clients.add(client);
    const queue = this.#waiting.get(client);
    if (queue === undefined) this.#waiting.set(client, new Set([waiting]));
    else queue.add(waiting);
    this.#fill();
  }

  /** @returns false where it waits no more */
  #leave(waiting: Waiting): boolean {
    if (waiting.clients.size === 0) return false;
    for (const client of waiting.clients) {
      const queue = this.#waiting.get(client);
      queue?.delete(waiting);
      if (queue?.size === 0) this.#waiting.delete(client);
    }
    waiting.clients.clear();
    return true;
  }

  #fill(): void {
    for (const [client, queue] of this.#waiting) {
      if (this.#running.length >= this.#runningMax) return;
      if (this.#running.filter((other) => other === client).length >= this.#shareMax) continue;
      const [next] = queue;
      if (next === undefined) continue;
      this.#leave(next);
      if (this.#waiting.delete(client)) this.#waiting.set(client, queue);
      this.#running.push(client);
      void this.#run(next.host, client).then(next.settle);
    }
  }

  async #run(host: string, client: string): Promise<Answer> {
    try {
      const addresses = await this.#getaddrinfo(`${host}.`);
      return found(addresses.map(({ address }) => address));
    } catch (error) {
      const { code, name } = error as NodeJS.ErrnoException;
      return lookupFailure(code ?? name);
    } finally {
      this.#running.splice(this.#running.indexOf(client), 1);
      this.#fill();
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
