// A name server on loopback, UDP and TCP on one port, that answers by script: addresses, failures, silence, truncation,
// garbage, answers that change from query to query. It logs every query, so that a test can prove that none was sent.
import { Buffer } from 'node:buffer';
import dgram from 'node:dgram';
import net from 'node:net';
import packet from 'dns-packet';

export type DnsType = 'A' | 'AAAA';

export type DnsReply =
  | {
      readonly addresses: readonly string[];
      /** Seconds; 60 when left out. */
      readonly ttl?: number;
      /** The name is an alias of this one, and the addresses stand there. */
      readonly cname?: string;
      /** Over UDP only the TC bit comes back, and the client has to ask again over TCP. */
      readonly truncated?: boolean;
    }
  | 'nodata'
  | 'nxdomain'
  | 'servfail'
  | 'refused'
  /** No answer at all. */
  | 'silent'
  /** The right id, then bytes that are no message. */
  | 'garbage'
  /** A good answer with a wrong id, as one who guesses would send it. */
  | 'wrong-id';

/** A reply, or a promise of one: the query waits until the test lets it go. */
export type DnsScript = DnsReply | Promise<DnsReply>;

export interface DnsQuery {
  readonly name: string;
  readonly type: string;
  readonly transport: 'udp' | 'tcp';
  /** The client's port. */
  readonly port: number;
}

export interface DnsServer {
  /** `address:port`, as the setting dns.servers takes it. */
  readonly address: string;
  readonly port: number;
  /** Every query so far. */
  readonly log: readonly DnsQuery[];
  /** Scripts a name by its addresses of both families. */
  set(name: string, addresses: readonly string[], ttl?: number): void;
  /**
   * Scripts a name and type. Several replies are given one after the other; the last one stays. A name without a script does not
   * exist; a type without one has no data.
   */
  script(name: string, type: DnsType, ...replies: readonly DnsScript[]): void;
  /** Resolves when that many queries have been logged. */
  queries(count: number): Promise<void>;
  close(): Promise<void>;
}

// What fits into one UDP answer without fragments (DNS flag day 2020); more is truncated.
const UDP_BYTES_MAX = 1_232;
const FLAGS = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE;
const RCODES = { nxdomain: 3, servfail: 2, refused: 5 } as const;
const GARBAGE = Buffer.from('ff'.repeat(40), 'hex');

type Send = (message: Buffer) => void;

class ScriptedDns implements DnsServer {
  readonly log: DnsQuery[] = [];
  readonly #scripts = new Map<string, DnsScript[]>();
  readonly #names = new Set<string>();
  #waiters: { readonly count: number; readonly wake: () => void }[] = [];
  readonly #udp: dgram.Socket;
  readonly #tcp: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly port: number;
  readonly address: string;

  constructor(udp: dgram.Socket, tcp: net.Server) {
    this.#udp = udp;
    this.#tcp = tcp;
    const { address, port } = udp.address();
    this.port = port;
    this.address = `${address}:${port}`;
    udp.on('message', (message, from) => {
      const send: Send = (reply) => udp.send(reply, from.port, from.address, () => {});
      void this.#answer(message, 'udp', from.port, send);
    });
    tcp.on('connection', (socket) => this.#serve(socket));
  }

  set(name: string, addresses: readonly string[], ttl = 60): void {
    const four = addresses.filter((address) => net.isIPv4(address));
    const six = addresses.filter((address) => net.isIPv6(address));
    this.script(name, 'A', four.length > 0 ? { addresses: four, ttl } : 'nodata');
    this.script(name, 'AAAA', six.length > 0 ? { addresses: six, ttl } : 'nodata');
  }

  script(name: string, type: DnsType, ...replies: readonly DnsScript[]): void {
    this.#names.add(name);
    this.#scripts.set(`${type} ${name}`, [...replies]);
  }

  queries(count: number): Promise<void> {
    return new Promise((wake) => {
      this.#waiters.push({ count, wake });
      this.#wake();
    });
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#udp.close(() => resolve()));
    await new Promise<void>((resolve) => this.#tcp.close(() => resolve()));
  }

  #wake(): void {
    const ready = this.#waiters.filter(({ count }) => this.log.length >= count);
    this.#waiters = this.#waiters.filter(({ count }) => this.log.length < count);
    for (const { wake } of ready) wake();
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    let held = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
        const end = 2 + held.readUInt16BE(0);
        const message = held.subarray(2, end);
        held = held.subarray(end);
        const send: Send = (reply) => {
          const length = Buffer.alloc(2);
          length.writeUInt16BE(reply.length);
          socket.write(Buffer.concat([length, reply]));
        };
        void this.#answer(message, 'tcp', socket.remotePort ?? 0, send);
      }
    });
  }

  async #answer(message: Buffer, transport: 'udp' | 'tcp', port: number, send: Send): Promise<void> {
    const query = packet.decode(message);
    const question = query.questions?.[0];
    if (question === undefined) return;
    const name = question.name.toLowerCase();
    this.log.push({ name, type: question.type, transport, port });
    this.#wake();
    const reply = await this.#next(name, question.type);
    const id = query.id ?? 0;
    const base: packet.Packet = { type: 'response', id, flags: FLAGS, questions: [question] };
    if (reply === 'silent') return;
    if (reply === 'garbage') return send(Buffer.concat([message.subarray(0, 2), GARBAGE]));
    if (reply === 'wrong-id') {
      const guess = { ...base, id: (id + 1) & 0xffff };
      return send(packet.encode({ ...guess, answers: [{ type: 'A', name, ttl: 60, data: '192.0.2.66' }] }));
    }
    if (reply === 'nodata') return send(packet.encode(base));
    if (typeof reply === 'string') return send(packet.encode({ ...base, flags: FLAGS | RCODES[reply] }));
    const whole = packet.encode({ ...base, answers: records(name, question.type, reply) });
    const cut = transport === 'udp' && (reply.truncated === true || whole.length > UDP_BYTES_MAX);
    send(cut ? packet.encode({ ...base, flags: FLAGS | packet.TRUNCATED_RESPONSE }) : whole);
  }

  #next(name: string, type: string): DnsScript {
    const replies = this.#scripts.get(`${type} ${name}`);
    const reply = replies !== undefined && replies.length > 1 ? replies.shift() : replies?.[0];
    return reply ?? (this.#names.has(name) ? 'nodata' : 'nxdomain');
  }
}

function records(name: string, type: string, reply: Exclude<DnsReply, string>): packet.Answer[] {
  const ttl = reply.ttl ?? 60;
  const owner = reply.cname ?? name;
  const found = reply.addresses.map((data): packet.Answer => ({ type: type as DnsType, name: owner, ttl, data }));
  return reply.cname === undefined ? found : [{ type: 'CNAME', name, ttl, data: reply.cname }, ...found];
}

/**
 * Starts the server on 127.0.0.1. UDP and TCP share a port: the kernel's choice for one is retried until both are free.
 * @param wanted a port of one's own choice, inside a network namespace where it is free
 * @param host another address, inside a network namespace that the test has made
 */
export async function startTestDns(wanted = 0, host = '127.0.0.1'): Promise<DnsServer> {
  for (;;) {
    const tcp = net.createServer();
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen(wanted, host, resolve);
    });
    const { port } = tcp.address() as net.AddressInfo;
    const udp = dgram.createSocket('udp4');
    const bound = await new Promise<boolean>((resolve) => {
      udp.once('error', () => resolve(false));
      udp.bind(port, host, () => resolve(true));
    });
    if (bound) return new ScriptedDns(udp, tcp);
    udp.close();
    tcp.close();
  }
}
