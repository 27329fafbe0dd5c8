// A client that opens a tunnel, by CONNECT or by a WebSocket handshake, and an origin behind it. What the two do, and in which
// order, is drawn: a script yields after each act, so that the run can put anything between two of them.
import { helloMessage, records, sni } from '../net/hello-builder.ts';
import type { Chance } from './chance.ts';
import { connectClient, End, headAt, parseHead, refusalCode } from './ends.ts';
import { allowed, expected, forbidden, type Kind, type Zone } from './stage.ts';
import { Stream } from './stream.ts';
import type { DnsScript, Subject, World } from './world.ts';

/** Acts one after another; each value says what was done. */
export type Script = Generator<string, void>;

/** Port and answers for a name; some lead to what the policy forbids, some to nobody. */
export function drawTarget(world: World, chance: Chance, n: number, zone: Zone): { port: number; dns: DnsScript } {
  const { origin, refusing, silent } = world.stage.ports;
  const port = chance.often(0.84) ? origin : chance.pick([refusing, silent]);
  const [mine, foreign] = [allowed(n), forbidden(n)];
  const how = chance.weighted({
    plain: 60,
    mixed: 6,
    // A reload in the midst of a look-up is what a name that moves is here for.
    late: zone === 'moved' ? 50 : 6,
    forbidden: 4,
    fails: 4,
    silent: 2,
    odd: 2,
    many: 2,
    mapped: 2,
  });
  const dns: Record<typeof how, DnsScript> = {
    plain: { addresses: [mine] },
    mixed: {
      addresses: chance.pick([
        [foreign, mine],
        [mine, foreign],
        ['::1', foreign, mine, '0.0.0.0'],
      ]),
    },
    late: { addresses: [mine], late: true },
    forbidden: { addresses: chance.pick([[foreign], ['::1', foreign], ['::ffff:127.9.0.1'], ['0.0.0.0']]) },
    fails: { error: chance.pick(['ENOTFOUND', 'EAI_AGAIN', 'ESERVFAIL']) },
    silent: 'silent',
    odd: { addresses: chance.pick([[], ['not-an-address'], ['', mine], ['127.1', mine]]) },
    many: { addresses: [...Array.from({ length: 40 }, (_, i) => forbidden(5_000 + i)), mine] },
    mapped: { addresses: [`::ffff:${mine}`] },
  };
  return { port, dns: dns[how] };
}

export function subjectOf(
  host: string,
  zone: Zone,
  kind: Kind,
  dns: DnsScript,
  onOrigin: Subject['onOrigin'],
): Subject {
  return { host, zone, kind, dns, onOrigin, answers: 0, sent: 0, checked: false };
}

/** What a client says first; `right`: it is what the protocol and the name of a checked tunnel demand. */
interface First {
  readonly bytes: Buffer;
  readonly right: boolean;
}

function firstBytes(chance: Chance, zone: Zone, host: string): First {
  const hello = (name: string | null): Buffer =>
    records(helloMessage({ extensions: name === null ? [] : [sni(name)] }), chance.pick([16_384, 16_384, 50, 7]));
  if (zone === 'ssh' && chance.often(0.8)) return { bytes: Buffer.from('SSH-2.0-simulated\r\n'), right: true };
  if ((zone === 'tls' || zone === 'trial') && chance.often(0.8)) return { bytes: hello(host), right: true };
  const odd = chance.weighted({ other: 3, none: 2, garbage: 2, half: 2, nothing: 2 });
  const bytes: Record<typeof odd, () => Buffer> = {
    other: () => hello('other.test'),
    none: () => hello(null),
    half: () => hello(host).subarray(0, chance.int(1, 60)),
    garbage: () => Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    nothing: () => Buffer.alloc(0),
  };
  return { bytes: bytes[odd](), right: false };
}

// More than the kernel and the proxy hold on the way.
const STALLING_BYTES = 6_000_000;

/** One tunnel from the client's connect to its end. */
export class TunnelRun {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #n: number;
  readonly #subject: Subject;
  readonly #upgrade: boolean;
  readonly #target: string;
  readonly #up: Stream;
  readonly #down: Stream;
  readonly #first: First;
  readonly #hello: Buffer;
  readonly #greets: string;
  #client: End | null = null;
  #origin: End | null = null;
  #head = Buffer.alloc(0);
  #originHead = Buffer.alloc(0);
  #state: 'head' | 'open' | 'refusal' = 'head';
  #refusalLeft = 0;
  #got = 0;
  #originGot = 0;
  #upSent = 0;
  #downSent = 0;
  #originState: 'head' | 'open' = 'open';
  status = '-';
  #brokeOff = false;

  constructor(world: World, chance: Chance, n: number) {
    this.#world = world;
    this.#chance = chance;
    this.#n = n;
    const zone = chance.weighted<Zone>({ any: 8, tls: 5, ssh: 2, trial: 2, moved: 3, web: 2, bad: 1, none: 2 });
    const host = `r${n}.${zone}.test`;
    this.#upgrade = zone === 'web' || (zone === 'any' && chance.often(0.25));
    const { port, dns } = drawTarget(world, chance, n, zone);
    this.#target = `${host}:${port}`;
    this.#subject = subjectOf(host, zone, this.#upgrade ? 'forward' : 'connect', dns, (socket) =>
      this.#accept(new End(world, `origin ${n}`, socket)),
    );
    world.add(this.#subject, [allowed(n)]);
    this.#first = this.#upgrade ? { bytes: Buffer.alloc(0), right: true } : firstBytes(chance, zone, host);
    this.#hello = this.#first.bytes;
    this.#up = new Stream(n * 2, this.#hello);
    this.#down = new Stream(n * 2 + 1);
    if (this.#upgrade) this.#originState = 'head';
    this.#greets = chance.weighted({ quiet: 10, speaks: 4, resets: 2, ends: 1, deaf: 2, closes: 1 });
    this.#brokeOff = this.#greets === 'resets' || this.#greets === 'closes';
  }

  *script(): Script {
    const chance = this.#chance;
    const client = connectClient(this.#world, `client ${this.#n}`);
    this.#client = client;
    client.onBytes = (bytes) => this.#clientBytes(bytes);
    client.onLeft = () => this.#clientLeft();
    yield 'connects';
    yield* this.#sendHead(client);
    for (let acts = chance.int(0, 10); acts > 0; acts--) yield this.#act();
    yield* this.#finish();
  }

  *#sendHead(client: End): Script {
    const chance = this.#chance;
    const early = chance.often(0.4)
      ? this.#up.slice(0, chance.pick([this.#hello.length, chance.int(0, 3_000)]))
      : Buffer.alloc(0);
    const line = this.#upgrade
      ? `GET http://${this.#target}/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`
      : `CONNECT ${this.#target} HTTP/1.1\r\nHost: ${this.#target}\r\n\r\n`;
    const pieces = chance.cut(Buffer.from(line));
    const stop = chance.often(0.06) ? chance.int(0, pieces.length) : -1;
    for (const [at, piece] of pieces.entries()) {
      if (at === stop) {
        this.#breakOff(client, chance.often(0.5) ? 'reset' : 'close');
        return yield 'leaves in its head';
      }
      const last = at === pieces.length - 1;
      if (last) {
        this.#subject.sent++;
        this.#upSent = early.length;
      }
      client.send(last ? Buffer.concat([piece, early]) : piece);
      // Head bytes are not payload.
      if (pieces.length < 20 || last || at % 16 === 0)
        yield `sends ${last ? 'the rest' : 'a part'} of its head to ${this.#target}`;
    }
    // The hello comes next, if it has not come early, whole or at every byte.
    const left = this.#hello.subarray(Math.min(early.length, this.#hello.length));
    if (left.length === 0 || chance.often(0.1)) return;
    for (const piece of chance.cut(Buffer.from(left))) {
      this.#send('up', piece.length);
      if (piece.length > 1 || chance.often(0.1)) yield 'sends of its hello';
    }
  }

  #send(way: 'up' | 'down', length: number): void {
    const end = way === 'up' ? this.#client : this.#origin;
    if (!end?.usable) return;
    if (way === 'down' && this.#originState === 'head') return;
    const from = way === 'up' ? this.#upSent : this.#downSent;
    end.send((way === 'up' ? this.#up : this.#down).slice(from, length));
    if (way === 'up') this.#upSent += length;
    else this.#downSent += length;
  }

  #act(): string {
    const chance = this.#chance;
    const end = chance.often(0.5) ? this.#client : this.#origin;
    if (!end) return 'has no origin yet';
    const who = end === this.#client ? 'client' : 'origin';
    const act = chance.weighted({ sends: 12, stalls: 1.5, ends: 2, resets: 1, closes: 1, pauses: 2, resumes: 3 });
    const way = who === 'client' ? 'up' : 'down';
    if (act === 'sends') this.#send(way, chance.size());
    else if (act === 'stalls') {
      // The far end does not read, so that every buffer on the way fills.
      (who === 'client' ? this.#origin : this.#client)?.socket.pause();
      this.#send(way, STALLING_BYTES);
    } else if (act === 'ends') end.end();
    else if (act === 'resets') this.#breakOff(end, 'reset');
    else if (act === 'closes') this.#breakOff(end, 'close');
    else if (act === 'pauses') end.socket.pause();
    else end.socket.resume();
    return `${who} ${act}`;
  }

  #breakOff(end: End, how: 'reset' | 'close'): void {
    this.#brokeOff = true;
    end[how]();
  }

  /** However it stands, it comes to an end; sometimes by the proxy's own close, later. */
  *#finish(): Script {
    const ends = [this.#client, this.#origin];
    if (this.#chance.often(0.5)) ends.reverse();
    const abrupt = this.#chance.often(0.25);
    for (const end of ends) {
      end?.socket.resume();
      if (abrupt && end) this.#breakOff(end, 'reset');
      else end?.end();
      yield 'finishes';
    }
  }

  /** Nothing of it is left open after this. */
  close(): void {
    this.#client?.close();
    this.#origin?.close();
  }

  /**
   * The host, where an end is to reset or to close without waiting: what crosses with that in the kernel may still be delivered, or be
   * an error, as the engine happens to read first.
   */
  get raced(): string | null {
    return this.#brokeOff ? this.#subject.host : null;
  }

  /** What it came to, without anything that differs from run to run. */
  get result(): string {
    if (this.#brokeOff) return `${this.#subject.host} broke off`;
    return `${this.#subject.host} ${this.status} ${this.#client?.left ?? '-'} ${this.#origin?.left ?? '-'}`;
  }

  #accept(origin: End): void {
    if (this.#origin) this.#world.wrong(`${origin.name}: a second connection for one tunnel`);
    this.#origin = origin;
    origin.onBytes = (bytes) => this.#originBytes(bytes);
    origin.onLeft = () => this.#originLeft();
    const greeting = this.#greets;
    if (greeting === 'speaks') this.#send('down', this.#chance.pick([1, 300, 70_000]));
    else if (greeting === 'resets') origin.reset();
    else if (greeting === 'ends') origin.end();
    else if (greeting === 'closes') origin.close();
    else if (greeting === 'deaf') origin.socket.pause();
  }

  #originBytes(bytes: Buffer): void {
    let payload = bytes;
    if (this.#originState === 'head') {
      this.#originHead = Buffer.concat([this.#originHead, bytes]);
      const cut = headAt(this.#originHead);
      if (!cut) return;
      this.#originState = 'open';
      payload = cut.rest;
      this.#origin?.send(
        Buffer.from('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'),
      );
    }
    if (this.#subject.checked && !this.#first.right && payload.length > 0)
      this.#world.wrong(`origin ${this.#n} got a byte although the first message is not what the rule demands`);
    if (!this.#up.has(payload, this.#originGot))
      this.#world.wrong(`origin ${this.#n}: a wrong byte after ${this.#originGot}`);
    this.#originGot += payload.length;
  }

  #clientBytes(bytes: Buffer): void {
    if (this.#state === 'head') {
      this.#head = Buffer.concat([this.#head, bytes]);
      const cut = headAt(this.#head);
      if (cut) this.#answered(cut.head, cut.rest);
    } else if (this.#state === 'open') this.#downBytes(bytes);
    else this.#refusalBytes(bytes);
  }

  #answered(text: string, rest: Buffer): void {
    const head = parseHead(text);
    this.status = `${head.status} ${head.reason}`;
    if (head.status === (this.#upgrade ? 101 : 200)) {
      this.#state = 'open';
      this.#subject.answers++;
      return this.#downBytes(rest);
    }
    this.#state = 'refusal';
    const { recorded } = refusalCode(this.#world, this.#subject.host, head);
    if (recorded) this.#subject.answers++;
    this.#refusalLeft = Number(head.headers['content-length']);
    this.#refusalBytes(rest);
  }

  #refusalBytes(bytes: Buffer): void {
    this.#refusalLeft -= bytes.length;
    if (this.#refusalLeft < 0) this.#world.wrong(`${this.#subject.host}: bytes behind a refusal`);
  }

  #downBytes(bytes: Buffer): void {
    if (!this.#down.has(bytes, this.#got))
      this.#world.wrong(`client ${this.#n}: a wrong byte after ${this.#got} of its tunnel`);
    this.#got += bytes.length;
  }

  /** Who sees an orderly end has got everything that the other side had to say, and the other side has said its end. */
  #clientLeft(): void {
    const client = this.#client as End;
    if (client.left !== 'ended' || client.broke) return;
    if (this.#state === 'refusal' && this.#refusalLeft !== 0)
      this.#world.wrong(`${this.#subject.host}: a refusal without its end`);
    if (this.#state !== 'open') return;
    const origin = this.#origin;
    if (this.#refusedLater()) return;
    if (!origin?.said && !origin?.broke) this.#world.wrong(`client ${this.#n} saw an end that nobody said`);
    if (origin?.said && this.#got !== this.#downSent)
      this.#world.wrong(`client ${this.#n} saw an end after ${this.#got} of ${this.#downSent} bytes`);
  }

  #originLeft(): void {
    const { left, broke } = this.#origin as End;
    const client = this.#client as End;
    if (left !== 'ended' || broke || this.#originState === 'head' || this.#refusedLater()) return;
    if (!client.said && !client.broke && this.#state === 'open')
      this.#world.wrong(`origin ${this.#n} saw an end that nobody said`);
    // Without a 200 that was read there may have been no tunnel at all.
    if (client.said && !client.broke && this.#state === 'open' && this.#originGot !== this.#upSent)
      this.#world.wrong(`origin ${this.#n} saw an end after ${this.#originGot} of ${this.#upSent} bytes`);
  }

  /** The first-message check may close a tunnel after its 200: nothing has reached the origin then. */
  #refusedLater(): boolean {
    const checked = this.#subject.zone === 'tls' || this.#subject.zone === 'ssh';
    return (
      checked && expected(this.#world.policyName, this.#subject.zone, 'connect') === 'allow' && this.#originGot === 0
    );
  }
}
