// NO_PROXY as most clients read it: whether a host goes around the proxy. Tools disagree about ranges, so a range matches here only
// where it is read as one by Go and Python too, and `doctor` advises literals.
import { cidrContains, parseCidr } from '../policy/address.ts';
import { parseAuthority } from '../policy/authority.ts';

/** The entries of NO_PROXY, in the order in which they stand. */
export function noProxyEntries(text: string): string[] {
  return text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}

/** True where one of the entries covers the host: `*`, the name itself, a domain above it (with or without dot or `*.`), an address or range. */
export function goesAround(entries: readonly string[], host: string, port: number): boolean {
  return entries.some((entry) => covers(entry.toLowerCase(), host.toLowerCase(), port));
}

function covers(entry: string, host: string, port: number): boolean {
  if (entry === '*') return true;
  const range = entry.includes('/') ? parseCidr(entry) : null;
  if (range !== null) return cidrContains(range, host);
  const withPort = /:\d+$/.test(entry) && (entry.split(':').length === 2 || entry.startsWith('['));
  if (withPort) {
    const parsed = parseAuthority(entry);
    if (parsed.ok) return parsed.authority.host === host && parsed.authority.port === port;
  }
  const bare = entry.replace(/^\[|\]$/g, '').replace(/^\*?\./, '');
  return host === bare || host.endsWith(`.${bare}`);
}
