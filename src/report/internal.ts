// Which internal addresses the address guard met, by host: from the audit log, since the usage store keeps no addresses.
// A host is named where it was refused for its addresses, or passed only because `observe.addresses` lets it for a while.
import { listBranches } from '../audit/branch.ts';
import { parseLine } from '../audit/parse.ts';
import { listSegments, readFileLines } from '../audit/read.ts';
import { classifyAddress } from '../policy/address.ts';
import { parseAuthority } from '../policy/authority.ts';
import type { Policy } from '../policy/decide.ts';
import type { DecidedLine } from '../policy/record.ts';

/** Hosts, and addresses of one host, that are kept. */
const HOSTS_MAX = 10_000;
const ADDRESSES_MAX = 16;

/**
 * @param window ms, both ends included
 * @returns addresses by `host:port`, as in `Evidence.names`
 */
export function readInternal(
  file: string,
  policy: Policy,
  window: { readonly from: number; readonly to: number },
): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const { path } of [...listSegments(file).segments, ...listBranches(file)]) {
    for (const { text, state } of readFileLines(path)) {
      // Few lines are of interest, and parsing each would take seconds.
      const refused = text.includes('"reason":"address-prohibited"');
      if (state !== 'whole' || !(refused || text.includes('"verdict":"observe"'))) continue;
      const line = parseLine(text);
      if (line === null || line.event !== 'decided') continue;
      const time = Date.parse(line.time);
      if (time >= window.from && time <= window.to) note(found, policy, line, time);
    }
  }
  return found;
}

function note(found: Map<string, string[]>, policy: Policy, line: DecidedLine, now: number): void {
  const { host, port, method, identity } = line;
  const met = [...(line.dropped ?? []).map((text) => text.split(' ')[0] ?? ''), ...(line.addresses ?? [])];
  const internal = met.filter((address) => isInternal(address));
  if (host === null || port === null || internal.length === 0) return;
  const name = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const parsed = parseAuthority(name);
  if (!parsed.ok) return;
  const kind = method === 'CONNECT' ? ('connect' as const) : ('forward' as const);
  const path = kind === 'connect' ? null : '/';
  const decision = policy.decide({ authority: parsed.authority, kind, method, path, identity, now });
  const list = found.get(name) ?? [];
  for (const address of internal) {
    if (list.length >= ADDRESSES_MAX || list.includes(address)) continue;
    if (policy.isPrivateUpstream(parsed.authority, address)) continue;
    const verdict = policy.checkAddress(decision, parsed.authority, address);
    const guarded = verdict.ok ? verdict.observed : verdict.reason === 'address-prohibited';
    if (guarded) list.push(address);
  }
  if (list.length > 0 && (found.has(name) || found.size < HOSTS_MAX)) found.set(name, list);
}

/** Not public, and nothing that stays closed whatever a rule says. */
function isInternal(address: string): boolean {
  const addressClass = classifyAddress(address);
  return addressClass !== 'public' && addressClass !== 'metadata';
}
