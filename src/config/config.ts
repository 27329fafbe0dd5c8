// Raw values → Settings: defaults, relations between keys, one frozen value that every other part reads.
// PURE: no file, no clock, no environment; load.ts gives it what it needs to know of the machine.
// It must not read a key twice in two ways: what stands in Settings is what the file (or the command line) says.
import { deepFreeze } from '../catalog/deep-freeze.ts';
import { DEFAULT_LIMITS, type Limits, limitProblems } from '../limits.ts';
import { type Cidr, classifyAddress, parseCidr, prefixLength } from '../policy/address.ts';
import { authorityText } from '../policy/authority.ts';
import type { Mode } from '../policy/compile.ts';
import { formatIp, parseIp } from '../policy/ip.ts';
import type { Pattern } from '../policy/pattern.ts';
import type { Attributes } from '../policy/record.ts';
import type { IdentitySettings } from './identity.ts';
import { error, type PathProblem, warning } from './issues.ts';
import type { AdminListen, Endpoint } from './leaf.ts';
import type { Parsed } from './parse.ts';
import type { ENGINES, LOG_LEVELS, ON_RELOAD } from './schema.ts';
import { placeOf, type SignedPlace } from './second-place.ts';
import type { PolicyPlace } from './source-schema.ts';
import type { StorePlace } from './store-place.ts';

export type { Endpoint } from './leaf.ts';

export interface AdminSettings extends AdminListen {
  /** The file of the token. */
  readonly tokenFile: string;
  /** Files of the certificate and its key; null where it speaks plain HTTP. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
}

export interface InspectionSettings {
  readonly ca: { readonly cert: string; readonly key: string; readonly passphraseFile: string | null };
}

/** Everything but the rules; plain data that structured clone copies. */
export interface Settings {
  /** The file as it was named; null where there is none. */
  readonly file: string | null;
  /** Where each setting comes from: `file:line`, `command line` or `default`; by key, such as `audit.file`. */
  readonly origins: Readonly<Record<string, string>>;
  readonly mode: Mode;
  readonly listen: readonly Endpoint[];
  readonly admin: AdminSettings | null;
  readonly clients: readonly Cidr[];
  readonly clientGroups: readonly { readonly from: readonly Cidr[]; readonly attributes: Attributes }[];
  /** Load balancers that say who their client is (PROXY protocol). */
  readonly proxyProtocol: readonly Cidr[];
  readonly identity: IdentitySettings;
  /** What moves the bytes. */
  readonly engine: (typeof ENGINES)[number];
  /** Processes that serve together; `auto`: one for each processor. */
  readonly workers: number | 'auto';
  readonly plainHttp: boolean;
  /** The files of the CA that signs for inspected hosts; null where nothing is inspected. */
  readonly inspection: InspectionSettings | null;
  /** Whether a change of the files reloads by itself. */
  readonly watch: boolean;
  /** What becomes of an open request that a new policy refuses. */
  readonly onReload: (typeof ON_RELOAD)[number];
  /** Servers as ip:port, IPv6 in brackets. */
  readonly dns: { readonly mode: 'system' } | { readonly mode: 'servers'; readonly servers: readonly string[] };
  readonly limits: Limits;
  readonly audit: {
    readonly file: string;
    readonly whenFull: 'refuse' | 'drop-and-mark';
    readonly sync: 'none' | 'interval' | 'batch';
    /** 0: never. */
    readonly rotateBytes: number;
    /** Where closed segments are copied. */
    readonly ship: SignedPlace | null;
    /** Where checkpoints go besides. */
    readonly checkpoints: SignedPlace | null;
  };
  readonly usage: {
    readonly store: StorePlace;
    /** Days; hourly is less than daily. */
    readonly keep: { readonly hourly: number; readonly daily: number };
  };
  readonly help: { readonly owner: string | null; readonly contact: string | null; readonly requestUrl: string | null };
  readonly expectedDenials: readonly Pattern[];
  readonly log: { readonly level: (typeof LOG_LEVELS)[number] };
  readonly node: string;
  /** Folders of own catalog files, besides the shipped ones. */
  readonly catalogDirs: readonly string[];
  /** The files of layers, in the order of their mapping; a path may have a star in its last part. */
  readonly layerFiles: readonly string[];
  /** Where the rules come from; null: from the file itself. */
  readonly policy: PolicyPlace | null;
  /** The base file of the policy where it is not the file itself. */
  readonly policyFile: string | null;
}

const DEFAULTS = {
  listen: { host: '127.0.0.1', port: 3128 },
  admin: { host: '127.0.0.1', port: 3129 },
  mode: 'enforce',
  clients: ['127.0.0.0/8', '::1/128'],
  audit: 'data/audit.jsonl',
  usage: 'data/usage.db',
  keep: { hourly: 90, daily: 400 },
  logLevel: 'info',
} as const;

/** The keys of which Settings says where they come from. */
const ORIGIN_KEYS = [
  'listen',
  'admin',
  'mode',
  'clients.from',
  'audit.file',
  'usage.store',
  'dns',
  'log.level',
  'node',
] as const;

export interface SettingsInput {
  readonly file: string | null;
  readonly parsed: Parsed;
  /** `file:line` of the value at a path, null where the file does not have it. */
  readonly origin: (path: readonly string[]) => string | null;
  readonly hostname: string;
  readonly catalogDirs: readonly string[];
  readonly identity: IdentitySettings;
  readonly layerFiles: readonly string[];
  readonly policyFile: string | null;
}

/** Builds the settings; the problems are those between keys. */
export function buildSettings(input: SettingsInput): { settings: Settings; problems: PathProblem[] } {
  const { raw, overridden } = input.parsed;
  const daily = raw.usage?.keep?.daily ?? DEFAULTS.keep.daily;
  const settings: Settings = {
    file: input.file,
    origins: Object.fromEntries(
      ORIGIN_KEYS.map((key) => [
        key,
        overridden.has(key) ? 'command line' : (input.origin(key.split('.')) ?? 'default'),
      ]),
    ),
    mode: raw.mode ?? DEFAULTS.mode,
    listen: raw.listen ?? [DEFAULTS.listen],
    admin: adminOf(raw.admin, raw.audit?.file ?? DEFAULTS.audit),
    clients: raw.clients?.from ?? DEFAULTS.clients.map(parseCidr).filter((cidr) => cidr !== null),
    clientGroups: (raw.clients?.groups ?? []).map((group) => ({
      from: group.from,
      attributes: group.set as Attributes,
    })),
    proxyProtocol: raw.proxy_protocol?.from ?? [],
    identity: input.identity,
    engine: raw.engine ?? 'auto',
    workers: raw.workers ?? 1,
    plainHttp: raw.plain_http ?? true,
    inspection: inspectionOf(raw.inspection),
    watch: raw.watch ?? true,
    onReload: raw.on_reload ?? 'keep',
    ...reachOf(raw),
    audit: {
      file: raw.audit?.file ?? DEFAULTS.audit,
      whenFull: raw.audit?.when_full ?? 'refuse',
      sync: raw.audit?.sync ?? 'interval',
      rotateBytes: raw.audit?.rotate_bytes ?? 0,
      ship: placeOf(raw.audit?.ship),
      checkpoints: placeOf(raw.audit?.checkpoints),
    },
    usage: {
      store: storeOf(raw.usage),
      keep: { hourly: raw.usage?.keep?.hourly ?? Math.min(DEFAULTS.keep.hourly, daily), daily },
    },
    help: {
      owner: raw.help?.owner ?? null,
      contact: raw.help?.contact ?? null,
      requestUrl: raw.help?.request_url ?? null,
    },
    expectedDenials: raw.expected_denials ?? [],
    log: { level: raw.log?.level ?? DEFAULTS.logLevel },
    node: raw.node ?? input.hostname,
    catalogDirs: input.catalogDirs,
    layerFiles: input.layerFiles,
    policy: raw.policy ?? null,
    policyFile: input.policyFile,
  };
  return {
    settings: deepFreeze(settings),
    problems: [...relations(settings), ...passwordProblems(raw.usage), ...placeProblems(raw.audit)],
  };
}

/** Where clients reach the proxy, plain and over TLS. */
export function proxyEndpoints(settings: Settings): readonly Endpoint[] {
  return [...settings.listen, ...(settings.identity.tls?.listen ?? [])];
}

/** What the proxy needs to reach something for itself. */
export function reachOf({ dns, limits }: Parsed['raw']): Pick<Settings, 'dns' | 'limits'> {
  return {
    dns:
      dns === undefined || dns === 'system'
        ? { mode: 'system' }
        : { mode: 'servers', servers: dns.servers.map(endpointText) },
    limits: { ...DEFAULT_LIMITS, ...(limits as Partial<Limits> | undefined) },
  };
}

/** host:port, with brackets around an IPv6 address. */
export function endpointText({ host, port }: Endpoint): string {
  return authorityText(host, port);
}

/** True where only this machine can reach the address. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || classifyAddress(host) === 'loopback';
}

function relations(settings: Settings): PathProblem[] {
  const problems = [...listenerProblems(settings), ...opennessProblems(settings)];
  for (const { name, message } of limitProblems(settings.limits)) {
    problems.push(error('config-limit', ['limits', name], message));
  }
  if (settings.audit.file === settings.usage.store) {
    problems.push(
      error(
        'config-conflict',
        ['usage', 'store'],
        `usage.store and audit.file are the same file ${settings.audit.file}`,
      ),
    );
  }
  if (settings.usage.keep.hourly > settings.usage.keep.daily) {
    const message = 'usage.keep.hourly is longer than usage.keep.daily';
    problems.push(error('config-conflict', ['usage', 'keep'], message, 'Counts are deleted after `daily`.'));
  }
  return problems;
}

interface AdminGiven {
  readonly listen?: AdminListen | undefined;
  readonly token_file?: string | undefined;
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
}

function inspectionOf(given: Parsed['raw']['inspection']): InspectionSettings | null {
  if (given === undefined) return null;
  const { cert, key, passphrase_file } = given.ca;
  return { ca: { cert, key, passphraseFile: passphrase_file ?? null } };
}

/** The token lies beside the audit log: whoever may read one may read the other. */
function adminOf(admin: Parsed['raw']['admin'], auditFile: string): AdminSettings | null {
  if (admin === null) return null;
  const { listen, token_file, tls }: AdminGiven = admin ?? {};
  const at = listen ?? { ...DEFAULTS.admin, path: null };
  return { ...at, tokenFile: token_file ?? `${auditFile}.admin-token`, tls: tls ?? null };
}

/** The place with the file of its password. */
function storeOf(usage: Parsed['raw']['usage']): StorePlace {
  const place = usage?.store ?? DEFAULTS.usage;
  if (typeof place === 'string' || usage?.password_file === undefined) return place;
  return { ...place, passwordFile: usage.password_file };
}

function passwordProblems(usage: Parsed['raw']['usage']): PathProblem[] {
  if (usage?.password_file === undefined) return [];
  const path = ['usage', 'password_file'];
  const place = usage.store ?? DEFAULTS.usage;
  if (typeof place === 'string') return [error('config-conflict', path, 'usage.store is a file and needs no password')];
  if (place.password === null) return [];
  return [error('config-conflict', path, 'usage.store has a password in its URL already', 'Remove it from the URL.')];
}

function placeProblems(audit: Parsed['raw']['audit']): PathProblem[] {
  return (['ship', 'checkpoints'] as const).flatMap((key) => {
    const given = audit?.[key];
    if (given === undefined || (given.dir === undefined) !== (given.s3 === undefined)) return [];
    return [error('config-conflict', ['audit', key], `audit.${key} names one place: dir or s3`)];
  });
}

/** Two listeners on one address: the second would fail at start, after the first has taken traffic. */
function listenerProblems(settings: Settings): PathProblem[] {
  const problems: PathProblem[] = [];
  const seen = new Set<string>();
  const check = (endpoint: Endpoint, path: readonly PropertyKey[]): void => {
    if (endpoint.port === 0) return;
    const text = endpointText(endpoint);
    if (seen.has(text))
      problems.push(error('config-conflict', path, `${text} is listened on already`, 'Choose another port.'));
    seen.add(text);
  };
  settings.listen.forEach((endpoint, index) => {
    check(endpoint, settings.listen.length === 1 ? ['listen'] : ['listen', index]);
  });
  if (settings.admin !== null) check(settings.admin, ['admin']);
  for (const [index, endpoint] of (settings.identity.tls?.listen ?? []).entries())
    check(endpoint, ['tls', 'listen', index]);
  return problems;
}

function isEveryone(cidr: Cidr): boolean {
  return prefixLength(cidr) === 0;
}

/** What is open to more than somebody probably means: mostly warnings, for there are networks where it is right. */
function opennessProblems(settings: Settings): PathProblem[] {
  const problems: PathProblem[] = [];
  const wide = proxyEndpoints(settings).filter((endpoint) => !isLoopback(endpoint.host));
  const everyone = settings.clients.findIndex(isEveryone);
  const conveys = settings.proxyProtocol.findIndex(isEveryone);
  if (conveys !== -1) {
    problems.push(
      warning(
        'config-conflict',
        ['proxy_protocol', 'from', conveys],
        `proxy_protocol.from has ${settings.proxyProtocol[conveys]?.text}: whoever connects may say which client it is`,
        'List the addresses of your load balancers alone.',
      ),
    );
  }
  const [first] = wide;
  if (first !== undefined && everyone !== -1) {
    const range = settings.clients[everyone]?.text;
    problems.push(
      warning(
        'config-conflict',
        ['clients', 'from', everyone],
        `OPEN TO EVERYONE: the proxy listens on ${endpointText(first)} and clients.from has ${range}: whoever reaches that address may use it`,
        'List the networks of your agents in clients.from.',
      ),
    );
  }
  if (first !== undefined && settings.clients.every((cidr) => isLoopback(formatIp(cidr)))) {
    problems.push(
      warning(
        'config-conflict',
        ['listen'],
        `the proxy listens on ${endpointText(first)}, and clients.from lets only this machine use it`,
        'Add the networks of your agents to clients.from.',
      ),
    );
  }
  const { admin } = settings;
  if (admin !== null && admin.tls === null && admin.path === null && !isLoopback(admin.host)) {
    problems.push(
      error(
        'config-conflict',
        ['admin'],
        `the admin listener ${endpointText(admin)} can be reached from other machines, and without TLS its token can be read on the way`,
        'Write admin: 127.0.0.1:3129, or give it a certificate: admin: { listen: …, tls: { cert: …, key: … } }.',
      ),
    );
  }
  return problems;
}

/**
 * The endpoints of this proxy as addresses, for PolicySource.self: never reached through it.
 * A listener on all interfaces stands as each address of the machine; port 0 is known only after the bind and left out.
 */
export function ownEndpoints(settings: Settings, machine: readonly string[]): { address: string; port: number }[] {
  const proxies = proxyEndpoints(settings);
  const listeners = settings.admin === null ? proxies : [...proxies, settings.admin];
  return listeners
    .filter(({ port }) => port !== 0)
    .flatMap(({ host, port }) => addressesOf(host, machine).map((address) => ({ address, port })));
}

function addressesOf(host: string, machine: readonly string[]): string[] {
  if (host === 'localhost') return ['127.0.0.1', '::1'];
  if (host === '0.0.0.0') return ['127.0.0.1', ...machine.filter((address) => parseIp(address)?.family === 4)];
  // A socket on :: takes IPv4 too.
  if (host === '::') return ['127.0.0.1', '::1', ...machine];
  return [host];
}
