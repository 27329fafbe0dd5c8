// Heads and bodies that two parsers could read differently (RFC 9112 §6; http-garden transducer bugs), for the listener and for
// the decrypted side of inspected connections alike.
export const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';

/** What follows the head of each of them. */
export const AMBIGUOUS_BODY = `0\r\n\r\n${SMUGGLED}`;

/** What it is, its fields, and the version that it says. */
export const AMBIGUOUS_HEADS: readonly (readonly [string, string, string])[] = [
  [
    'Content-Length, then Transfer-Encoding',
    `Content-Length: ${AMBIGUOUS_BODY.length}\r\nTransfer-Encoding: chunked\r\n`,
    '1.1',
  ],
  [
    'Transfer-Encoding, then Content-Length',
    `Transfer-Encoding: chunked\r\nContent-Length: ${AMBIGUOUS_BODY.length}\r\n`,
    '1.1',
  ],
  ['",chunked"', 'Transfer-Encoding: ,chunked\r\n', '1.1'],
  ['"xchunked"', 'Transfer-Encoding: xchunked\r\n', '1.1'],
  ['"chunked, identity"', 'Transfer-Encoding: chunked, identity\r\n', '1.1'],
  ['"gzip, chunked"', 'Transfer-Encoding: gzip, chunked\r\n', '1.1'],
  ['"identity"', 'Transfer-Encoding: identity\r\n', '1.1'],
  ['chunked twice', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '1.1'],
  ['a space before the colon', 'Transfer-Encoding : chunked\r\n', '1.1'],
  ['a folded Transfer-Encoding', 'Transfer-Encoding:\r\n chunked\r\n', '1.1'],
  ['a vertical tab before chunked', 'Transfer-Encoding: \x0bchunked\r\n', '1.1'],
  ['a chunked body in HTTP/1.0', 'Transfer-Encoding: chunked\r\n', '1.0'],
  ['two lengths', `Content-Length: 5\r\nContent-Length: ${AMBIGUOUS_BODY.length}\r\n`, '1.1'],
  ['the same length twice', 'Content-Length: 5\r\nContent-Length: 5\r\n', '1.1'],
  ['a list of lengths', 'Content-Length: 5, 5\r\n', '1.1'],
  ['+0', 'Content-Length: +0\r\n', '1.1'],
  ['0x5', 'Content-Length: 0x5\r\n', '1.1'],
  ['an empty length', 'Content-Length:\r\n', '1.1'],
  ['a negative length', 'Content-Length: -1\r\n', '1.1'],
  ['a length of thirty digits', `Content-Length: ${'9'.repeat(30)}\r\n`, '1.1'],
  ['a bare CR in a field', 'X-A: b\rContent-Length: 5\r\n', '1.1'],
  ['a NUL in a field', 'X-A: b\0c\r\n', '1.1'],
  ['a line without a colon', 'X-A\r\n', '1.1'],
  ['an empty field name', ': a\r\n', '1.1'],
  ['two Host fields', 'Host: y\r\n', '1.1'],
];

export const CHUNKED = 'Transfer-Encoding: chunked\r\n';

/** Chunks that follow a good one. */
export const MALFORMED_CHUNKS: readonly (readonly [string, string])[] = [
  ['a size of 0x0', '0x0\r\n\r\n'],
  ['a size with a sign', '+5\r\nhello\r\n0\r\n\r\n'],
  ['a size with a space before it', ' 5\r\nhello\r\n0\r\n\r\n'],
  ['an empty size', '\r\nhello\r\n'],
  ['a size of twenty digits', `${'f'.repeat(20)}\r\nhello\r\n`],
  ['a bare LF behind the size', '5\nhello\r\n0\r\n\r\n'],
  ['a bare LF behind the data', '5\r\nhello\n0\r\n\r\n'],
  ['an LF in an extension', `5;a\nb\r\nhello\r\n0\r\n\r\n`],
  ['data longer than its size', '5\r\nhello you\r\n0\r\n\r\n'],
  ['a bare CR behind the size', '5\rX\nhello\r\n0\r\n\r\n'],
];
