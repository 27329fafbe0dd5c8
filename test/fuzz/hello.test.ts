// ClientHellos of real stacks, damaged and cut into other records: wherever we read a name, OpenSSL (through node:tls, and
// through python's ssl where that is there) reads the same one or refuses. What the origin would see is what counts.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import tls from 'node:tls';
import { expect } from 'vitest';
import { parseClientHello } from '../../src/net/client-hello.ts';
import { type Attempt, capture, nodeClient, opensslClient } from '../net/hello-capture.ts';
import fc from '../support/property.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { certificateFor } from '../support/tls.ts';
import { fuzz } from './budget.ts';
import { damaged, type Edit, edits } from './mutate.ts';
import { HAS_PYTHON, Python } from './python.ts';

const NAME = 'Origin.Example.Test';

function curlClient(...args: string[]): Attempt {
  return (port) => {
    const child = spawn('curl', ['-sk', '--connect-to', `::127.0.0.1:${port}`, ...args, `https://${NAME}:${port}/`], {
      stdio: 'ignore',
    });
    return { close: () => child.kill() };
  };
}

function pythonClient(): Attempt {
  const source = `
import socket, ssl, sys
context = ssl._create_unverified_context()
context.set_alpn_protocols(['http/1.1'])
try: context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='${NAME}')
except OSError: pass
`;
  return (port) => {
    const child = spawn('python3', ['-c', source, String(port)], { stdio: 'ignore' });
    return { close: () => child.kill() };
  };
}

const CLIENTS: readonly Attempt[] = [
  nodeClient({ servername: NAME }),
  nodeClient({ servername: NAME, maxVersion: 'TLSv1.2' }),
  nodeClient({ servername: NAME, ecdhCurve: 'X25519MLKEM768' }),
  nodeClient({ servername: NAME, ALPNProtocols: ['h2', 'http/1.1'], requestOCSP: true }),
  opensslClient('-servername', NAME, '-alpn', 'h2,http/1.1'),
  opensslClient('-servername', NAME, '-tls1_2', '-no_ticket'),
  opensslClient('-noservername'),
  curlClient(),
  curlClient('--tls-max', '1.2', '--http1.1'),
  ...(HAS_PYTHON ? [pythonClient()] : []),
];

/** The handshake message within a hello that came in one record. */
const messageOf = (hello: Buffer): Buffer => hello.subarray(5, 5 + hello.readUInt16BE(3));

/** The message in records of the sizes given, the last one for the rest. */
function inRecords(message: Buffer, sizes: readonly number[], version: number): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (const size of [...sizes, 16_384]) {
    const part = message.subarray(at, at + size);
    at += size;
    if (part.length === 0) continue;
    parts.push(Buffer.from([22, version >> 8, version & 255, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(parts);
}

/** Where the extensions' length stands in the message of a sound hello. */
function extensionsAt(message: Buffer): number {
  const session = 4 + 2 + 32;
  const ciphers = session + 1 + message.readUInt8(session);
  const compressions = ciphers + 2 + message.readUInt16BE(ciphers);
  return compressions + 1 + message.readUInt8(compressions);
}

interface Harm {
  /** Another server name, with lengths that fit it. */
  readonly rename: string | null;
  readonly inner: readonly Edit[];
  /** Edits only from the server name's extension on: where the name stands is where damage tells most. */
  readonly near: boolean;
  /** Lengths of the message and its extensions are made to fit again. */
  readonly repaired: boolean;
}

function harmed(sound: Buffer, { rename, inner, near, repaired }: Harm): Buffer {
  const at = extensionsAt(sound);
  let message = Buffer.from(sound);
  const name = message.indexOf(NAME);
  if (rename !== null && name >= 0) {
    const length = Buffer.byteLength(rename, 'latin1');
    message = Buffer.concat([
      message.subarray(0, name),
      Buffer.from(rename, 'latin1'),
      message.subarray(name + NAME.length),
    ]);
    for (const [place, value] of [
      [2, length],
      [5, length + 3],
      [7, length + 5],
    ] as const)
      message.writeUInt16BE(value, name - place);
  }
  const from = near ? Math.max(at + 2, name - 9) : 4;
  message = Buffer.concat([message.subarray(0, from), damaged(message.subarray(from), inner)]);
  if (!(repaired || rename !== null) || message.length < at + 2) return message;
  message.writeUIntBE(message.length - 4, 1, 3);
  if (near || inner.length === 0) message.writeUInt16BE(Math.min(0xffff, message.length - at - 2), at);
  return message;
}

const NAMES = [
  'a',
  'A.b.',
  'a..b',
  '.a',
  '-a.b',
  'a b',
  'a\0b',
  'Origin.Example.Test\0.evil.test',
  '192.0.2.1',
  '0x7f.1',
  '::1',
  '[::1]',
  'xn--a',
  'caf\xe9.test',
  `${'l'.repeat(63)}.test`,
  `${'l'.repeat(64)}.test`,
  `${'abcdefg.'.repeat(31)}abcde`,
  `${'abcdefg.'.repeat(31)}abcde.`,
  'x'.repeat(255),
  'x'.repeat(256),
  '',
];

const asName = (bytes: string): Buffer => Buffer.from(bytes, 'latin1');
const SNI = asName('\0\0\0\x18\0\x16\0\0\x13Origin.Example.Test');
const PIECES = [
  ...[
    '\0',
    '\x01',
    '\x02',
    '\xff',
    '\0\0',
    '\xff\xff',
    '.',
    '-',
    '_',
    '*',
    ' ',
    '\xe9',
    'X',
    'Evil.Example.Test',
    '\0\x13',
    '\0\0\x13',
    '\xfe\x0d',
    '\x16\x03\x01',
    '\x14\x03\x03\0\x01\x01',
    '\x15\x03\x01\0\x02\x01\0',
  ],
  SNI.toString('latin1'),
  SNI.toString('latin1').replace('Origin', 'Forged'),
  '\0\0\0\x2e\0\x2c\0\0\x13Origin.Example.Test\0\0\x13Forged.Example.Test',
];

type Seen =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'no-name' }
  | { readonly kind: 'failed' };

/** What node:tls (OpenSSL) makes of the bytes: the name it asks a certificate for, a handshake without one, or an alert. */
function seenByNode(bytes: Buffer, secureContext: tls.SecureContext): Promise<Seen> {
  return new Promise((resolve) => {
    const [client, server] = duplexPair();
    const done = (seen: Seen): void => {
      resolve(seen);
      socket.destroy();
      client.destroy();
    };
    const socket = new tls.TLSSocket(server, {
      isServer: true,
      secureContext,
      SNICallback: (name) => done({ kind: 'name', name }),
    });
    socket.on('error', () => done({ kind: 'failed' }));
    socket.on('close', () => done({ kind: 'failed' }));
    client.on('error', () => {});
    // A handshake record in answer is a ServerHello; 21 is an alert.
    client.once('data', (chunk: Buffer) => done(chunk[0] === 22 ? { kind: 'no-name' } : { kind: 'failed' }));
    client.write(bytes);
    client.end();
  });
}

const PYTHON = `
import ssl, sys
def one(text, cert):
    seen = {'name': None}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert)
    def found(sock, name, ctx): seen['name'] = name
    context.sni_callback = found
    came, went = ssl.MemoryBIO(), ssl.MemoryBIO()
    came.write(bytes.fromhex(text)); came.write_eof()
    try: context.wrap_bio(came, went, server_side=True).do_handshake()
    except (ssl.SSLError, ValueError, UnicodeError): pass
    answer = went.read()
    # The callback runs without a name too; only a ServerHello says that the handshake goes on.
    return seen['name'] if seen['name'] is not None or answer[:1] != b'\\x16' else ''
def answer(question):
    return one(question[0], question[1])
`;

const plain = (name: string): string => name.toLowerCase().replace(/\.$/, '');

fuzz('client-hello', 120, async ({ check, whole }) => {
  const certificate = certificateFor([NAME.toLowerCase()]);
  const pem = writeFile(join(tempDir('fuzz-hello'), 'origin.pem'), certificate.key + certificate.cert);
  const secureContext = tls.createSecureContext(certificate);
  const hellos: Buffer[] = [];
  for (const client of CLIENTS) hellos.push(await capture(client));
  const python = HAS_PYTHON ? new Python(PYTHON) : null;
  const met = { named: 0, agreed: 0, refused: 0 };
  const cases = fc.record({
    hello: fc.nat({ max: hellos.length - 1 }),
    harm: fc.record({
      rename: fc.option(fc.oneof(fc.constantFrom(...NAMES), fc.string({ maxLength: 20, unit: 'binary-ascii' })), {
        freq: 2,
      }),
      inner: edits(PIECES, 3),
      near: fc.boolean(),
      repaired: fc.boolean(),
    }),
    sizes: fc.array(fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 600 })), { maxLength: 6 }),
    version: fc.constantFrom(0x0301, 0x0301, 0x0303, 0x0300, 0x0302, 0x0304, 0x0201),
    outer: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: edits(PIECES, 2) }),
    cut: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  await check(
    fc.asyncProperty(cases, async ({ hello, harm, sizes, version, outer, cut }) => {
      const bytes = damaged(inRecords(harmed(messageOf(hellos[hello]!), harm), sizes, version), outer);
      const found = parseClientHello(bytes);
      // The answer to the whole never contradicts the answer to a part.
      const part = parseClientHello(bytes.subarray(0, Math.floor(cut * bytes.length)));
      if (part.state !== 'need-more') expect(found).toEqual(part);
      if (found.state === 'need-more') expect(found.atLeast).toBeGreaterThan(bytes.length);
      if (found.state !== 'ok') {
        met.refused += 1;
        return;
      }
      met.named += 1;
      const seen = await seenByNode(bytes, secureContext);
      if (seen.kind === 'name') met.agreed += 1;
      expect(seen.kind, `node goes on without a name, we read ${found.serverName}`).not.toBe('no-name');
      if (seen.kind === 'name') expect(plain(seen.name)).toBe(found.serverName);
      if (python === null) return;
      const name = await python.ask<string | null>([bytes.toString('hex'), pem]);
      if (name !== null) expect(plain(name), 'as python reads it').toBe(found.serverName);
    }),
  );
  python?.close();
  if (whole)
    expect(
      Object.values(met).every((count) => count > 0),
      JSON.stringify(met),
    ).toBe(true);
});
