// The second place as a bucket of an S3-compatible store: PREFIX/NODE/NAME. A file is packed beside the log, then sent as one object, with
// its hashes, on the condition that nothing of that key is there; a store that knows no conditions is asked before. What is there is
// looked at again. It needs s3:PutObject, s3:GetObject and s3:ListBucket, and never deletes.
import { createHash, hash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { placeText } from '../config/second-place.ts';
import { SallyportError } from '../errors.ts';
import { S3Client, type S3Options, type Upload } from './s3-client.ts';
import { codeOf, xmlText, xmlTexts } from './s3-xml.ts';
import { conflict, contentHash, type SecondPlace } from './second-place.ts';
import type { Into } from './store-http.ts';

/** What a store takes in one request. */
const OBJECT_BYTES_MAX = 5_368_709_120;
/** A thousand keys each. */
const PAGES_MAX = 10_000;

export class S3Place implements SecondPlace {
  readonly name: string;
  readonly #client: S3Client;
  readonly #prefix: string;
  readonly #file: string;
  /** The store has said that it knows no conditions. */
  #unconditional = false;

  /** @throws SallyportError `ship-failed` where ca_file cannot be read */
  constructor(options: S3Options & { readonly file: string }) {
    this.#client = new S3Client(options);
    this.#prefix = options.place.prefix;
    this.#file = options.file;
    this.name = placeText(options.place);
    this.#tidy();
  }

  async folders(): Promise<string[]> {
    const found = await this.#listed(this.#prefix, { delimiter: '/' }, (page) =>
      xmlTexts(page, 'Prefix').filter((key) => key.length > this.#prefix.length && key.endsWith('/')),
    );
    return [...new Set(found.map((key) => key.slice(this.#prefix.length, -1)))].sort();
  }

  async list(folder: string): Promise<ReadonlySet<string>> {
    const prefix = this.#key(folder, '');
    const keys = await this.#listed(prefix, {}, (page) => xmlTexts(page, 'Key'));
    return new Set(keys.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length)));
  }

  async read(folder: string, name: string): Promise<string | null> {
    const { status, text } = await this.#client.call({ method: 'GET', key: this.#key(folder, name) }, [404]);
    if (status === 200) return text;
    // A bucket that is not there is no missing file.
    if (codeOf(text) !== 'NoSuchBucket') return null;
    throw new SallyportError('ship-failed', `${this.name}: there is no such bucket`);
  }

  async write(folder: string, name: string, text: string): Promise<void> {
    const upload = { body: text, sha256: hash('sha256', text, 'hex'), md5: hash('md5', text, 'base64') };
    const headers = { 'content-type': 'application/json' };
    await this.#client.call({ method: 'PUT', key: this.#key(folder, name), headers, upload });
  }

  part(_folder: string, name: string): string {
    return path.join(path.dirname(this.#file), `.${name}.ship-${process.pid}`);
  }

  async put(folder: string, name: string, part: string, sha256: string): Promise<void> {
    const key = this.#key(folder, name);
    try {
      if ((await contentHash(part)) !== sha256)
        throw new SallyportError('ship-failed', `${part} does not come back as it was written`);
      const upload = await uploadOf(part);
      if (!(await this.#sent(key, upload)))
        await this.#compare(key, { file: part, bytesMax: 2 * upload.bytes + 65_536 }, sha256);
    } finally {
      fs.rmSync(part, { force: true });
    }
  }

  /** Gets an object; used by who verifies. @returns false where it is not there */
  async fetch(folder: string, name: string, into: string): Promise<boolean> {
    const whole = { file: into, bytesMax: OBJECT_BYTES_MAX };
    const { status } = await this.#client.call({ method: 'GET', key: this.#key(folder, name), into: whole }, [404]);
    return status === 200;
  }

  /** Takes away what processes that are gone were packing. */
  #tidy(): void {
    const dir = path.dirname(this.#file);
    if (!fs.existsSync(dir)) return;
    const base = path.basename(this.#file);
    for (const name of fs.readdirSync(dir)) {
      const pid = name.startsWith(`.${base}`) ? /\.ship-(\d+)$/.exec(name)?.[1] : undefined;
      if (pid !== undefined && !isAlive(Number(pid))) fs.rmSync(path.join(dir, name), { force: true });
    }
  }

  #key(folder: string, name: string): string {
    return `${this.#prefix}${folder}/${name}`;
  }

  /** @returns false where something of that key is there */
  async #sent(key: string, upload: Upload & { readonly bytes: number }): Promise<boolean> {
    if (upload.bytes > OBJECT_BYTES_MAX)
      throw new SallyportError('ship-failed', `${key} has ${upload.bytes} bytes; a store takes ${OBJECT_BYTES_MAX}`, {
        hint: 'Set audit.rotate_bytes to less.',
      });
    if ((await this.#size(key)) !== null) return false;
    const condition = this.#unconditional ? {} : { 'if-none-match': '*' };
    const headers = { 'content-type': 'application/gzip', ...condition };
    const { status } = await this.#client.call({ method: 'PUT', key, headers, upload }, [409, 412, 501]);
    if (status === 501) {
      if (this.#unconditional) throw new SallyportError('ship-failed', `${this.name}: PUT ${key}: 501`);
      this.#unconditional = true;
      return this.#sent(key, upload);
    }
    if (status !== 200) return false;
    const size = await this.#size(key);
    if (size !== upload.bytes)
      throw new SallyportError('ship-failed', `${key} has ${size ?? 'no'} bytes there, and had ${upload.bytes} here`);
    return true;
  }

  async #size(key: string): Promise<number | null> {
    const { status, headers } = await this.#client.call({ method: 'HEAD', key }, [404]);
    return status === 200 ? Number(headers['content-length']) : null;
  }

  /** Packed by another version of zlib the same lines have other bytes, though not many more: what counts is what is in it. */
  async #compare(key: string, into: Into, sha256: string): Promise<void> {
    if (((await this.#size(key)) ?? 0) > into.bytesMax) throw conflict(`${this.name}: ${key}`);
    await this.#client.call({ method: 'GET', key, into });
    if ((await contentHash(into.file).catch(() => null)) !== sha256) throw conflict(`${this.name}: ${key}`);
  }

  async #listed(
    prefix: string,
    more: Readonly<Record<string, string>>,
    of: (page: string) => string[],
  ): Promise<string[]> {
    const found: string[] = [];
    let token: string | null = null;
    for (let page = 0; page < PAGES_MAX; page++) {
      const after: Record<string, string> = token === null ? {} : { 'continuation-token': token };
      const query = { 'list-type': '2', prefix, ...more, ...after };
      const { text } = await this.#client.call({ method: 'GET', key: '', query });
      // What is not listed would be shipped again, or called missing.
      if (!text.includes('</ListBucketResult>'))
        throw new SallyportError('ship-failed', `${this.name}: what it answers is no listing`);
      found.push(...of(text));
      token = xmlText(text, 'IsTruncated') === 'true' ? xmlText(text, 'NextContinuationToken') : null;
      if (token === null) return found;
    }
    throw new SallyportError('ship-failed', `${this.name}: the listing does not end`);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

async function uploadOf(file: string): Promise<Upload & { readonly bytes: number }> {
  const sha256 = createHash('sha256');
  const md5 = createHash('md5');
  let bytes = 0;
  await pipeline(fs.createReadStream(file), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      sha256.update(chunk);
      md5.update(chunk);
      bytes += chunk.length;
    }
  });
  return { body: { file, bytes }, bytes, sha256: sha256.digest('hex'), md5: md5.digest('base64') };
}
