// The heads that the short road of plain HTTP writes: the same fields in the same order as Node's client and server write them on the long
// one, as one text, a character a byte.
import { linesText } from './field-lines.ts';
import { HTTP_PORT, hostOf, requestFields, responseFields } from './fields.ts';
import type { ReadRequest } from './forward-request.ts';
import { fieldValue } from './head.ts';
import type { PlainAnswer, PlainRequest } from './plain-head.ts';

/** The request towards the origin, its body included. */
export function requestText(
  { head, text, end }: PlainRequest,
  { authority, path, framing }: Extract<ReadRequest, { ok: true }>,
): string {
  const fields = requestFields(head.rawHeaders, hostOf(authority, HTTP_PORT), framing, null, head.method);
  return `${head.method} ${path} HTTP/1.1\r\n${linesText(fields)}Connection: keep-alive\r\n\r\n${text.slice(end)}`;
}

/**
 * @param chunks whether the body goes on in chunks
 * @param idleMs how long the client's connection is kept for another request; null where it is not
 */
export function answerText(answer: PlainAnswer, chunks: boolean, idleMs: number | null): string {
  const length = fieldValue(answer.rawHeaders, 'content-length');
  // RFC 9110 §8.6: a 204 has no body and says no length.
  const framed = length !== undefined && answer.status !== 204;
  const fields = responseFields(answer.rawHeaders, framed ? { kind: 'length', length } : { kind: 'none' });
  const stays = idleMs === null ? 'close' : `keep-alive\r\nKeep-Alive: timeout=${Math.floor(idleMs / 1000)}`;
  const coding = chunks ? 'Transfer-Encoding: chunked\r\n' : '';
  return `HTTP/1.1 ${answer.status} ${answer.reason}\r\n${linesText(fields)}Connection: ${stays}\r\n${coding}\r\n`;
}

const TIMEOUT = /^timeout=(\d+)/;
// An origin closes at the end of its time, we a little before.
const MARGIN_MS = 1_000;

/** How long the origin says that it keeps the connection; null where it says nothing. */
export function idleHintMs(answer: PlainAnswer): number | null {
  const seconds = TIMEOUT.exec(fieldValue(answer.rawHeaders, 'keep-alive') ?? '')?.[1];
  return seconds === undefined ? null : Number(seconds) * 1000 - MARGIN_MS;
}
