// A client that sends plain-HTTP requests on one connection, one after the other or all at once, and an origin that answers
// well, badly, or not at all. Every body is a known stream; whoever sees a whole message has got the whole of it.
import type { Chance } from './chance.ts';
import { connectClient, End, headAt, parseHead, refusalCode } from './ends.ts';
import { allowed, type Zone } from './stage.ts';
import { BodyReader, chunksOf, LAST_CHUNK, Stream } from './stream.ts';
import { drawTarget, type Script, subjectOf } from './tunnel.ts';
import type { Subject, World } from './world.ts';

const WHOLE = ['length', 'chunked', 'close', 'empty', 'early', 'interim'] as const;
const BROKEN = [
  'garbage',
  'reset',
  'cut',
  'short',
  'two lengths',
  'endless interim',
  'silent',
  'unasked upgrade',
] as const;
type Reply = (typeof WHOLE)[number] | (typeof BROKEN)[number];

interface Request {
  readonly index: number;
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly framing: 'none' | 'length' | 'chunked';
  readonly bodyBytes: number;
  readonly reply: Reply;
  readonly replyBytes: number;
  readonly up: Stream;
  readonly down: Stream;
  /** Its whole body is on the wire. */
  wholeSent: boolean;
  seenByOrigin: number;
}

/** An answer that is being read. */
interface Reading {
  readonly request: Request;
  readonly body: BodyReader;
  readonly refusal: boolean;
  got: number;
}

export class ExchangeRun {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #n: number;
  readonly #subject: Subject;
  readonly #target: string;
  readonly #requests: Request[] = [];
  readonly #origins: End[] = [];
  #over = false;
  #client: End | null = null;
  #held = Buffer.alloc(0);
  #reading: Reading | null = null;
  #next = 0;
  readonly results: string[] = [];

  constructor(world: World, chance: Chance, n: number) {
    this.#world = world;
    this.#chance = chance;
    this.#n = n;
    const zone = chance.weighted<Zone>({ web: 8, any: 4, moved: 3, tls: 1, trial: 1, ssh: 1, bad: 1, none: 2 });
    const host = `r${n}.${zone}.test`;
    const { port, dns } = drawTarget(world, chance, n, zone);
    this.#target = `${host}:${port}`;
    this.#subject = subjectOf(host, zone, 'forward', dns, (socket) =>
      this.#accept(new End(world, `origin ${n}`, socket)),
    );
    world.add(this.#subject, [allowed(n)]);
    for (let index = 0, count = chance.pick([1, 1, 2, 4]); index < count; index++)
      this.#requests.push(this.#draw(index));
  }

  #draw(index: number): Request {
    const chance = this.#chance;
    const method = chance.pick(['GET', 'GET', 'GET', 'HEAD', 'POST', 'POST', 'PUT'] as const);
    const framing =
      method === 'GET' || method === 'HEAD' ? 'none' : chance.pick(['none', 'length', 'chunked'] as const);
    const bodyBytes = framing === 'none' ? 0 : chance.size();
    const reply = chance.often(0.7) ? chance.pick(WHOLE) : chance.pick(BROKEN);
    const key = this.#n * 16 + index * 2 + 100_000;
    const up = new Stream(key);
    const down = new Stream(key + 1);
    return {
      index,
      method,
      framing,
      bodyBytes,
      reply,
      replyBytes: chance.size(),
      up,
      down,
      wholeSent: false,
      seenByOrigin: 0,
    };
  }

  *script(): Script {
    const chance = this.#chance;
    const client = connectClient(this.#world, `client ${this.#n}`);
    this.#client = client;
    client.onBytes = (bytes) => this.#clientBytes(bytes);
    client.onLeft = () => this.#clientLeft();
    yield 'connects';
    const all = chance.often(0.3);
    for (const request of this.#requests) {
      yield* this.#sendRequest(client, request);
      if (chance.often(0.08)) {
        const how = chance.pick(['reset', 'close', 'end'] as const);
        client[how]();
        yield `client ${how}s behind a request`;
      }
      if (chance.often(0.05)) this.#origins.at(-1)?.reset();
      if (!all) yield 'waits';
    }
    yield 'is done';
    for (const end of [client, ...this.#origins]) {
      end.end();
      yield 'finishes';
    }
  }

  *#sendRequest(client: End, request: Request): Script {
    const { method, framing, bodyBytes, up, index } = request;
    const fields = [`Host: ${this.#target}`];
    if (framing === 'length') fields.push(`Content-Length: ${bodyBytes}`);
    if (framing === 'chunked') fields.push('Transfer-Encoding: chunked');
    if (framing !== 'none' && this.#chance.often(0.2)) fields.push('Expect: 100-continue');
    const head = `${method} http://${this.#target}/${index} HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`;
    const body = up.slice(0, bodyBytes);
    const framed =
      framing === 'chunked'
        ? Buffer.concat([chunksOf(body, this.#chance.pick([10_000, 65_536, 500])), LAST_CHUNK])
        : body;
    const pieces = this.#chance.cut(Buffer.from(head));
    for (const [at, piece] of pieces.entries()) {
      if (at === pieces.length - 1 && client.usable) this.#subject.sent++;
      client.send(piece);
      if (piece.length > 1) yield `sends of a head: ${method} ${this.#target} (${request.reply})`;
    }
    const stop = this.#chance.often(0.07) ? this.#chance.int(0, framed.length) : framed.length;
    const size = Math.max(1, Math.ceil(framed.length / this.#chance.pick([1, 1, 2, 5])));
    for (let at = 0; at < stop; at += size) {
      client.send(framed.subarray(at, Math.min(stop, at + size)));
      yield 'sends of a body';
    }
    if (stop === framed.length) request.wholeSent = !client.broke;
    else {
      if (this.#chance.often(0.5)) client.reset();
      else client.end();
      yield 'leaves in a body';
    }
  }

  close(): void {
    this.#over = true;
    for (const end of [this.#client, ...this.#origins]) end?.close();
  }

  readonly raced = null;

  get result(): string {
    return `${this.#subject.host} ${this.results.join(', ')} ${this.#client?.left}`;
  }

  // The origin: reads requests one after the other and answers each as its path says.
  #accept(origin: End): void {
    // A request that can be sent once more is, when this run's end breaks its connection.
    if (this.#over) return origin.close();
    this.#origins.push(origin);
    let held: Buffer = Buffer.alloc(0);
    let reading: { request: Request; body: BodyReader; got: number } | null = null;
    origin.onBytes = (bytes) => {
      held = Buffer.concat([held, bytes]);
      for (;;) {
        if (reading === null) {
          const cut = headAt(held);
          if (!cut) return;
          held = cut.rest;
          reading = this.#requestSeen(cut.head);
          if (reading.request.reply === 'early') this.#reply(origin, reading.request);
        }
        const { request, body } = reading;
        const { payload, rest } = body.feed(held);
        held = rest;
        if (!request.up.has(payload, reading.got))
          this.#world.wrong(`origin ${this.#n}: a wrong byte in the body of request ${request.index}`);
        reading.got += payload.length;
        if (!body.complete) return;
        if (
          reading.got !== request.bodyBytes ||
          (request.framing !== 'none' && !request.wholeSent && !this.#client?.usable && reading.got < request.bodyBytes)
        )
          this.#world.wrong(`origin ${this.#n}: a body of ${reading.got} of ${request.bodyBytes} bytes looks whole`);
        reading = null;
        if (request.reply !== 'early') this.#reply(origin, request);
      }
    };
  }

  #requestSeen(head: string): { request: Request; body: BodyReader; got: number } {
    const [line = '', ...fields] = head.split('\r\n');
    const path = /^(\w+) \/(\d+) HTTP\/1\.1$/.exec(line);
    const request = this.#requests[Number(path?.[2])];
    if (!path || !request || path[1] !== request.method) throw new Error(`an unknown request came: ${line}`);
    request.seenByOrigin++;
    const again = request.method === 'GET' || request.method === 'HEAD' ? 2 : 1;
    if (request.seenByOrigin > again)
      this.#world.wrong(`origin ${this.#n}: request ${request.index} came ${request.seenByOrigin} times`);
    const length = fields
      .map((field) => /^content-length: (\d+)$/i.exec(field)?.[1])
      .find((value) => value !== undefined);
    const chunked = fields.some((field) => /^transfer-encoding: chunked$/i.test(field));
    const framing = chunked
      ? ({ kind: 'chunked' } as const)
      : ({ kind: 'length', length: Number(length ?? 0) } as const);
    return { request, body: new BodyReader(framing), got: 0 };
  }

  #reply(origin: End, request: Request): void {
    const { reply, replyBytes } = request;
    const body = request.method === 'HEAD' ? Buffer.alloc(0) : request.down.slice(0, replyBytes);
    const say = (...parts: (string | Buffer)[]): void =>
      origin.send(Buffer.concat(parts.map((part) => Buffer.from(part as string))));
    const ok = 'HTTP/1.1 200 Fine\r\n';
    const sized = `${ok}Content-Length: ${replyBytes}\r\n\r\n`;
    if (reply === 'length' || reply === 'early') say(sized, body);
    else if (reply === 'interim') say('HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n', sized, body);
    else if (reply === 'chunked')
      say(
        `${ok}Transfer-Encoding: chunked\r\n\r\n`,
        ...(request.method === 'HEAD' ? [] : [chunksOf(body, 9_000), LAST_CHUNK]),
      );
    else if (reply === 'empty') say('HTTP/1.1 204 None\r\n\r\n');
    else if (reply === 'garbage') say('I am not HTTP\r\n\r\n');
    else if (reply === 'two lengths') say(`${ok}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`);
    else if (reply === 'endless interim') say('HTTP/1.1 102 Wait\r\n\r\n'.repeat(100));
    else if (reply === 'unasked upgrade')
      say('HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello');
    else if (reply === 'cut' || reply === 'short') say(`${ok}Content-Length: ${replyBytes + 10}\r\n\r\n`, body);
    else if (reply === 'close') say(`${ok}\r\n`, body);
    if (reply === 'close' || reply === 'short') origin.end();
    if (reply === 'reset') origin.reset();
    // What was sent must get to the far end before the reset may overtake it.
    if (reply === 'cut') origin.socket.write('', () => origin.reset());
  }

  // The client: reads answers in the order of its requests.
  #clientBytes(bytes: Buffer): void {
    this.#held = Buffer.concat([this.#held, bytes]);
    for (;;) {
      if (this.#reading === null) {
        const cut = headAt(this.#held);
        if (!cut) return;
        this.#held = Buffer.from(cut.rest);
        this.#answerBegins(cut.head);
        if (this.#reading === null) continue;
      }
      const reading = this.#reading as Reading;
      const { payload, rest } = reading.body.feed(this.#held);
      this.#held = Buffer.from(rest);
      if (!reading.refusal && !reading.request.down.has(payload, reading.got))
        this.#world.wrong(`client ${this.#n}: a wrong byte in the answer to request ${reading.request.index}`);
      reading.got += payload.length;
      if (!reading.body.complete) return;
      this.#answerEnds();
    }
  }

  #answerBegins(text: string): void {
    const head = parseHead(text);
    if (head.status === 100) return;
    const request = this.#requests[this.#next++];
    if (!request) throw new Error(`an answer that nobody asked for: ${head.status} ${head.reason}`);
    const refusal = 'sallyport-code' in head.headers;
    const length = head.headers['content-length'];
    const chunked = head.headers['transfer-encoding'] === 'chunked';
    if (refusal) {
      const { recorded } = refusalCode(this.#world, this.#subject.host, head);
      if (recorded) this.#subject.answers++;
    } else {
      if (head.status >= 300 || request.seenByOrigin === 0)
        this.#world.wrong(`${this.#subject.host}: an answer ${head.status} from nowhere`);
      this.#subject.answers++;
    }
    // Where a connection is turned away at once, nobody has read that it was a HEAD.
    const turnedAway = head.reason === 'connections-full';
    const bodiless = (request.method === 'HEAD' && !turnedAway) || head.status === 204;
    const body = bodiless
      ? new BodyReader({ kind: 'none' })
      : new BodyReader(
          length !== undefined ? { kind: 'length', length: Number(length) } : { kind: chunked ? 'chunked' : 'close' },
        );
    this.#reading = { request, body, got: 0, refusal };
    this.results.push(refusal ? head.reason : String(head.status));
  }

  #answerEnds(): void {
    const { request, got, refusal, body } = this.#reading as Reading;
    this.#reading = null;
    if (refusal || body.framing.kind === 'none') return;
    const whole = (WHOLE as readonly string[]).includes(request.reply);
    if (!whole || got !== request.replyBytes)
      this.#world.wrong(
        `${this.#subject.host}: a ${request.reply} answer of ${request.replyBytes} bytes looks whole after ${got}`,
      );
  }

  #clientLeft(): void {
    const client = this.#client as End;
    if (client.left !== 'ended' || client.broke) return;
    if (this.#reading?.body.framing.kind === 'close') this.#answerEnds();
    else if (this.#reading?.refusal) this.#world.wrong(`${this.#subject.host}: a refusal without its end`);
    else if (this.#held.length > 0)
      this.#world.wrong(
        `${this.#subject.host}: a head without its end: ${JSON.stringify(this.#held.toString('latin1', 0, 300))} after ${this.results}`,
      );
  }
}
