// The folder of policy bundles: the one in force is what the link `current` names, and the one before stays beside it. A bundle is unpacked whole
// under another name and comes into force by the change of that link, so that nobody reads half of it.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { filesDigest } from '../catalog/bundle.ts';
import type { PolicyBundle } from '../config/load-bundle.ts';
import { CURRENT } from '../config/source-schema.ts';
import { SallyportError } from '../errors.ts';

const VERSION_PREFIX = 'v-';
const SERIAL_FILE = '.serial';
const DIGEST_CHARACTERS = 16;

export class PolicyBundles {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Whether there is one in force. */
  get has(): boolean {
    return existsSync(join(this.#dir, CURRENT));
  }

  /** The number of the one in force; 0 where there is none. */
  get serial(): number {
    try {
      const serial = Number(readFileSync(join(this.#dir, CURRENT, SERIAL_FILE), 'utf8'));
      return Number.isSafeInteger(serial) ? serial : 0;
    } catch {
      return 0;
    }
  }

  /** Whether this very bundle is in force. */
  isCurrent(bundle: PolicyBundle): boolean {
    try {
      return readlinkSync(join(this.#dir, CURRENT)) === folderName(bundle);
    } catch {
      return false;
    }
  }

  /** Unpacks it. @returns its folder @throws SallyportError `bundle-invalid` where the disk refuses it */
  unpack(bundle: PolicyBundle): string {
    const { files, serial } = bundle;
    const folder = join(this.#dir, folderName(bundle));
    const next = `${folder}.${process.pid}.tmp`;
    return this.#writing(() => {
      if (existsSync(folder)) return folder;
      rmSync(next, { recursive: true, force: true });
      for (const [file, text] of Object.entries(files)) {
        mkdirSync(dirname(join(next, file)), { recursive: true, mode: 0o750 });
        writeFileSync(join(next, file), text, { mode: 0o640, flush: true });
      }
      writeFileSync(join(next, SERIAL_FILE), String(serial), { mode: 0o640, flush: true });
      renameSync(next, folder);
      return folder;
    });
  }

  /** Puts an unpacked one in force; all but it and the one before it go. */
  use(folder: string): void {
    const name = basename(folder);
    const link = join(this.#dir, CURRENT);
    this.#writing(() => {
      const before = existsSync(link) ? readlinkSync(link) : null;
      const next = `${link}.${process.pid}.tmp`;
      rmSync(next, { force: true });
      symlinkSync(name, next);
      renameSync(next, link);
      for (const other of readdirSync(this.#dir)) {
        if (other.startsWith(VERSION_PREFIX) && other !== name && other !== before)
          rmSync(join(this.#dir, other), { recursive: true, force: true });
      }
    });
  }

  #writing<T>(act: () => T): T {
    try {
      return act();
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
      throw new SallyportError('bundle-invalid', `the bundle cannot be unpacked in ${this.#dir}: ${code}`, { cause });
    }
  }
}

function folderName({ files, serial }: PolicyBundle): string {
  return `${VERSION_PREFIX}${serial}-${filesDigest(files).slice('sha256:'.length).slice(0, DIGEST_CHARACTERS)}`;
}
