// One simulated run: the real proxy (server, walk, engine, forwarder, resolver, audit log) in this process, with a disk, a name
// service and a clock that fail when the run says so. It watches every question, record and connection as they come, and
// keeps what it saw go wrong in `violations`.
import fs from 'node:fs';
import type net from 'node:net';
import path from 'node:path';
import { pino } from 'pino';
import { vi } from 'vitest';
import { type AppendCalls, REAL_CALLS } from '../../src/audit/append.ts';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import type { AuditOptions } from '../../src/audit/options.ts';
import { ClientBook } from '../../src/identity/identify.ts';
import { Proofs } from '../../src/identity/proofs.ts';
import { Inspector } from '../../src/inspect/inspector.ts';
import { createMeter, DEFAULT_LIMITS, type LimitName, type Limits, type Meter } from '../../src/limits.ts';
import { createResolver, type Resolver } from '../../src/net/resolve.ts';
import type { Decided, Ended, Recorder } from '../../src/policy/record.ts';
import { BoundedLog } from '../../src/proxy/bounded-log.ts';
import type { ProxyContext } from '../../src/proxy/context.ts';
import type { Engine } from '../../src/proxy/engine.ts';
import { OpenRequests } from '../../src/proxy/open-requests.ts';
import { type OnReload, redecide } from '../../src/proxy/redecide.ts';
import { ProxyServer } from '../../src/proxy/server.ts';
import { Slots } from '../../src/proxy/slots.ts';
import { tempDir } from '../support/temp.ts';
import { expected, type Kind, type PolicyName, type Stage, type Zone } from './stage.ts';

export type DiskFault = 'full' | 'short' | 'short and not cut back';

/** The log's disk: the faults that are set hit the next writes, one each; `full` lasts. */
export class Disk implements AppendCalls {
  readonly faults: (DiskFault | null)[] = [];
  full = false;
  #cutFails = false;
  /** The process has "crashed": nothing of it reaches the disk any more. */
  gone = false;

  writeSync(fd: number, text: string): number {
    if (this.gone) throw new Error('EIO: the process is gone');
    const fault = this.faults.shift() ?? (this.full ? 'full' : null);
    if (fault === null) return REAL_CALLS.writeSync(fd, text);
    if (fault === 'full') throw new Error('ENOSPC: no space left on device, write');
    this.#cutFails = fault === 'short and not cut back';
    return REAL_CALLS.writeSync(fd, text.slice(0, text.length >> 1));
  }

  ftruncateSync(fd: number, length: number): void {
    if (this.#cutFails || this.gone) {
      this.#cutFails = false;
      throw new Error('EIO: i/o error, ftruncate');
    }
    REAL_CALLS.ftruncateSync(fd, length);
  }

  heal(): void {
    this.faults.length = 0;
    this.full = false;
  }
}

/** What the name service does with a name: addresses (perhaps after `release`), an error code, or nothing at all. */
export type DnsScript =
  | { readonly addresses: readonly string[]; readonly late?: boolean }
  | { readonly error: string }
  | 'silent';

/** A name that is asked for, and what is to be checked about it. */
export interface Subject {
  readonly host: string;
  readonly zone: Zone;
  readonly kind: Kind;
  readonly dns: DnsScript;
  /** Hears each connection to one of its addresses. */
  readonly onOrigin: (socket: net.Socket) => void;
  /** Answers that reached the client, other than those that the proxy gives without a record. */
  answers: number;
  /** Requests whose head went out whole. */
  sent: number;
  /** Let through by a rule whose first-message check is enforced. */
  checked: boolean;
}

export interface WorldOptions {
  readonly stage: Stage;
  readonly make: (limits: Limits, meter: Meter) => Engine;
  readonly whenFull: AuditOptions['whenFull'];
  readonly onReload: OnReload;
  readonly limits: Partial<Record<LimitName, number>>;
  readonly boot: string;
}

export class World {
  readonly stage: Stage;
  readonly disk = new Disk();
  readonly violations: string[] = [];
  readonly trace: string[] = [];
  readonly dir = tempDir('sim');
  readonly file = path.join(this.dir, 'audit.jsonl');
  readonly whenFull: AuditOptions['whenFull'];
  readonly onReload: OnReload;
  readonly limits: Limits;
  readonly subjects = new Map<string, Subject>();
  readonly owners = new Map<string, Subject>();
  readonly audit: AuditLog;
  readonly ctx: ProxyContext;
  readonly engine: Engine;
  readonly slots: Slots;
  readonly server: ProxyServer;
  readonly logged: string[] = [];
  /** Counts whatever happens at the edges; the run waits until it stands still. */
  activity = 0;
  policyName: PolicyName = 'wide';
  rotations = 0;
  at = { host: '127.0.0.1', port: 0 };
  readonly #releases: (() => void)[] = [];
  readonly #granted = new Set<string>();
  readonly #ended = new Map<string, number>();

  constructor(options: WorldOptions) {
    this.stage = options.stage;
    this.whenFull = options.whenFull;
    this.onReload = options.onReload;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.audit = this.openLog();
    const meter = createMeter();
    this.engine = options.make(this.limits, meter);
    this.slots = new Slots(this.limits, meter);
    this.ctx = this.#context(options.boot, meter);
    this.server = new ProxyServer(this.ctx, this.engine);
    this.stage.heard = (socket) => this.#connected(socket);
  }

  async start(): Promise<void> {
    const { address: bound } = await this.server.listen({ host: '127.0.0.1', port: 0 });
    this.at = { host: bound.address, port: bound.port };
  }

  openLog(over: Partial<AuditOptions> = {}): AuditLog {
    const { file, limits, whenFull, disk } = this;
    return openAuditLog({
      file,
      node: 'n1',
      limits,
      whenFull,
      sync: 'none',
      now: () => new Date(),
      calls: disk,
      ...over,
    });
  }

  /** Puts another policy in force, as a reload does: everything in one turn. */
  usePolicy(name: PolicyName): void {
    this.policyName = name;
    this.ctx.policy = this.stage.policies[name];
    this.ctx.book = new ClientBook(this.stage.settings, this.limits.clients_tracked_max);
    const { onReload, ctx } = this;
    void redecide(ctx, onReload).then((done) => {
      if (done === null || onReload === 'keep' || this.policyName !== name) return;
      for (const { facts, kind } of ctx.open.values()) {
        const subject = this.subjects.get(facts.host ?? '');
        if (subject && expected(name, subject.zone, kind) === 'deny') this.wrong(`${facts.host} is open under ${name}`);
      }
    });
  }

  rotate(): void {
    fs.renameSync(this.file, `${this.file}.${++this.rotations}`);
    try {
      this.audit.reopen();
    } catch {
      // The new file could not be begun: as logrotate's operator would, the rotation is undone.
      fs.renameSync(`${this.file}.${this.rotations--}`, this.file);
    }
  }

  add(subject: Subject, addresses: readonly string[]): void {
    this.subjects.set(subject.host, subject);
    for (const address of addresses) this.owners.set(address, subject);
  }

  releaseNames(): void {
    for (const release of this.#releases.splice(0)) release();
  }

  wrong(what: string): void {
    this.violations.push(what);
  }

  saw(): void {
    this.activity++;
  }

  #context(boot: string, meter: Meter): ProxyContext {
    const { settings, policies } = this.stage;
    let requests = 0;
    const getaddrinfo = (name: string) => this.#lookUp(name.replace(/\.$/, ''));
    return {
      policy: policies.wide,
      book: new ClientBook(settings, this.limits.clients_tracked_max),
      help: settings.help,
      plainHttp: true,
      closing: false,
      draining: false,
      limits: this.limits,
      meter,
      resolver: this.#watched(
        createResolver({
          dns: { mode: 'system', servers: [] } as never,
          limits: this.limits,
          meter,
          system: { hostsFile: '/dev/null', getaddrinfo },
        }),
      ),
      recorder: this.#recorder(),
      inner: null,
      inspector: new Inspector(),
      proofs: new Proofs({
        limits: this.limits,
        meter,
        fetchKeys: () => Promise.reject(new Error('none')),
        onProblem: () => {},
      }),
      open: new OpenRequests(this.engine.tunnels),
      log: new BoundedLog(pino({ level: 'error' }, { write: (line: string) => void this.logged.push(line) })),
      slots: this.slots,
      tunnelsFull: () => this.engine.load > this.limits.tunnels_max,
      nextId: () => `${boot}-${(++requests).toString(36)}`,
    };
  }

  /** The resolver as it is, and the question at its door: may this name be resolved now? */
  #watched(resolver: Resolver): Resolver {
    const ask = (host: string): void => {
      this.saw();
      const subject = this.subjects.get(host);
      if (!subject) this.wrong(`a name was resolved that nobody asked for: ${host}`);
      else if (expected(this.policyName, subject.zone, subject.kind) === 'deny')
        this.wrong(`a denied name was resolved: ${host} under ${this.policyName}`);
    };
    return {
      resolve: (host, client) => {
        ask(host);
        return resolver.resolve(host, client);
      },
      stats: () => resolver.stats(),
      close: () => resolver.close(),
    };
  }

  async #lookUp(host: string): Promise<{ address: string; family: number }[]> {
    this.saw();
    const dns = this.subjects.get(host)?.dns ?? { error: 'ENOTFOUND' };
    if (dns === 'silent' || ('late' in dns && dns.late))
      await new Promise<void>((resolve) => this.#releases.push(resolve));
    if (dns === 'silent') throw Object.assign(new Error('no answer'), { code: 'EAI_AGAIN' });
    if ('error' in dns) throw Object.assign(new Error('failed'), { code: dns.error });
    return dns.addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  }

  #recorder(): Recorder {
    return {
      decided: (record) => {
        this.saw();
        this.#judge(record);
        this.audit.decided(record);
        this.#grant(record);
      },
      gather: (record, done) => {
        this.saw();
        this.#judge(record);
        this.audit.gather(record, (failure) => {
          if (failure === null) this.#grant(record);
          done(failure);
        });
      },
      ended: (record) => {
        this.saw();
        this.#countEnd(record);
        this.audit.ended(record);
      },
      note: (record) => this.audit.note(record),
    };
  }

  #grant({ verdict, outcome, host }: Decided): void {
    if (verdict !== 'deny' && outcome === undefined && host) this.#granted.add(host);
  }

  /** The verdict against the oracle, in the very turn in which it falls. */
  #judge(record: Decided): void {
    const subject = record.host === null ? undefined : this.subjects.get(record.host);
    if (record.policy !== this.ctx.policy.digest) this.wrong(`${record.id} is recorded with a policy not in force`);
    if (!subject || record.verdict === 'deny') return;
    const should = expected(this.policyName, subject.zone, record.method === 'CONNECT' ? 'connect' : 'forward');
    subject.checked =
      (subject.zone === 'tls' || subject.zone === 'ssh') &&
      this.policyName !== 'observe' &&
      record.method === 'CONNECT';
    if (should === 'deny' || (should === 'observe' && record.verdict === 'allow'))
      this.wrong(`${record.host} got ${record.verdict} under ${this.policyName}; it should be ${should}`);
  }

  #countEnd({ id, host, verdict }: Ended): void {
    const times = (this.#ended.get(id) ?? 0) + 1;
    this.#ended.set(id, times);
    if (times > 1) this.wrong(`${id} (${host}) was ended ${times} times, now as ${verdict}`);
    if (host !== null && !this.#granted.has(host)) this.wrong(`${id} (${host}) was ended and never let through`);
  }

  #connected(socket: net.Socket): void {
    this.saw();
    const address = socket.localAddress ?? '';
    const subject = this.owners.get(address);
    if (!subject) {
      this.wrong(`a connection to ${address}, which no policy passed`);
      socket.destroy();
      return;
    }
    if (!this.#granted.has(subject.host)) this.wrong(`${subject.host} was dialled before its record stood`);
    subject.onOrigin(socket);
  }

  /** Moves the clock of the proxy's own timers. */
  advance(ms: number): void {
    vi.advanceTimersByTime(ms);
  }

  /** Turns the event loop until nothing has happened at the edges for some turns: what was done has had its effect. */
  async settle(still = 12): Promise<void> {
    for (let quiet = 0, before = -1; quiet < still; ) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      quiet = before === this.activity ? quiet + 1 : 0;
      before = this.activity;
    }
  }
}
