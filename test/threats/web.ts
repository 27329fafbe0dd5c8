// An origin for plain-HTTP threats that shows every byte it got, and readers strict enough to tell one message from two.
import type { SocketHandler } from '../support/origin.ts';

/** One connection at the origin. */
export interface Visit {
  bytes: Buffer;
  /** How the proxy left. */
  state: 'open' | 'ended' | 'reset';
}

export interface Message {
  readonly start: string;
  /** Lower-case names, in order; a name may come twice. */
  readonly fields: readonly (readonly [string, string])[];
  readonly body: Buffer;
  readonly complete: boolean;
}

const CRLF = '\r\n';

/** Chunked body from `at`: its data and where it ends; null where it is not whole. Throws on a chunk that is not strict. */
function chunks(bytes: Buffer, at: number): { body: Buffer; end: number } | null {
  const parts: Buffer[] = [];
  for (let from = at; ; ) {
    const line = bytes.indexOf(CRLF, from);
    if (line < 0) return null;
    const size = bytes.subarray(from, line).toString('latin1');
    if (!/^[0-9a-f]{1,8}$/i.test(size)) throw new Error(`not a chunk size: ${JSON.stringify(size)}`);
    const end = line + 2 + Number.parseInt(size, 16);
    if (bytes.length < end + 2) return null;
    if (bytes.subarray(end, end + 2).toString('latin1') !== CRLF) throw new Error('a chunk is longer than it says');
    if (end === line + 2) return { body: Buffer.concat(parts), end: end + 2 };
    parts.push(bytes.subarray(line + 2, end));
    from = end + 2;
  }
}

export const field = (message: Message, name: string): string[] =>
  message.fields.filter(([each]) => each === name).map(([, value]) => value);

/**
 * Every message in the bytes, read strictly by RFC 9112 §6: throws on framing that two readers could read differently.
 * @param closed whether a response without framing lasts to the end of the connection
 */
export function messages(bytes: Buffer, { closed = false, bodiless = false } = {}): Message[] {
  const found: Message[] = [];
  for (let at = 0; at < bytes.length; ) {
    const headEnd = bytes.indexOf('\r\n\r\n', at);
    if (headEnd < 0) {
      const start = bytes.subarray(at).toString('latin1');
      return [...found, { start, fields: [], body: Buffer.alloc(0), complete: false }];
    }
    const [start = '', ...lines] = bytes.subarray(at, headEnd).toString('latin1').split(CRLF);
    const fields = lines.map((line) => {
      const match = /^([!#$%&'*+.^_`|~0-9a-z-]+):[ \t]*([^\0\r\n]*?)[ \t]*$/i.exec(line);
      if (!match) throw new Error(`not a field: ${JSON.stringify(line)}`);
      return [(match[1] as string).toLowerCase(), match[2] as string] as const;
    });
    const read = readBody(
      bytes,
      headEnd + 4,
      { start, fields, body: Buffer.alloc(0), complete: true },
      closed,
      bodiless,
    );
    found.push(read.message);
    if (!read.message.complete) return found;
    at = read.end;
  }
  return found;
}

function readBody(
  bytes: Buffer,
  at: number,
  head: Message,
  closed: boolean,
  bodiless: boolean,
): { message: Message; end: number } {
  const lengths = field(head, 'content-length');
  const codings = field(head, 'transfer-encoding');
  if (lengths.length + codings.length > 1) throw new Error(`two framings: ${JSON.stringify(head.fields)}`);
  const empty = bodiless || /^HTTP\/1\.\d (?:1\d\d|204|304) /.test(head.start);
  if (empty) return { message: head, end: at };
  if (codings.length > 0) {
    if (codings[0] !== 'chunked') throw new Error(`a coding: ${codings[0]}`);
    const read = chunks(bytes, at);
    if (read === null) return { message: { ...head, body: bytes.subarray(at), complete: false }, end: bytes.length };
    return { message: { ...head, body: read.body }, end: read.end };
  }
  const rest = head.start.startsWith('HTTP/') && closed ? bytes.length - at : 0;
  if (lengths.length > 0 && !/^\d+$/.test(lengths[0] as string)) throw new Error(`a length: ${lengths[0]}`);
  const length = lengths.length > 0 ? Number(lengths[0]) : rest;
  const body = bytes.subarray(at, at + length);
  return { message: { ...head, body, complete: body.length === length }, end: at + length };
}

export type Answerer = (message: Message) => string | Buffer | 'reset';

/** An origin that answers each whole request by `answer`, and keeps what it saw in `visits`. */
export function recording(visits: Visit[], answer: Answerer): SocketHandler {
  return (socket) => {
    const visit: Visit = { bytes: Buffer.alloc(0), state: 'open' };
    visits.push(visit);
    let answered = 0;
    socket.on('end', () => {
      visit.state = 'ended';
      socket.end();
    });
    socket.on('error', () => {
      visit.state = 'reset';
    });
    socket.on('close', () => {
      if (visit.state === 'open') visit.state = 'ended';
    });
    socket.on('data', (chunk: Buffer) => {
      visit.bytes = Buffer.concat([visit.bytes, chunk]);
      for (const message of messages(visit.bytes).slice(answered)) {
        if (!message.complete) return;
        answered += 1;
        const bytes = answer(message);
        if (bytes === 'reset') return void socket.resetAndDestroy();
        socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
        if (field(message, 'x-then').includes('end')) socket.end();
        if (field(message, 'x-then').includes('reset')) setImmediate(() => socket.resetAndDestroy());
      }
    });
  };
}
