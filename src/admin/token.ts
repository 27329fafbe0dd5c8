// The token that the admin listener asks for: text in a file that only the proxy's user can read, made at the first start; or one that
// somebody else owns and the proxy's group may read. Jobs run on the same host and must not see what others do, so a file that others can
// read is refused, not mended: it may be known.
import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';

const BYTES = 32;
const FILE_BYTES_MAX = 1_024;
/** A token68 of RFC 7235 §2.1; shorter ones could be guessed. */
const TOKEN = /^[A-Za-z0-9._~+/-]{32,512}=*$/;
/** Nobody but the owner. A file that somebody else owns, as an orchestrator's secret does, we read by its group: that is how it is given to us. */
const OTHERS = 0o077;
const OTHERS_OF_GIVEN = 0o037;

/** The token as far as it must be known to recognise it. */
export class Token {
  readonly #digest: Buffer;

  constructor(text: string) {
    this.#digest = hash('sha256', text, 'buffer');
  }

  /** In constant time, whatever was sent. */
  is(given: string): boolean {
    return timingSafeEqual(this.#digest, hash('sha256', given, 'buffer'));
  }
}

/**
 * The token of a proxy that starts.
 * @throws SallyportError `admin-token`
 */
export function ensureToken(file: string): Token {
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o750 });
    fs.writeFileSync(file, `${randomBytes(BYTES).toString('base64url')}\n`, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw unusable(file, (error as Error).message, error);
  }
  return new Token(readToken(file));
}

/**
 * The text of the token, for a command on the same host.
 * @throws SallyportError `admin-token`
 */
export function readToken(file: string): string {
  let fd: number | null = null;
  try {
    // A link could point at a file whose beginning an error would show; a pipe would block.
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) throw unusable(file, 'it is not a regular file');
    if ((stat.mode & (stat.uid === process.getuid?.() ? OTHERS : OTHERS_OF_GIVEN)) !== 0)
      throw unusable(file, `its mode is ${(stat.mode & 0o777).toString(8).padStart(4, '0')}: others can use it`);
    if (stat.size > FILE_BYTES_MAX) throw unusable(file, 'it is too large');
    const text = fs.readFileSync(fd, 'utf8').trim();
    if (!TOKEN.test(text)) throw unusable(file, 'it holds no token of at least 32 letters and digits');
    return text;
  } catch (error) {
    throw error instanceof SallyportError ? error : unusable(file, (error as Error).message, error);
  } finally {
    if (fd !== null) fs.closeSync(fd);
  }
}

function unusable(file: string, why: string, cause?: unknown): SallyportError {
  return new SallyportError('admin-token', `${file}: ${why}`, { cause });
}
