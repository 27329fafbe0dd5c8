// What a tunnel's first client bytes must be, by the protocol of the rule. A check is given all bytes so far and answers
// need-more, ok or refused; it decides nothing about the host, which the policy has done.
import { Buffer } from 'node:buffer';
import type { RequestErrorCode } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';
import { type Hello, parseClientHello } from '../net/client-hello.ts';
import type { Authority } from '../policy/authority.ts';
import type { Protocol } from '../policy/compile.ts';

export type FirstVerdict =
  /** `atLeast`: total bytes without which the answer cannot change. */
  | { readonly state: 'need-more'; readonly atLeast: number }
  | { readonly state: 'ok' }
  | { readonly state: 'refused'; readonly reason: RequestErrorCode; readonly detail: string };

export interface FirstMessage {
  /** Whether the origin's bytes may flow before the check has passed (SSH servers speak first). */
  readonly serverFirst: boolean;
  /** `observe` never holds a byte back: the verdict is only recorded. */
  readonly mode: 'enforce' | 'observe';
  judge(bytes: Uint8Array): FirstVerdict;
}

const OK: FirstVerdict = { state: 'ok' };

/**
 * The check for a tunnel, or null where the protocol is `any` (then nothing is looked at).
 * @param authority the canonical host that was asked for; the SNI must be the same
 */
export function firstMessage(
  protocol: Protocol,
  authority: Authority,
  mode: 'enforce' | 'observe',
): FirstMessage | null {
  switch (protocol) {
    case 'tls':
      return { serverFirst: false, mode, judge: (bytes) => judgeTls(bytes, authority) };
    case 'ssh':
      return { serverFirst: true, mode, judge: judgeSsh };
    case 'http':
    case 'any':
      return null;
    default:
      return protocol satisfies never;
  }
}

/**
 * The first `length` bytes of `held` with `chunk` behind them: in the same buffer while it has room, else in one of twice the
 * size. A message that comes byte by byte is thus copied a logarithmic number of times, and never takes more than twice what was
 * sent: a buffer as large as a hello says it will be would be an amplifier. What is handed in first is not written to.
 */
export function appendHeld(held: Buffer, length: number, chunk: Buffer): Buffer {
  const total = length + chunk.length;
  let grown = held;
  if (total > held.length) {
    grown = Buffer.allocUnsafe(2 * total);
    held.copy(grown, 0, 0, length);
  }
  chunk.copy(grown, length);
  return grown;
}

/** What a check has found against a tunnel's first message. */
export interface Finding {
  readonly reason: RequestErrorCode;
  readonly detail: string;
}

/** The check of one tunnel: gathers what the client sends until there is an answer, within limits.hello_bytes. */
export class FirstCheck {
  readonly mode: FirstMessage['mode'];
  readonly serverFirst: boolean;
  readonly #first: FirstMessage;
  readonly #limits: Limits;
  readonly #meter: Meter;
  /** The first chunk, or a buffer with room behind the bytes that count, of which there are #bytes. */
  #held: Buffer | null = null;
  #bytes = 0;
  #atLeast = 1;

  constructor(first: FirstMessage, limits: Limits, meter: Meter) {
    this.mode = first.mode;
    this.serverFirst = first.serverFirst;
    this.#first = first;
    this.#limits = limits;
    this.#meter = meter;
  }

  /** All that was taken. */
  get held(): Buffer | null {
    return this.#held && upTo(this.#held, this.#bytes);
  }

  /** What the client sent next. The chunk is kept as it is: call own() where it is only lent. */
  take(chunk: Buffer): 'more' | 'ok' | Finding {
    this.#held = this.#held ? appendHeld(this.#held, this.#bytes, chunk) : chunk;
    this.#bytes += chunk.length;
    if (this.#bytes < this.#atLeast) return 'more';
    // What comes behind the first message (TLS early data, SSH key exchange) does not count against its limit.
    const limit = this.#limits.hello_bytes;
    const verdict = this.#first.judge(upTo(this.#held, Math.min(this.#bytes, limit)));
    if (verdict.state === 'ok') return 'ok';
    if (verdict.state === 'refused') return verdict;
    this.#atLeast = verdict.atLeast;
    if (verdict.atLeast <= limit) return 'more';
    this.#meter.hit('hello_bytes');
    return { reason: 'hello-too-large', detail: `more than ${limit} bytes` };
  }

  /** Makes what is held its own. */
  own(): void {
    if (this.#held) this.#held = Buffer.from(this.#held);
  }

  /** The client has ended its side. */
  ended(): Finding {
    return { reason: 'hello-incomplete', detail: 'the client closed its side' };
  }

  timedOut(): Finding {
    this.#meter.hit('hello_timeout_ms');
    return {
      reason: 'hello-timeout',
      detail: `${this.#bytes} bytes within ${this.#limits.hello_timeout_ms} ms`,
    };
  }
}

/** The first `length` bytes; the buffer itself where those are all of it, as in every tunnel whose hello came in one piece. */
function upTo(bytes: Buffer, length: number): Buffer {
  return bytes.length > length ? bytes.subarray(0, length) : bytes;
}

function judgeTls(bytes: Uint8Array, authority: Authority): FirstVerdict {
  const hello: Hello = parseClientHello(bytes);
  if (hello.state === 'need-more') return { state: 'need-more', atLeast: hello.atLeast };
  if (hello.state === 'refused') {
    // RFC 6066 §3: an address never stands in the SNI, so a listed IP literal comes without one.
    if (hello.reason === 'sni-missing' && authority.kind !== 'name') return OK;
    return { state: 'refused', reason: hello.reason, detail: hello.detail };
  }
  if (hello.serverName === authority.host) return OK;
  const detail = `asked for ${authority.host}, the ClientHello says ${hello.serverName}${hello.ech ? ' (outer name of an encrypted hello)' : ''}`;
  return { state: 'refused', reason: 'sni-mismatch', detail };
}

// RFC 4253 §4.2: the client's identification string comes first, at most 255 bytes with its CR LF.
const SSH_LINE_BYTES_MAX = 255;
const SSH_STARTS = ['SSH-2.0-', 'SSH-1.99-'];
const LF = 0x0a;

function judgeSsh(bytes: Uint8Array): FirstVerdict {
  const end = bytes.subarray(0, SSH_LINE_BYTES_MAX).indexOf(LF);
  const text = String.fromCharCode(...bytes.subarray(0, end < 0 ? SSH_LINE_BYTES_MAX : end));
  const fits = SSH_STARTS.some((start) => text.startsWith(start) || (end < 0 && start.startsWith(text)));
  if (!fits) return { state: 'refused', reason: 'not-ssh', detail: 'the first line is not an SSH identification' };
  if (end >= 0) return OK;
  if (bytes.length >= SSH_LINE_BYTES_MAX) {
    return { state: 'refused', reason: 'not-ssh', detail: `no line end within ${SSH_LINE_BYTES_MAX} bytes` };
  }
  return { state: 'need-more', atLeast: bytes.length + 1 };
}
