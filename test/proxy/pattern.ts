// Bytes whose value depends on their place, so that a byte lost, doubled, moved or overwritten by a reused buffer is found
// at its position. The period is a prime: no buffer size divides it.
import type net from 'node:net';

const PERIOD = 1_048_573;

/** An endless pseudo-random stream of bytes, different for each seed. */
export class Pattern {
  readonly #block = Buffer.allocUnsafe(PERIOD);

  constructor(seed: number) {
    let state = (seed * 2_654_435_761 + 1) >>> 0;
    for (let i = 0; i < PERIOD; i++) {
      state ^= (state << 13) >>> 0;
      state >>>= 0;
      state ^= state >>> 17;
      state ^= (state << 5) >>> 0;
      state >>>= 0;
      this.#block[i] = state >>> 11;
    }
  }

  slice(from: number, length: number): Buffer {
    const out = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const at = (from + done) % PERIOD;
      done += this.#block.copy(out, done, at, Math.min(PERIOD, at + length - done));
    }
    return out;
  }

  /** The position of the first byte of `chunk` that is not the pattern's from `from` on, or -1. */
  mismatch(chunk: Buffer, from: number): number {
    for (let done = 0; done < chunk.length; ) {
      const at = (from + done) % PERIOD;
      const length = Math.min(PERIOD - at, chunk.length - done);
      if (chunk.compare(this.#block, at, at + length, done, done + length) !== 0) {
        for (let i = 0; i < length; i++) if (chunk[done + i] !== this.#block[at + i]) return from + done + i;
      }
      done += length;
    }
    return -1;
  }
}

/** Writes `total` bytes in pieces of changing size as fast as the far end takes them, then ends the stream. */
export async function pump(socket: net.Socket, pattern: Pattern, total: number): Promise<void> {
  const sizes = [1_000, 70_000, 13, 300_000, 32_768, 8_192];
  for (let sent = 0, turn = 0; sent < total; turn++) {
    const size = Math.min(sizes[turn % sizes.length] as number, total - sent);
    const more = socket.write(pattern.slice(sent, size));
    sent += size;
    if (!more) {
      await new Promise<void>((resolve, reject) => {
        const closed = (): void => reject(new Error(`closed after ${sent} of ${total} bytes`));
        socket.once('close', closed);
        socket.once('drain', () => {
          socket.removeListener('close', closed);
          resolve();
        });
      });
    }
  }
  socket.end();
}

/**
 * Reads to the end and compares every byte with its place.
 * @param slow reads in fits: after each few chunks it lets the event loop turn a number of times before it reads on
 * @returns the number of bytes; rejects at the first wrong byte, and where the stream does not end in order
 */
export function drainAndCheck(socket: net.Socket, pattern: Pattern, slow = false): Promise<number> {
  return new Promise((resolve, reject) => {
    let got = 0;
    let chunks = 0;
    socket.on('data', (chunk: Buffer) => {
      const wrong = pattern.mismatch(chunk, got);
      if (wrong >= 0) {
        reject(new Error(`the byte at ${wrong} is wrong`));
        socket.destroy();
        return;
      }
      got += chunk.length;
      if (slow && ++chunks % 3 === 0) {
        socket.pause();
        let wait = chunks % 17;
        const turn = (): void => void (wait-- > 0 ? setImmediate(turn) : socket.resume());
        turn();
      }
    });
    socket.once('end', () => resolve(got));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`closed without an end after ${got} bytes`)));
  });
}
