// What a network's own log says of one connection, or of a try at one, that may have gone past the proxy. Two formats are read:
// flow-vpc.ts and flow-kernel.ts. Only checked values leave a reader (addresses, ports, counts, words of ours): no text of a log
// gets any further. PURE.
import { type Cidr, canonicalAddress, cidrContains, classifyAddress } from '../policy/address.ts';

export interface Flow {
  /** ms since the epoch, of its first and its last packet as far as the log says. */
  readonly first: number;
  readonly last: number;
  /** Source and destination, canonical. */
  readonly client: string;
  readonly host: string;
  /** null where the protocol has none, or the log leaves it out. */
  readonly clientPort: number | null;
  /** 0 where the protocol has none. */
  readonly port: number;
  /** A word of PROTOCOLS, or ip-NUMBER. */
  readonly protocol: string;
  readonly verdict: 'accept' | 'reject';
  readonly packets: number;
  readonly bytes: number;
  /** User of the process, where the log says so. */
  readonly uid: number | null;
  /** Whether the source began it; null where that cannot be seen. */
  readonly began: boolean | null;
  /** What tells it from another one with the same ends and time: the interface, or the machine and the packet's id. */
  readonly mark: string;
}

export type FlowRead =
  | { readonly kind: 'flow'; readonly flow: Flow }
  /** A head, an empty line, a time without traffic. */
  | { readonly kind: 'none' }
  /** The network says that it has lost records of that time. */
  | { readonly kind: 'lost' }
  /** A line of something else. */
  | { readonly kind: 'other' }
  | { readonly kind: 'bad'; readonly why: string };

export const NONE: FlowRead = { kind: 'none' };
export const OTHER: FlowRead = { kind: 'other' };

export function bad(why: string): FlowRead {
  return { kind: 'bad', why };
}

/** Which flows are attempts of builds. */
export interface FlowScope {
  readonly clients: readonly Cidr[];
  /** Addresses of the proxies. */
  readonly proxies: ReadonlySet<string>;
  /** Ports on which they listen. */
  readonly proxyPorts: ReadonlySet<number>;
}

/** `attempt` is what the report shows; the others are counted and left. */
export type Standing = 'attempt' | 'foreign' | 'proxy' | 'answer' | 'local';

/** Below it a port is a service's; Linux gives its own connections ports from here on. */
const EPHEMERAL_PORT_MIN = 32_768;

export function standingOf(flow: Flow, { clients, proxies, proxyPorts }: FlowScope): Standing {
  const { client, host, port } = flow;
  if (proxies.has(client) || proxies.has(host)) return 'proxy';
  const to = classifyAddress(host);
  if (to !== 'public' && to !== 'metadata' && proxyPorts.has(port)) return 'proxy';
  if (!clients.some((cidr) => cidrContains(cidr, client))) return 'foreign';
  if (['loopback', 'link-local', 'multicast', 'unspecified'].includes(to) || host === BROADCAST) return 'local';
  return isAnswer(flow) ? 'answer' : 'attempt';
}

const BROADCAST = '255.255.255.255';

function isAnswer({ began, clientPort, port }: Flow): boolean {
  if (began !== null) return !began;
  return clientPort !== null && clientPort > 0 && clientPort < EPHEMERAL_PORT_MIN && port >= EPHEMERAL_PORT_MIN;
}

/** By number (IANA) and by the kernel's word. */
const PROTOCOLS = [
  [1, 'icmp'],
  [6, 'tcp'],
  [17, 'udp'],
  [47, 'gre'],
  [50, 'esp'],
  [51, 'ah'],
  [58, 'icmpv6'],
  [132, 'sctp'],
  [136, 'udplite'],
] as const;
const BY_NUMBER: ReadonlyMap<string, string> = new Map(PROTOCOLS.map(([number, word]) => [String(number), word]));
const WORDS: ReadonlySet<string> = new Set(PROTOCOLS.map(([, word]) => word));

/** @returns null where it is neither a number of a protocol nor a word for one */
export function protocolOf(text: string): string | null {
  const word = BY_NUMBER.get(text) ?? text.toLowerCase();
  if (WORDS.has(word)) return word;
  const number = countOf(text, 255);
  return number === null ? null : `ip-${number}`;
}

/** @returns null where the text is no plain number up to `max` */
export function countOf(text: string, max: number = Number.MAX_SAFE_INTEGER): number | null {
  if (!/^\d{1,16}$/.test(text)) return null;
  const number = Number(text);
  return number <= max ? number : null;
}

/** The least a log must say; the readers turn what is wrong into a sentence. */
export interface FlowEnds {
  readonly client: string;
  readonly host: string;
  readonly protocol: string;
  readonly clientPort: number | null;
  readonly port: number;
}

/** Checks both ends as a log writes them. @returns what is wrong, as text */
export function endsOf(
  source: string,
  to: string,
  protocolText: string,
  from: string,
  port: string,
): FlowEnds | string {
  const [client, host, protocol] = [canonicalAddress(source), canonicalAddress(to), protocolOf(protocolText)];
  if (client === null) return 'the source is no address';
  if (host === null) return 'the destination is no address';
  if (protocol === null) return 'the protocol is not known';
  const hasPorts = !['icmp', 'icmpv6', 'gre', 'esp', 'ah'].includes(protocol) && !protocol.startsWith('ip-');
  if (!hasPorts) return { client, host, protocol, clientPort: null, port: 0 };
  const [clientPort, hostPort] = [from === '' || from === '-' ? null : countOf(from, 65_535), countOf(port, 65_535)];
  if (hostPort === null || (clientPort === null && from !== '' && from !== '-')) return 'a port is no number to 65535';
  return { client, host, protocol, clientPort, port: hostPort };
}
