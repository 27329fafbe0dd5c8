// A client that sends exactly the bytes it is told and shows exactly the bytes it gets: no HTTP library judges in between.
import net from 'node:net';
// So that it hears a reset as the product does, on each Node.js.
import '../../src/net/ends.ts';

export interface ResponseHead {
  readonly version: string;
  readonly status: number;
  /** The reason phrase: Sallyport puts the code there. */
  readonly reason: string;
  /** Lower-case names; a field that came twice is joined by ", ". */
  readonly headers: Readonly<Record<string, string>>;
}

/** Parses a head without its blank line; throws on what is not a response head. */
export function parseHead(text: string): ResponseHead {
  const [first = '', ...lines] = text.split('\r\n');
  const match = /^(HTTP\/\d\.\d) (\d{3}) ?(.*)$/.exec(first);
  if (!match) throw new Error(`not a status line: ${JSON.stringify(first)}`);
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon <= 0) throw new Error(`not a header field: ${JSON.stringify(line)}`);
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  return { version: match[1] as string, status: Number(match[2]), reason: match[3] as string, headers };
}

export class RawClient {
  readonly socket: net.Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #state: 'open' | 'ended' | 'reset' = 'open';
  #wake: () => void = () => {};

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#wake();
    });
    socket.on('end', () => this.#finish('ended'));
    socket.on('close', () => this.#finish('ended'));
    socket.on('error', () => this.#finish('reset'));
  }

  static async connect(
    to: { readonly host: string; readonly port: number },
    options: { readonly localAddress?: string } = {},
  ): Promise<RawClient> {
    const socket = net.connect({ ...to, ...options, allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawClient(socket);
  }

  /** The same for a socket that an origin has accepted. */
  static of(socket: net.Socket): RawClient {
    return new RawClient(socket);
  }

  #finish(state: 'ended' | 'reset'): void {
    if (this.#state === 'open') this.#state = state;
    this.#wake();
  }

  /** How the far end left: still open, ended in order, or reset. */
  get state(): 'open' | 'ended' | 'reset' {
    return this.#state;
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  async #until(enough: () => number): Promise<Buffer> {
    for (;;) {
      const count = enough();
      if (count >= 0) {
        const taken = this.#bytes.subarray(0, count);
        this.#bytes = this.#bytes.subarray(count);
        return taken;
      }
      if (this.#state !== 'open')
        throw new Error(
          `the far end ${this.#state} after ${JSON.stringify(this.#bytes.toString('latin1').slice(0, 200))}`,
        );
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Exactly `count` bytes. */
  read(count: number): Promise<Buffer> {
    return this.#until(() => (this.#bytes.length >= count ? count : -1));
  }

  /** Everything up to and with `marker`. */
  readUntil(marker: string): Promise<Buffer> {
    return this.#until(() => {
      const at = this.#bytes.indexOf(marker, 0, 'latin1');
      return at < 0 ? -1 : at + marker.length;
    });
  }

  /** The next response head. */
  async readHead(): Promise<ResponseHead> {
    const bytes = await this.readUntil('\r\n\r\n');
    return parseHead(bytes.toString('latin1').slice(0, -4));
  }

  /** A whole response whose body has a Content-Length or lasts until the end of the connection. */
  async readResponse(): Promise<ResponseHead & { readonly body: string }> {
    const head = await this.readHead();
    const length = head.headers['content-length'];
    const body = length === undefined ? await this.readAll() : await this.read(Number(length));
    return { ...head, body: body.toString('utf8') };
  }

  /** All bytes until the far end has ended or reset. */
  readAll(): Promise<Buffer> {
    return this.#until(() => (this.#state === 'open' ? -1 : this.#bytes.length));
  }

  /** Says that nothing more will be sent; still reads. */
  end(): void {
    this.socket.end();
  }

  close(): void {
    this.socket.destroy();
  }
}
