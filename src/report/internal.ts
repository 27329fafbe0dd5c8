// Which internal addresses the address guard met, by host: from the audit log, since the usage store keeps no addresses.
// A host is named where it was refused for its addresses, or passed only because `observe.addresses` lets it for a while.
import { logFamily } from '../audit/family.ts';
import { listHistory, pathNow, readBatches, touchedBy } from '../audit/history.ts';
import { parseLine } from '../audit/parse.ts';
import { SallyportError } from '../errors.ts';
import { classifyAddress } from '../policy/address.ts';
import { recordedAuthority } from '../policy/authority.ts';
import type { Policy } from '../policy/decide.ts';
import type { DecidedLine } from '../policy/record.ts';

/** Hosts, and addresses of one host, that are kept. */
const HOSTS_MAX = 10_000;
const ADDRESSES_MAX = 16;

/**
 * Reads what the window touches, archives packed with gzip included; one that is damaged, as far as it goes.
 * @param window ms, both ends included
 * @returns addresses by `host:port`, as in `Evidence.names`
 */
export async function readInternal(
  file: string,
  policy: Policy,
  window: { readonly from: number; readonly to: number },
): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const log of logFamily(file)) {
    const { segments, branches } = touchedBy(await listHistory(log), window);
    for (const listed of [...segments, ...branches]) {
      const path = await pathNow(log, listed);
      if (path !== null) await readFile(path, (line, time) => note(found, policy, line, time), window);
    }
  }
  return found;
}

async function readFile(
  path: string,
  take: (line: DecidedLine, time: number) => void,
  { from, to }: { readonly from: number; readonly to: number },
): Promise<void> {
  try {
    for await (const batch of readBatches(path)) {
      for (const { text, state } of batch) {
        // Few lines are of interest, and parsing each would take seconds.
        const refused = text.includes('"reason":"address-prohibited"');
        if (state !== 'whole' || !(refused || text.includes('"verdict":"observe"'))) continue;
        const line = parseLine(text);
        if (line === null || line.event !== 'decided' || line.tunnel !== undefined) continue;
        const time = Date.parse(line.time);
        if (time >= from && time <= to) take(line, time);
      }
    }
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'audit-damaged') throw error;
  }
}

function note(found: Map<string, string[]>, policy: Policy, line: DecidedLine, now: number): void {
  const { host, port, method, identity } = line;
  const met = [...(line.dropped ?? []).map((text) => text.split(' ')[0] ?? ''), ...(line.addresses ?? [])];
  const internal = met.filter((address) => isInternal(address));
  if (host === null || port === null || internal.length === 0) return;
  const authority = recordedAuthority(host, port);
  if (authority === null) return;
  const name = authority.text;
  const kind = method === 'CONNECT' ? ('connect' as const) : ('forward' as const);
  const path = kind === 'connect' ? null : '/';
  const decision = policy.decide({ authority, kind, method, path, identity, now });
  const list = found.get(name) ?? [];
  for (const address of internal) {
    if (list.length >= ADDRESSES_MAX || list.includes(address)) continue;
    if (policy.isPrivateUpstream(authority, address)) continue;
    const verdict = policy.checkAddress(decision, authority, address);
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
