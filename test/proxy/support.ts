// The data plane in this process, over real sockets: context, engine and server from a policy given as YAML text, records
// kept in memory, names answered by script. Nothing here leaves loopback, and nothing waits by the clock.
import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { onTestFinished, vi } from 'vitest';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { ClientBook } from '../../src/identity/identify.ts';
import { Proofs } from '../../src/identity/proofs.ts';
import { Inspector } from '../../src/inspect/inspector.ts';
import { createMeter, DEFAULT_LIMITS, type LimitName, type Limits, type Meter } from '../../src/limits.ts';
import type { Resolution, Resolver } from '../../src/net/resolve.ts';
import { Policy } from '../../src/policy/decide.ts';
import type { Decided, Ended, Recorder } from '../../src/policy/record.ts';
import { BoundedLog } from '../../src/proxy/bounded-log.ts';
import type { ProxyContext } from '../../src/proxy/context.ts';
import type { Engine } from '../../src/proxy/engine.ts';
import { JsEngine } from '../../src/proxy/engine-js.ts';
import { NativeEngine } from '../../src/proxy/engine-native.ts';
import { loadNative } from '../../src/proxy/native-binding.ts';
import { OpenRequests } from '../../src/proxy/open-requests.ts';
import { ProxyServer } from '../../src/proxy/server.ts';
import { Slots } from '../../src/proxy/slots.ts';
import { type Origin, startOrigin } from '../support/origin.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writeFile } from '../support/temp.ts';

interface EngineKind {
  readonly name: Engine['kind'];
  readonly make: (limits: Limits, meter: Meter) => Engine;
}

/** Every engine passes the same suite; other tests take the first. SALLYPORT_ENGINE=js|native leaves one, and fails where it is not there. */
export const ENGINES = engines(process.env['SALLYPORT_ENGINE']);

function engines(only: string | undefined): readonly [EngineKind, ...EngineKind[]] {
  const js: EngineKind = { name: 'js', make: (limits, meter) => new JsEngine(limits, meter) };
  if (only === 'js') return [js];
  // A build with sanitizers, by scripts/sanitize-native.mjs.
  const native = loadNative(process.env['SALLYPORT_NATIVE']);
  if (!native.ok) {
    if (only) throw new Error(`no native engine: ${native.why}`);
    return [js];
  }
  const make = (limits: Limits, meter: Meter): Engine => new NativeEngine(native.module, limits, meter);
  return only ? [{ name: 'native', make }] : [{ name: 'native', make }, js];
}

export type Entry = (Decided & { readonly event: 'decided' }) | (Ended & { readonly event: 'ended' });

/** Keeps records; throws on one kind of them when told to. */
export class MemoryRecorder implements Recorder {
  readonly entries: Entry[] = [];
  failing: 'decided' | 'ended' | null = null;
  #waiting: { enough: () => boolean; wake: () => void }[] = [];

  decided(record: Decided): void {
    this.#keep({ ...record, event: 'decided' });
  }

  /** In the order of the calls, as the log has it. */
  gather(record: Decided, done: (failure: unknown) => void): void {
    let failure: unknown = null;
    try {
      this.decided(record);
    } catch (error) {
      failure = error;
    }
    queueMicrotask(() => done(failure));
  }

  ended(record: Ended): void {
    this.#keep({ ...record, event: 'ended' });
  }

  note(): void {}

  #keep(entry: Entry): void {
    if (this.failing === entry.event) throw new Error('the disk is full');
    this.entries.push(entry);
    const ready = this.#waiting.filter(({ enough }) => enough());
    this.#waiting = this.#waiting.filter((one) => !ready.includes(one));
    for (const { wake } of ready) wake();
  }

  get allDecided(): Decided[] {
    return this.entries.filter((entry) => entry.event === 'decided');
  }

  get allEnded(): Ended[] {
    return this.entries.filter((entry) => entry.event === 'ended');
  }

  async #until<T>(found: () => T | undefined): Promise<T> {
    const now = found();
    if (now !== undefined) return now;
    await new Promise<void>((wake) => this.#waiting.push({ enough: () => found() !== undefined, wake }));
    return found() as T;
  }

  /** The nth decided record (from 1), as soon as it is there. */
  decidedAt(nth: number): Promise<Decided> {
    return this.#until(() => this.allDecided[nth - 1]);
  }

  /** The nth ended record (from 1), as soon as it is there. */
  endedAt(nth: number): Promise<Ended> {
    return this.#until(() => this.allEnded[nth - 1]);
  }
}

type Script = readonly string[] | Resolution | Promise<Resolution>;

/** Answers by script; what has none does not exist. `asked` proves what was never resolved. */
export class FakeResolver implements Resolver {
  readonly asked: string[] = [];
  readonly scripts = new Map<string, Script>();

  resolve(host: string): Resolution | Promise<Resolution> {
    this.asked.push(host);
    const script = this.scripts.get(host);
    if (script === undefined) {
      return net.isIP(host) > 0
        ? { ok: true, addresses: [host] }
        : { ok: false, code: 'dns-failed', detail: 'NXDOMAIN' };
    }
    return Array.isArray(script) ? { ok: true, addresses: script } : (script as Resolution | Promise<Resolution>);
  }

  /** The name's look-up stays open until the function that comes back is called. */
  hold(host: string): (answer: Resolution) => void {
    let release: (answer: Resolution) => void = () => {};
    this.scripts.set(
      host,
      new Promise((resolve) => {
        release = resolve;
      }),
    );
    return release;
  }

  stats(): never {
    throw new Error('not asked for here');
  }

  close(): void {}
}

export interface RigOptions {
  /** YAML: `allow:` and whatever else; version, listen and clients are added where missing. */
  readonly policy: string;
  readonly names?: Readonly<Record<string, readonly string[]>>;
  readonly limits?: Partial<Record<LimitName, number>>;
  readonly engine?: (limits: Limits, meter: Meter) => Engine;
  /** Further endpoints that are this proxy's own, such as its admin port. */
  readonly self?: readonly { readonly address: string; readonly port: number }[];
}

export interface Rig {
  readonly ctx: ProxyContext;
  readonly engine: Engine;
  readonly server: ProxyServer;
  readonly slots: Slots;
  readonly recorder: MemoryRecorder;
  readonly resolver: FakeResolver;
  readonly meter: Meter;
  readonly at: { readonly host: string; readonly port: number };
  /** What the operational log has so far. */
  logText(): string;
  /** Another policy, as a reload puts it in force. */
  swapPolicy(yaml: string): void;
  client(): Promise<RawClient>;
  /** A client that has sent this. */
  send(bytes: string | Uint8Array): Promise<RawClient>;
  /** A client whose CONNECT was answered with 200; what came behind the head is still to be read. */
  tunnel(target: string, early?: string | Uint8Array): Promise<RawClient>;
}

const cleanups: (() => Promise<void> | void)[] = [];

/** Runs at the end of the test, last first, and without what the test has put in the place of something. */
export function atEnd(cleanup: () => Promise<void> | void): void {
  if (cleanups.length === 0) {
    onTestFinished(async () => {
      vi.restoreAllMocks();
      for (const each of cleanups.splice(0).reverse()) await each();
    });
  }
  cleanups.push(cleanup);
}

const dir = tempDir('proxy');
let files = 0;
/** Nothing is fetched: keys come from files. */
const noKeys = { fetchKeys: () => Promise.reject(new Error('not here')), onProblem: () => {} };

function load(yaml: string): ReturnType<typeof loadConfigHere> {
  const has = (key: string): boolean => new RegExp(`^${key}:`, 'm').test(yaml);
  const head = [
    'version: 1',
    has('listen') ? '' : 'listen: 127.0.0.1:3128',
    has('clients') ? '' : 'clients: { from: [127.0.0.0/8, "::1/128"] }',
  ];
  const file = writeFile(join(dir, `policy-${++files}.yaml`), `${head.join('\n')}\n${yaml}\n`);
  return loadConfigHere({ file, overrides: {}, now: Date.now() });
}

/** Starts the data plane; it ends with the test. */
export async function startRig(options: RigOptions): Promise<Rig> {
  const { settings, policy } = load(options.policy);
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  const meter = createMeter();
  const engine = (options.engine ?? ENGINES[0].make)(limits, meter);
  const recorder = new MemoryRecorder();
  const resolver = new FakeResolver();
  for (const [name, addresses] of Object.entries(options.names ?? {})) resolver.scripts.set(name, addresses);
  const logged: string[] = [];
  let requests = 0;
  const ctx: ProxyContext = {
    policy: new Policy(policy),
    book: new ClientBook(settings, limits.clients_tracked_max),
    help: settings.help,
    plainHttp: settings.plainHttp,
    closing: false,
    draining: false,
    open: new OpenRequests(engine.tunnels),
    limits,
    meter,
    resolver,
    recorder,
    inner: null,
    inspector: new Inspector(),
    proofs: new Proofs({ limits, meter, ...noKeys }),
    log: new BoundedLog(pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) })),
    slots: new Slots(limits, meter),
    tunnelsFull: () => {
      if (engine.load <= limits.tunnels_max) return false;
      meter.hit('tunnels_max');
      return true;
    },
    nextId: () => `r${++requests}`,
  };
  ctx.proofs.use(settings.identity);
  const server = new ProxyServer(ctx, engine);
  const { address: bound } = await server.listen({ host: '127.0.0.1', port: 0 });
  const self = [{ address: bound.address, port: bound.port }, ...(options.self ?? [])];
  ctx.policy = new Policy({ ...policy, self });
  atEnd(() => {
    server.stopListening();
    server.close();
  });
  const at = { host: bound.address, port: bound.port };
  const client = async (): Promise<RawClient> => {
    const made = await RawClient.connect(at);
    atEnd(() => made.close());
    return made;
  };
  const send = async (bytes: string | Uint8Array): Promise<RawClient> => {
    const made = await client();
    made.send(bytes);
    return made;
  };
  return {
    ctx,
    engine,
    server,
    slots: ctx.slots,
    recorder,
    resolver,
    meter,
    at,
    logText: () => logged.join(''),
    swapPolicy: (yaml) => {
      ctx.policy = new Policy({ ...load(yaml).policy, self });
    },
    client,
    send,
    tunnel: async (target, early = '') => {
      const opened = await send(Buffer.concat([Buffer.from(connectHead(target)), Buffer.from(early as string)]));
      const head = await opened.readHead();
      if (head.status !== 200) throw new Error(`CONNECT ${target}: ${head.status} ${head.reason}`);
      return opened;
    },
  };
}

export const connectHead = (target: string): string => `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`;

/** `allow:` with one rule for a name on loopback. */
export const allowing = (host: string, port: number, protocol = 'any'): string =>
  `allow:\n  - { host: ${host}, ports: [${port}], protocol: ${protocol}, addresses: [127.0.0.0/8] }`;

export interface RawOrigin extends Origin {
  /** Its connections in the order they came. */
  readonly peers: readonly RawClient[];
  /** The nth connection (from 1), as soon as it is there. */
  peer(nth?: number): Promise<RawClient>;
}

/** An origin whose every byte the test reads and writes itself. */
export async function rawOrigin(options: { readonly host?: string; readonly port?: number } = {}): Promise<RawOrigin> {
  const peers: RawClient[] = [];
  let waiting: { nth: number; wake: (peer: RawClient) => void }[] = [];
  const origin = await startOrigin((socket) => {
    peers.push(RawClient.of(socket));
    for (const { nth, wake } of waiting) {
      const peer = peers[nth - 1];
      if (peer) wake(peer);
    }
    waiting = waiting.filter(({ nth }) => nth > peers.length);
  }, options);
  atEnd(() => origin.close());
  return {
    ...origin,
    peers,
    peer: (nth = 1) => {
      const there = peers[nth - 1];
      return there ? Promise.resolve(there) : new Promise((wake) => waiting.push({ nth, wake }));
    },
  };
}

/** Turns the event loop until the condition holds; throws after very many turns. */
export async function eventually(condition: () => boolean, what: string): Promise<void> {
  const until = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > until) throw new Error(`it never came true: ${what}`);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** Lets everything that is ready in the event loop run, kernel events of loopback included. */
export async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** What the kernel may hold of one direction: the buffers of both connections, as far as it lets them grow. */
export const KERNEL_BYTES = ['tcp_rmem', 'tcp_wmem']
  .map((name) => readFileSync(`/proc/sys/net/ipv4/${name}`, 'latin1'))
  .reduce((sum, triple) => sum + 2 * Number(triple.trim().split(/\s+/)[2]), 0);
/** Open descriptors of this process. */
export const openFds = (): number => readdirSync('/proc/self/fd').length;

/**
 * Dials of the engines stay open until `release`; `dials` are those that were asked for. Clients must be connected before; an engine
 * that makes its own sockets is held only where it is given.
 */
export function holdDials(engine?: Engine): { readonly dials: { readonly destroyed: boolean }[]; release(): void } {
  const dials: { destroyed: boolean }[] = [];
  const pending: (() => void)[] = [];
  const sockets: net.Socket[] = [];
  vi.spyOn(net, 'connect').mockImplementation(((options: net.TcpNetConnectOpts) => {
    const socket = new net.Socket(options);
    sockets.push(socket);
    dials.push(socket);
    pending.push(() => void socket.connect(options));
    return socket;
  }) as typeof net.connect);
  if (engine instanceof NativeEngine) {
    const { begin } = engine;
    vi.spyOn(engine, 'begin').mockImplementation((address, port, tell) => {
      let attempt: ReturnType<typeof begin> | null = null;
      const dial = { destroyed: false };
      dials.push(dial);
      pending.push(() => {
        attempt = begin(address, port, tell);
      });
      return {
        cancel: () => {
          dial.destroyed = true;
          attempt?.cancel();
        },
      };
    });
  }
  atEnd(() => {
    for (const socket of sockets) socket.destroy();
  });
  return { dials, release: () => pending.splice(0).forEach((connect) => void connect()) };
}

/** An open tunnel as a bare socket, paused, with nothing read beyond the 200. */
export async function bareTunnel(rig: Pick<Rig, 'at'>, target: string): Promise<net.Socket> {
  const socket = net.connect({ ...rig.at, allowHalfOpen: true, noDelay: true });
  atEnd(() => void socket.destroy());
  socket.write(connectHead(target));
  let held = Buffer.alloc(0);
  while (held.indexOf('\r\n\r\n') < 0) {
    const chunk = socket.read() as Buffer | null;
    if (chunk) held = Buffer.concat([held, chunk]);
    else
      await new Promise<void>((resolve, reject) => {
        socket.once('readable', resolve);
        socket.once('error', reject);
      });
  }
  if (!held.toString('latin1').startsWith('HTTP/1.1 200 ')) throw new Error(held.toString('latin1'));
  socket.removeAllListeners('readable');
  socket.removeAllListeners('error');
  const rest = held.subarray(held.indexOf('\r\n\r\n') + 4);
  if (rest.length > 0) socket.unshift(rest);
  socket.pause();
  return socket;
}
