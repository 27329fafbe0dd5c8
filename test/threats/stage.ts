// The stage of one file of the threat suite: the built proxy, an allowed origin, decoys at every address where a mistake of
// the proxy would arrive, and the checks that hold after every case: one decided record, no dial and no query for a refusal,
// a whole answer on a closed connection, and a proxy that still serves the next client.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DecidedLine, EndedLine, Line } from '../../src/policy/record.ts';
import { echo, type Origin, type SocketHandler, startOrigin } from '../support/origin.ts';
import { auditLines, readAudit } from '../support/proxy-process.ts';
import { parseHead, RawClient, type ResponseHead } from '../support/raw-client.ts';
import type { PolicyFile } from '../support/temp.ts';
import { startWorld, type World } from '../support/world.ts';

/** The names of every stage. `denied.test` has no rule; were it let through, its address would lead to a decoy. */
export const ALLOWED = 'allowed.test';
export const DENIED = 'denied.test';

/** Where the allowed origin is; the only address that the stage's rules list. */
export const ORIGIN_HOST = '127.0.0.1';
/** Where denied names and forbidden addresses lead: each has a listener on the origin's port that counts. */
export const DECOYS = ['127.0.0.2', '127.0.0.3', '::1'] as const;

/** "Every refusal completes or closes within 10 s": the bound of one case, set-up not counted. */
const CASE_MS = 10_000;

export type Want =
  /** The tunnel opens, and bytes come back as they went. */
  | { readonly kind: 'works'; readonly host: string }
  | { readonly kind: 'refused'; readonly status: number; readonly code: string; readonly resolves: boolean }
  /** Let through, and then the origin could not be reached. */
  | { readonly kind: 'failed'; readonly status: number; readonly code: string };

/** The tunnel opens to `host` (canonical) and is byte-exact. */
export const works = (host: string = ALLOWED): Want => ({ kind: 'works', host });
/** Refused with this status and code, whole, and the connection is closed; nothing is resolved or dialled. */
export const refused = (status: number, code: string): Want => ({ kind: 'refused', status, code, resolves: false });
/** The same for what can be known only after the name was resolved. */
export const refusedAfterLookup = (status: number, code: string): Want => ({
  kind: 'refused',
  status,
  code,
  resolves: true,
});

export const failed = (status: number, code: string): Want => ({ kind: 'failed', status, code });

export const malformed = refused(400, 'authority-malformed');
/** Refused by Node's parser, before ours. */
export const badTarget = refused(400, 'target-malformed');
export const notListed = refused(403, 'host-not-allowed');

/** A case: its name, the bytes (a character each; `{p}` stands for the origin's port, `{x.test}` for a further origin with its port), and what must come of it. */
export type Case = readonly [name: string, bytes: string | Buffer, want: Want];

export interface Answer extends ResponseHead {
  readonly body: string;
}

export interface Mark {
  readonly lines: number;
  readonly accepted: readonly number[];
  /** Connections of the further origins, all together. */
  readonly others: number;
  readonly queries: number;
}

/** The bytes of a CONNECT with a sound head around `target`. */
export const connect = (target: string): string => `CONNECT ${target} HTTP/1.1\r\nHost: ${ALLOWED}:{p}\r\n\r\n`;

/** Text as the bytes of its UTF-8, a character each: what a client sends that does not encode its host. */
export const utf8 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

export const isDecided = (line: Line): line is DecidedLine => line.event === 'decided';
export const isEnded = (line: Line): line is EndedLine => line.event === 'ended';

export interface StageOptions {
  readonly policy?: PolicyFile | ((stage: Stage) => PolicyFile);
  readonly names?: Readonly<Record<string, readonly string[]>>;
  readonly origin?: SocketHandler;
  /** Further allowed origins by host, each on a port of its own; their rules stand behind those of `policy`. */
  readonly origins?: Readonly<Record<string, SocketHandler>>;
}

/** One listener on each address, all on one port of the kernel's choice: a decoy must stand where the origin's port is. */
async function startOrigins(handler: SocketHandler): Promise<[Origin, Origin[]]> {
  for (;;) {
    const origin = await startOrigin(handler, { host: ORIGIN_HOST });
    const opened = await Promise.allSettled(
      DECOYS.map((host) => startOrigin((socket) => void socket.end('decoy'), { host, port: origin.port })),
    );
    const decoys = opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    if (decoys.length === DECOYS.length) return [origin, decoys];
    await Promise.all([origin, ...decoys].map((one) => one.close()));
  }
}

export class Stage {
  world!: World;
  origin!: Origin;
  decoys!: readonly Origin[];
  readonly #others = new Map<string, Origin>();

  async open(options: StageOptions): Promise<void> {
    [this.origin, this.decoys] = await startOrigins(options.origin ?? echo);
    const names: Record<string, readonly string[]> = { [ALLOWED]: [ORIGIN_HOST], [DENIED]: ['127.0.0.2'] };
    for (const [host, handler] of Object.entries(options.origins ?? {})) {
      this.#others.set(host, await startOrigin(handler, { host: ORIGIN_HOST }));
      names[host] = [ORIGIN_HOST];
    }
    const { policy = {} } = options;
    const { allow = [this.rule(ALLOWED)], ...changes } = typeof policy === 'function' ? policy(this) : policy;
    const others = [...this.#others].map(([host, { port }]) => this.rule(host, { ports: [port] }));
    this.world = await startWorld(
      { allow: [...(allow as PolicyFile[]), ...others], ...changes },
      { ...names, ...options.names },
    );
  }

  /** One of the further origins. */
  at(host: string): Origin {
    const origin = this.#others.get(host);
    if (!origin) throw new Error(`no origin ${host}`);
    return origin;
  }

  /** Opens a tunnel; its head is read. */
  async tunnel(host: string = ALLOWED, early: string | Buffer = ''): Promise<RawClient> {
    const port = this.#others.get(host)?.port ?? this.port;
    const client = await this.client();
    client.send(Buffer.concat([this.bytes(connect(`${host}:${port}`)), this.bytes(early)]));
    expect((await client.readHead()).status).toBe(200);
    return client;
  }

  async close(): Promise<void> {
    await this.world?.close();
    await Promise.all([this.origin, ...(this.decoys ?? []), ...this.#others.values()].map((one) => one?.close()));
  }

  get port(): number {
    return this.origin.port;
  }

  /** A rule for the origin's port and address, without a look at the content. */
  rule(host: string, more: PolicyFile = {}): PolicyFile {
    return { host, ports: [this.port], protocol: 'any', addresses: [`${ORIGIN_HOST}/32`], ...more };
  }

  bytes(text: string | Buffer): Buffer {
    if (typeof text !== 'string') return text;
    const named = text.replace(/\{([a-z.]*\.test)\}/g, (_, host: string) => `${host}:${this.at(host).port}`);
    return Buffer.from(named.replaceAll('{p}', String(this.port)), 'latin1');
  }

  client(): Promise<RawClient> {
    return RawClient.connect(this.world.proxy.proxy);
  }

  mark(): Mark {
    return {
      lines: readAudit(this.world.auditFile).length,
      accepted: [this.origin, ...this.decoys].map((one) => one.connections()),
      others: this.#othersAccepted(),
      queries: this.world.dns.log.length,
    };
  }

  #othersAccepted(): number {
    return [...this.#others.values()].reduce((sum, one) => sum + one.connections(), 0);
  }

  since(mark: Mark): Line[] {
    return readAudit(this.world.auditFile).slice(mark.lines);
  }

  /** Connections that the origin and the decoys accepted since. */
  dialled(mark: Mark): number[] {
    return [this.origin, ...this.decoys].map((one, at) => one.connections() - (mark.accepted[at] ?? 0));
  }

  /** The lines since `mark`, as soon as they are `count`. */
  lines(mark: Mark, count: number): Promise<Line[]> {
    return auditLines(this.world.auditFile, (all) => begunIn(all.slice(mark.lines)).length >= count).then((all) =>
      begunIn(all.slice(mark.lines)),
    );
  }

  /** Sends one request and holds everything that must be true of it. */
  async run(bytes: string | Buffer, want: Want): Promise<void> {
    const mark = this.mark();
    const client = await this.client();
    client.send(this.bytes(bytes));
    if (want.kind === 'works') await this.holdsTunnel(client, mark, want.host);
    else if (want.kind === 'failed') await this.holdsFailure(client, mark, want);
    else await this.holdsRefusal(client, mark, want);
    client.close();
    await this.good(mark, want.kind === 'refused' ? 1 : 2);
  }

  /** Nothing was asked of a name server or an origin since. */
  untouched(mark: Mark, resolves = false): void {
    expect(this.dialled(mark), 'connections to origin and decoys').toEqual([0, ...DECOYS.map(() => 0)]);
    expect(this.#othersAccepted() - mark.others, 'connections to further origins').toBe(0);
    if (!resolves) expect(this.world.dns.log.slice(mark.queries), 'queries').toEqual([]);
  }

  async holdsRefusal(client: RawClient, mark: Mark, want: Extract<Want, { kind: 'refused' }>): Promise<Answer> {
    const answer = whole(await client.readAll());
    expect(`${answer.status} ${answer.reason}`).toBe(`${want.status} ${want.code}`);
    expect(answer.headers['sallyport-code']).toBe(want.code);
    expect(answer.headers['connection']).toBe('close');
    this.untouched(mark, want.resolves);
    expect(this.since(mark).filter(isDecided)).toMatchObject([{ outcome: want.code }]);
    return answer;
  }

  async holdsFailure(client: RawClient, mark: Mark, want: Extract<Want, { kind: 'failed' }>): Promise<Answer> {
    const answer = whole(await client.readAll());
    expect(`${answer.status} ${answer.reason}`).toBe(`${want.status} ${want.code}`);
    const [decided, ended] = await this.lines(mark, 2);
    expect(decided).toMatchObject({ event: 'decided', verdict: 'allow' });
    expect(ended).toMatchObject({ event: 'ended', id: (decided as DecidedLine).id, outcome: want.code, bytes_up: 0 });
    expect(this.dialled(mark).slice(1), 'decoys').toEqual(DECOYS.map(() => 0));
    return answer;
  }

  async holdsTunnel(client: RawClient, mark: Mark, host = ALLOWED): Promise<void> {
    const head = await client.readHead();
    expect(`${head.status} ${head.reason}`).toBe('200 Connection established');
    expect(head.headers).toEqual({});
    client.send('ping\0\xff');
    expect((await client.read(6)).toString('latin1')).toBe('ping\0\xff');
    client.end();
    expect((await client.readAll()).length).toBe(0);
    // Requests of the test before may still end: this one is known by its six bytes.
    const own = (line: Line): line is EndedLine => isEnded(line) && line.host === host && line.bytes_up === 6;
    const lines = (await auditLines(this.world.auditFile, (all) => all.slice(mark.lines).some(own))).slice(mark.lines);
    const ended = lines.findLast(own);
    expect(ended).toMatchObject({ outcome: 'closed', bytes_up: 6, bytes_down: 6 });
    const decided = lines.find((line) => isDecided(line) && line.id === ended?.id);
    expect(decided).toMatchObject({ host, port: this.port, verdict: 'allow', reason: 'allowed' });
    expect(decided).not.toHaveProperty('outcome');
    expect(this.dialled(mark)).toEqual([1, ...DECOYS.map(() => 0)]);
  }

  /** A good request works, and between `mark` and it there were exactly `before` records. */
  async good(mark?: Mark, before = 0): Promise<void> {
    const own = this.mark();
    const client = await this.client();
    client.send(this.bytes(connect(`${ALLOWED}:{p}`)));
    await this.holdsTunnel(client, own);
    client.close();
    if (mark) expect(begunIn(this.since(mark)).length, 'records').toBe(before + 2);
  }
}

/** Without the ends of requests that were decided before: a test may begin while those of the one before it still end. */
export function begunIn(lines: readonly Line[]): Line[] {
  const begun = new Set(lines.filter(isDecided).map(({ id }) => id));
  return lines.filter((line) => !isEnded(line) || begun.has(line.id));
}

/** An HTTP response that ended with the connection: its body is as long as it says. */
export function whole(bytes: Buffer): Answer {
  const text = bytes.toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) throw new Error(`no response head: ${JSON.stringify(text.slice(0, 200))}`);
  const head = parseHead(text.slice(0, end));
  const body = text.slice(end + 4);
  expect(head.headers['content-length']).toBe(String(body.length));
  return { ...head, body };
}

/** A stage for this test file, made before its first case and struck after its last. */
export function useStage(options: StageOptions = {}): Stage {
  const stage = new Stage();
  beforeAll(() => stage.open(options));
  afterAll(() => stage.close());
  return stage;
}

/** A row of docs/threat-model.md (its number and its title) with its cases. */
export function row(title: string, stage: Stage, cases: readonly Case[]): void {
  describe(title, () => {
    it.each(cases)('%s', { timeout: CASE_MS }, (_, bytes, want) => stage.run(bytes, want));
  });
}

/** Sends bytes that the kernel has taken when this resolves: without Nagle's algorithm a segment of their own. */
export function flushed(client: RawClient, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    client.socket.write(bytes, () => resolve());
  });
}
