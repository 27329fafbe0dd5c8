// Makes and checks scrypt hashes (RFC 7914), in libuv's threads and never on the event loop. A password is seen here alone
// and goes nowhere else. Few run at once: each takes a thread that name look-ups and files need too, and some 32 MiB.
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import type { PasswordHash } from '../config/password-hash.ts';

/** What `sallyport user add` makes: 32 MiB and some 80 ms. OWASP's floor for scrypt is ln=17 with r=8, or this with p=3. */
const MADE = { ln: 15, r: 8, p: 3 } as const;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** Two of libuv's four threads stay for look-ups and files. */
const AT_ONCE_MAX = 2;

export async function hashPassword(password: string): Promise<PasswordHash> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(password, salt, HASH_BYTES, MADE);
  return { ...MADE, salt: unpadded(salt), hash: unpadded(hash) };
}

/** In constant time over the hashes; what it costs depends on the parameters alone. */
export async function verifyPassword(password: string, expected: PasswordHash): Promise<boolean> {
  const wanted = Buffer.from(expected.hash, 'base64');
  const found = await inTurn(() => derive(password, Buffer.from(expected.salt, 'base64'), wanted.length, expected));
  return timingSafeEqual(found, wanted);
}

/** A hash that no password has, of the same cost: what a name that does not exist is checked against. */
export function impossible(like: PasswordHash): PasswordHash {
  const { length } = Buffer.from(like.hash, 'base64');
  return { ...like, salt: unpadded(randomBytes(SALT_BYTES)), hash: unpadded(randomBytes(length)) };
}

let running = 0;
const waiting: (() => void)[] = [];

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= AT_ONCE_MAX) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  try {
    return await work();
  } finally {
    // Its place goes to who waits longest.
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}

function derive(
  password: string,
  salt: Buffer,
  length: number,
  { ln, r, p }: Pick<PasswordHash, 'ln' | 'r' | 'p'>,
): Promise<Buffer> {
  const N = 2 ** ln;
  // OpenSSL counts its working memory too: 128 r (N + p) and some.
  const maxmem = 128 * r * (N + p + 2) * 2;
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFC'), salt, length, { N, r, p, maxmem }, (error, key) => {
      if (error) reject(error);
      else resolve(key);
    });
  });
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
