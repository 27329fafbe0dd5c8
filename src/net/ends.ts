// Of a reset that arrives together with the bytes before it, libuv before 1.52 says that the stream has ended (libuv pull request 4997): Node 22
// has such a one, and so had the first releases of 24. Whoever passes that end on makes a whole stream of a broken one. So there the
// first end of a TCP socket is not believed: it is read once more, and the kernel then says whether it was one. Importing this
// file is all that is to be done. A socket under TLS belongs to OpenSSL's binding, which hears the first end and reads no further.
import net from 'node:net';

const ASKED = Symbol('asked again');

interface Reading {
  /** Node's own; nothing of it changes any more in the releases that have such a libuv. */
  readonly _handle?: { readonly readStart?: () => number } | null;
  [ASKED]?: boolean;
  push(chunk: unknown, encoding?: BufferEncoding): boolean;
}

const [major = 0, minor = 0] = (process.versions['uv'] ?? '').split('.').map(Number);
if (major === 1 && minor < 52) readEndsTwice(net.Socket.prototype as unknown as Reading);

function readEndsTwice(sockets: Reading): void {
  const { push } = sockets;
  sockets.push = function (this: Reading, chunk, encoding) {
    const handle = this._handle;
    // A pipe knows no reset, and a terminal would want its end to be typed twice.
    if (chunk === null && !this[ASKED] && handle?.constructor.name === 'TCP') {
      this[ASKED] = true;
      if (handle.readStart?.() === 0) return false;
    }
    return push.call(this, chunk, encoding);
  };
}
