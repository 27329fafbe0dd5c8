// Asks the name servers that the operator lists (dns.servers), A and AAAA side by side, over c-ares. No hosts file, no search
// domain: the name asked for is the name queried. Each look-up has a channel of its own: it can be cancelled alone, it has no
// query cache of its own, and its source port is fresh, so that a forger must guess port and id (RFC 5452 §9.2; a shared
// channel was seen to send 20 queries from one port). A channel costs 60 µs, once for each miss of our own cache.
import { Resolver } from 'node:dns/promises';
import { type Answer, type Lookup, type LookupSource, lookupFailure } from './lookup.ts';

// RFC 8305 §3, "Resolution Delay": once one family has given addresses, the other is waited for no longer than this.
const RESOLUTION_DELAY_MS = 50;
// c-ares asks each server TRIES times and doubles its patience in the second round: 1 + 2 shares of the whole time.
const TRIES = 2;
const SHARES = 3;

interface Found {
  readonly address: string;
  /** Seconds. */
  readonly ttl: number;
}

interface Family {
  readonly records: readonly Found[];
  /** null where the query succeeded. */
  readonly errno: string | null;
}

/**
 * A source over `servers` (`ip:port`, `[v6]:port`, or an address alone).
 * @param timeoutMs the time c-ares spreads its retries over; the resolver's own clock ends what lasts longer
 * @throws where a server is not an address
 */
export function serverLookups(servers: readonly string[], timeoutMs: number): LookupSource {
  const timeout = Math.max(1, Math.floor(timeoutMs / (SHARES * Math.max(1, servers.length))));
  const channel = (): Resolver => {
    const resolver = new Resolver({ timeout, tries: TRIES });
    resolver.setServers(servers);
    return resolver;
  };
  channel();
  return {
    lookup(host: string): Lookup {
      const resolver = channel();
      return { answer: query(resolver, host), cancel: () => resolver.cancel() };
    },
  };
}

async function query(resolver: Resolver, host: string): Promise<Answer> {
  let delay: NodeJS.Timeout | undefined;
  const family = (records: Promise<Found[]>): Promise<Family> =>
    records.then(
      (found) => {
        if (found.length > 0) delay ??= setTimeout(() => resolver.cancel(), RESOLUTION_DELAY_MS);
        return { records: found, errno: null };
      },
      (error: NodeJS.ErrnoException) => ({ records: [], errno: error.code ?? error.name }),
    );
  const [six, four] = await Promise.all([
    family(resolver.resolve6(host, { ttl: true })),
    family(resolver.resolve4(host, { ttl: true })),
  ]);
  clearTimeout(delay);
  return combine(six, four);
}

// "There is no such record" is an answer; everything else is a family that failed.
const ABSENT: readonly (string | null)[] = [null, 'ENODATA', 'ENOTFOUND'];

function combine(six: Family, four: Family): Answer {
  const records = [...six.records, ...four.records];
  if (records.length > 0) {
    const seconds = records.reduce((least, { ttl }) => Math.min(least, ttl), Number.POSITIVE_INFINITY);
    return {
      ok: true,
      addresses: records.map(({ address }) => address),
      ttlMs: Math.max(0, seconds * 1_000),
      partial: !(ABSENT.includes(six.errno) && ABSENT.includes(four.errno)),
    };
  }
  const errnos = [six.errno ?? 'ENODATA', four.errno ?? 'ENODATA'];
  // NXDOMAIN holds for every type of the name (RFC 8020); a silent or failing server says more than "no data" for one type.
  const errno = errnos.includes('ENOTFOUND') ? 'ENOTFOUND' : (errnos.find((one) => one !== 'ENODATA') ?? 'ENODATA');
  return lookupFailure(errno);
}
