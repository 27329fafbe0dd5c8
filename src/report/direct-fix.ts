// What likely made a build go past the proxy, and what to do about it: by port, protocol, address and user. A guess from what a
// network's log says, which is no name and no program; so it says what is most often behind such a connection. PURE.
import { classifyAddress } from '../policy/address.ts';

export interface Attempt {
  /** Canonical address. */
  readonly host: string;
  readonly port: number;
  readonly protocol: string;
  /** A process of root made it. */
  readonly root: boolean;
}

export interface Fix {
  /** Stable word for it. */
  readonly kind: string;
  /** The same for people, in a few words. */
  readonly title: string;
  /** What to do. */
  readonly text: string;
}

const NTP_AWS = '169.254.169.123';
const DNS_AWS = '169.254.169.253';

const DNS: Fix = {
  kind: 'dns',
  title: 'DNS',
  text: 'The proxy resolves the names of what goes through it, so builds need no resolver for them; a client that resolves by itself does not use the proxy. Let agents reach the resolver of their network only.',
};
const MAIL: Fix = {
  kind: 'mail',
  title: 'mail',
  text: 'Let builds hand it to a service over HTTPS, or to a relay in the network.',
};

// biome-ignore format: a table, one port a line
const BY_PORT: Readonly<Record<string, Fix>> = {
  'tcp 22': { kind: 'git-ssh', title: 'git over SSH', text: '`git config --global url."https://HOST/".insteadOf "git@HOST:"` sends it over HTTPS through the proxy; or allow HOST:22 and write `ProxyCommand sallyport connect %h %p` into ~/.ssh/config.' },
  'tcp 9418': { kind: 'git-protocol', title: 'git://', text: 'It has no encryption and knows no proxy: `git config --global url."https://".insteadOf git://`.' },
  'tcp 80': { kind: 'http', title: 'plain HTTP past the proxy', text: 'A client does not use the proxy for plain HTTP: set http_proxy (`sallyport env`), for apt `Acquire::http::Proxy`.' },
  'tcp 53': DNS,
  'udp 53': DNS,
  'tcp 853': { kind: 'dns', title: 'DNS', text: 'DNS over TLS, a resolver past that of the network. Point the machine to the resolver of its network.' },
  'udp 123': { kind: 'ntp', title: 'time', text: 'Point chrony or systemd-timesyncd to the time source of the network (169.254.169.123 on AWS); NTP goes through no proxy.' },
  'udp 443': { kind: 'quic', title: 'HTTP/3', text: 'It goes through no proxy: clients fall back to TCP by themselves when it is refused. Nothing to do.' },
  'tcp 873': { kind: 'rsync', title: 'rsync', text: 'Set RSYNC_PROXY=PROXY:3128 and allow HOST:873 with `protocol: any`.' },
  'tcp 11371': { kind: 'keyserver', title: 'key server', text: 'By its old port: use hkps:// (port 443), which goes through the proxy.' },
  'tcp 25': MAIL,
  'tcp 465': MAIL,
  'tcp 587': MAIL,
};

const METADATA: Fix = {
  kind: 'metadata',
  title: 'instance metadata',
  text: 'Agents reach it directly (`sallyport env` puts it into NO_PROXY), so let the network rules open it for who needs tags or credentials; it is no host for the proxy.',
};
const PLATFORM: Fix = {
  kind: 'platform',
  title: "the platform's own service",
  text: 'Its resolver or time source: open it in the network rules; it goes through no proxy.',
};
const DOCKERD: Fix = {
  kind: 'dockerd',
  title: 'a daemon of root, likely dockerd',
  text: 'It reads no environment of builds: give it its own setting (`sallyport env --for dockerd`).',
};
const HTTPS: Fix = {
  kind: 'https',
  title: 'HTTPS past the proxy',
  text: 'A client does not use the proxy: set https_proxy (`sallyport env`). Some have a setting of their own: dockerd (`sallyport env --for dockerd`), Java, Node.js before it is told, systemd services.',
};
const PING: Fix = { kind: 'ping', title: 'ping', text: 'It goes through no proxy: test with a request instead.' };
const INTERNAL: Fix = {
  kind: 'internal',
  title: 'internal address',
  text: 'Name its host in NO_PROXY and open it in the network rules, or let it go through the proxy with `addresses` on its rule.',
};
const UNKNOWN: Fix = {
  kind: 'unknown',
  title: 'not known',
  text: 'Find the program (`ss -tnp` on the agent, or `log flags skuid` in the rule), then let it use the proxy, or open the address in the network rules.',
};

/** The likely fix; never empty. */
export function fixOf({ host, port, protocol, root }: Attempt): Fix {
  const of = classifyAddress(host);
  if (host === NTP_AWS || host === DNS_AWS) return PLATFORM;
  if (of === 'metadata') return METADATA;
  if (protocol === 'icmp' || protocol === 'icmpv6') return PING;
  if (of !== 'public') return BY_PORT[`${protocol} ${port}`] ?? INTERNAL;
  if (protocol === 'tcp' && (port === 443 || port === 80) && root) return DOCKERD;
  if (protocol === 'tcp' && port === 443) return HTTPS;
  return BY_PORT[`${protocol} ${port}`] ?? UNKNOWN;
}
