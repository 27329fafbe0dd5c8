// Reads the server name out of a TLS ClientHello (RFC 8446 §4.1.2, §5.1; RFC 6066 §3) before one byte reaches the origin.
// PURE and strict: what two readers could understand differently is refused, since the origin's reader is the one that
// counts: a name told twice, lengths that do not add up, bytes behind the hello in its record. It decrypts nothing and
// compares nothing; whether the name is the one asked for is the caller's question.
import { parseHost } from '../policy/authority.ts';

export type Hello =
  /** `atLeast`: bytes in all without which it cannot become ok; more than the caller will hold is a reason to give up now. */
  | { readonly state: 'need-more'; readonly atLeast: number }
  /** `serverName` is canonical like the host of an authority. `ech`: it is only the outer name of an encrypted hello. */
  | { readonly state: 'ok'; readonly serverName: string; readonly ech: boolean }
  | { readonly state: 'refused'; readonly reason: 'not-tls' | 'sni-missing' | 'sni-mismatch'; readonly detail: string };

type Refused = Extract<Hello, { state: 'refused' }>;

const RECORD_HEADER_BYTES = 5;
const RECORD_BYTES_MAX = 16_384; // RFC 8446 §5.1
const HANDSHAKE_RECORD = 22;
const MESSAGE_HEADER_BYTES = 4;
const CLIENT_HELLO = 1;
const RANDOM_BYTES = 32;
const SESSION_ID_BYTES_MAX = 32;
const SERVER_NAME = 0x0000;
const APPLICATION_PROTOCOLS = 0x0010;
const ENCRYPTED_CLIENT_HELLO = 0xfe0d; // RFC 9849
const HOST_NAME = 0;
const NAME_BYTES_MAX = 254; // 253 and a trailing dot

/**
 * Looks at the first bytes a client sent. Call it with all bytes so far, and again once `atLeast` bytes are there: then a
 * hello in one record is walked two or three times, and one in records of a byte each a logarithmic number of times.
 * @returns `not-tls` for what is no well-formed ClientHello; `sni-missing` where it has no name, an empty one or an address
 *   in its place (RFC 6066 §3 forbids it); `sni-mismatch` where the name is ambiguous or malformed, so that it equals no host
 */
export function parseClientHello(bytes: Uint8Array): Hello {
  const message = assemble(bytes);
  return message instanceof Uint8Array ? readHello(message) : message;
}

/**
 * The protocols that a whole hello offers (RFC 7301), in its order; empty where it offers none, or where they cannot be read.
 * @param bytes for which parseClientHello has not asked for more
 */
export function offeredProtocols(bytes: Uint8Array): string[] {
  const message = assemble(bytes);
  if (!(message instanceof Uint8Array)) return [];
  const reader = new Reader(message);
  reader.skip(2 + RANDOM_BYTES);
  reader.skip(reader.uint8());
  reader.skip(reader.uint16());
  reader.skip(reader.uint8());
  const extensions = reader.part(reader.uint16());
  while (extensions.left > 0) {
    const type = extensions.uint16();
    const extension = extensions.part(extensions.uint16());
    if (type === APPLICATION_PROTOCOLS) return protocolList(extension);
  }
  return [];
}

function protocolList(extension: Reader): string[] {
  const list = extension.part(extension.uint16());
  const names: string[] = [];
  while (list.left > 0) names.push(list.text(list.uint8()));
  return list.broken || extension.broken || extension.left > 0 ? [] : names;
}

function refused(reason: Refused['reason'], detail: string): Refused {
  return { state: 'refused', reason, detail };
}

/** The body of the handshake message, put together from its records; or why it is not there (yet). */
function assemble(bytes: Uint8Array): Uint8Array | Hello {
  let got = 0; // bytes of the message, its header included
  let header = 0; // the first bytes of the message as a number, up to four of them
  let at = 0; // where the record begins
  for (;;) {
    const bad = checkRecordHeader(bytes, at);
    if (bad !== null) return bad;
    const start = at + RECORD_HEADER_BYTES;
    if (start > bytes.length) return needMore(at, got, header);
    const length = uint16(bytes, at + 3);
    const here = Math.min(length, bytes.length - start);
    if (got === 0 && here > 0 && bytes[start] !== CLIENT_HELLO) {
      return refused('not-tls', `the first handshake message has type ${bytes[start]}, not ClientHello`);
    }
    for (let i = 0; i < here && got + i < MESSAGE_HEADER_BYTES; i += 1)
      header = (header << 8) | (bytes[start + i] ?? 0);
    const known = got + here >= MESSAGE_HEADER_BYTES;
    const size = known ? messageSize(header) : Number.POSITIVE_INFINITY;
    if (got + length > size) return refused('not-tls', 'the ClientHello is followed by bytes in its own record');
    if (here < length) return needMore(at, got, known ? header : 0);
    got += length;
    at = start + length;
    if (got === size) return body(bytes, size);
  }
}

/** The whole message, header included. */
function messageSize(header: number): number {
  return MESSAGE_HEADER_BYTES + (header & 0xffffff);
}

/** Without the message's header; no copy where one record holds it all. */
function body(bytes: Uint8Array, size: number): Uint8Array {
  if (uint16(bytes, 3) === size)
    return bytes.subarray(RECORD_HEADER_BYTES + MESSAGE_HEADER_BYTES, RECORD_HEADER_BYTES + size);
  const message = new Uint8Array(size);
  for (let at = 0, got = 0; got < size; ) {
    const start = at + RECORD_HEADER_BYTES;
    at = start + uint16(bytes, at + 3);
    message.set(bytes.subarray(start, at), got);
    got += at - start;
  }
  return message.subarray(MESSAGE_HEADER_BYTES);
}

/** What the bytes of a record header that are there say against it; null where nothing does. */
function checkRecordHeader(bytes: Uint8Array, at: number): Refused | null {
  const left = bytes.length - at;
  const type = bytes[at];
  if (left > 0 && type !== HANDSHAKE_RECORD)
    return refused('not-tls', `byte ${at + 1} is ${type}, not a TLS handshake record`);
  const major = bytes[at + 1];
  if (left > 1 && major !== 3)
    return refused('not-tls', `the record at byte ${at + 1} has major version ${major}, not 3`);
  const minor = bytes[at + 2] ?? 0;
  if (left > 2 && (minor < 1 || minor > 3))
    return refused('not-tls', `the record at byte ${at + 1} has version 3.${minor}`);
  if (left < RECORD_HEADER_BYTES) return null;
  const length = uint16(bytes, at + 3);
  if (length > 0 && length <= RECORD_BYTES_MAX) return null;
  return refused('not-tls', `the record at byte ${at + 1} has ${length} bytes; 1 to ${RECORD_BYTES_MAX} are allowed`);
}

/**
 * The least total that can hold the message: what came before the record at `at`, then records of full size. It grows with
 * what is still missing, so that a hello in thousands of tiny records is not walked again for each of them.
 * @param header the first four bytes of the message; less than four have come where it is below 2^24
 */
function needMore(at: number, got: number, header: number): Hello {
  const rest = (header > 0xffffff ? messageSize(header) : MESSAGE_HEADER_BYTES) - got;
  return { state: 'need-more', atLeast: at + rest + RECORD_HEADER_BYTES * Math.ceil(rest / RECORD_BYTES_MAX) };
}

function uint16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

/** Takes fields off bytes[at..end); a length that lies makes it `broken`, and from then on it gives nothing. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #at: number;
  broken = false;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  get left(): number {
    return this.broken ? 0 : this.#end - this.#at;
  }

  /** Passes over a field; gives its length back. */
  skip(count: number): number {
    if (count > this.left) this.broken = true;
    else this.#at += count;
    return count;
  }

  uint8(): number {
    this.skip(1);
    return this.broken ? 0 : (this.#bytes[this.#at - 1] ?? 0);
  }

  uint16(): number {
    this.skip(2);
    return this.broken ? 0 : uint16(this.#bytes, this.#at - 2);
  }

  /** A reader of the next `count` bytes alone. */
  part(count: number): Reader {
    this.skip(count);
    return this.broken ? new Reader(this.#bytes, 0, 0) : new Reader(this.#bytes, this.#at - count, this.#at);
  }

  /** The next `count` bytes, a character each. */
  text(count: number): string {
    this.skip(count);
    return this.broken ? '' : String.fromCharCode(...this.#bytes.subarray(this.#at - count, this.#at));
  }
}

function readHello(message: Uint8Array): Hello {
  const reader = new Reader(message);
  const major = reader.uint16() >> 8;
  reader.skip(RANDOM_BYTES);
  const session = reader.skip(reader.uint8());
  const ciphers = reader.skip(reader.uint16());
  const compressions = reader.skip(reader.uint8());
  if (reader.broken) return refused('not-tls', 'the ClientHello ends before its compression methods do');
  if (major !== 3) return refused('not-tls', `the ClientHello has major version ${major}, not 3`);
  if (session > SESSION_ID_BYTES_MAX) return refused('not-tls', `the session id has ${session} bytes`);
  if (ciphers < 2 || ciphers % 2 !== 0) return refused('not-tls', `the cipher suites have ${ciphers} bytes`);
  if (compressions === 0) return refused('not-tls', 'the ClientHello has no compression method');
  if (reader.left === 0) return refused('sni-missing', 'the ClientHello has no extensions');
  const extensions = reader.part(reader.uint16());
  if (reader.broken || reader.left > 0) return refused('not-tls', 'the extensions are not as long as they say');
  return readExtensions(extensions);
}

function readExtensions(reader: Reader): Hello {
  let names: Reader | null = null;
  let ech = false;
  while (reader.left > 0) {
    const type = reader.uint16();
    const length = reader.uint16();
    if (reader.broken) break;
    if (type === ENCRYPTED_CLIENT_HELLO) ech = true;
    if (type === SERVER_NAME) {
      if (names !== null) return refused('sni-mismatch', 'the extension server_name stands twice');
      names = reader.part(length);
    } else {
      reader.skip(length);
    }
  }
  if (reader.broken) return refused('not-tls', 'an extension is longer than what is left of the extensions');
  if (names === null) return refused('sni-missing', 'the ClientHello has no server name');
  return readServerName(names, ech);
}

/** RFC 6066 §3: a list that has one entry of type host_name; readers differ on which of two counts. */
function readServerName(reader: Reader, ech: boolean): Hello {
  if (reader.left === 0) return refused('sni-missing', 'the extension server_name is empty');
  const list = reader.part(reader.uint16());
  if (reader.broken || reader.left > 0) return refused('not-tls', 'the list of server names is not as long as it says');
  if (list.left === 0) return refused('sni-missing', 'the list of server names is empty');
  const type = list.uint8();
  const length = list.uint16();
  if (length > list.left || list.broken) return refused('not-tls', 'a server name is longer than its list');
  if (type !== HOST_NAME) return refused('sni-mismatch', `a server name has type ${type}, not host_name`);
  if (length < list.left) return refused('sni-mismatch', 'the list of server names has more than one entry');
  if (length === 0) return refused('sni-missing', 'the server name is empty');
  if (length > NAME_BYTES_MAX) return refused('sni-mismatch', `the server name has ${length} bytes`);
  const host = parseHost(list.text(length));
  if (!host.ok) return refused('sni-mismatch', `the server name is malformed: ${host.problem}`);
  if (host.kind !== 'name') return refused('sni-missing', `the server name is the address ${host.host}, not a name`);
  return { state: 'ok', serverName: host.host, ech };
}
