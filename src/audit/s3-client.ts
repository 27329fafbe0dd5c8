// Requests to a bucket: signed (aws4 signs, store-http.ts sends), tried again where the network or the store fails, and answered with a
// code where it refuses. It knows keys and bytes, and nothing of audit logs.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import aws4 from 'aws4';
import type { BucketPlace } from '../config/second-place.ts';
import { placeText } from '../config/second-place.ts';
import { SallyportError } from '../errors.ts';
import type { Limits } from '../limits.ts';
import { awsDomain, CredentialSource, type Environment } from './s3-credentials.ts';
import { codeOf } from './s3-xml.ts';
import { type Road, type StoreAnswer, type StoreRequest, sendToStore } from './store-http.ts';

/** What is sent, with the hashes that the store checks it by. */
export interface Upload {
  readonly body: NonNullable<StoreRequest['body']>;
  readonly sha256: string;
  readonly md5: string;
}

export interface BucketRequest {
  readonly method: 'GET' | 'HEAD' | 'PUT';
  /** Empty: the bucket itself. */
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly upload?: Upload;
  readonly into?: StoreRequest['into'];
}

export interface S3Options {
  readonly place: BucketPlace;
  readonly limits: Pick<Limits, 'ship_timeout_ms' | 'ship_attempts_max'>;
  readonly env: Environment;
  readonly now: () => Date;
  /** Waits between two attempts. */
  readonly wait?: (ms: number) => Promise<unknown>;
}

const EMPTY_SHA256 = createHash('sha256').digest('hex');
const FIRST_WAIT_MS = 500;
const LAST_WAIT_MS = 10_000;
/** A store that is busy or broken; everything else will not be better the next time. */
const AGAIN: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);
/** Codes that speak of who asks. */
const WHO =
  /^(?:InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|TokenRefreshRequired|AccessDenied|AccountProblem|InvalidSecurity|NotSignedUp|RequestTimeTooSkewed|AuthorizationHeaderMalformed)$/;

export class S3Client {
  readonly #options: S3Options;
  readonly #credentials: CredentialSource;
  readonly #road: Road;
  readonly #base: string;

  /** @throws SallyportError `ship-failed` where ca_file cannot be read */
  constructor(options: S3Options) {
    this.#options = options;
    const { place, limits, env, now } = options;
    this.#road = { timeoutMs: limits.ship_timeout_ms, ...(place.caFile === null ? {} : { ca: trusted(place.caFile) }) };
    this.#credentials = new CredentialSource({ place, env, road: this.#road, now: () => now().getTime() });
    this.#base = baseOf(place);
  }

  /**
   * @returns the answer where it is 200, or one of `expected`
   * @throws SallyportError `ship-credentials`, `ship-failed`
   */
  async call(request: BucketRequest, expected: readonly number[] = []): Promise<StoreAnswer> {
    const { limits, wait = delay } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const last = attempt >= limits.ship_attempts_max;
      try {
        const answer = await this.#once(request);
        if (answer.status === 200 || expected.includes(answer.status)) return answer;
        if (last || !AGAIN.has(answer.status)) throw this.#refusal(request, answer);
      } catch (cause) {
        if (cause instanceof SallyportError) throw cause;
        if (last) throw this.#failed(`${(cause as Error).message}`, cause as Error);
      }
      // All nodes of a fleet meet the same outage: each comes back at another moment.
      await wait(Math.random() * Math.min(LAST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt));
    }
  }

  async #once({ method, key, query, headers, upload, into }: BucketRequest): Promise<StoreAnswer> {
    const { place, now } = this.#options;
    const { accessKeyId, secretAccessKey, sessionToken } = await this.#credentials.get();
    const url = new URL(this.#base + key.split('/').map(encodeURIComponent).join('/'));
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    const bare = {
      method,
      host: url.host,
      path: url.pathname + url.search,
      service: 's3',
      region: place.region,
      headers: {
        ...headers,
        'x-amz-date': now()
          .toISOString()
          .replace(/[:-]|\.\d{3}/g, ''),
        'x-amz-content-sha256': upload?.sha256 ?? EMPTY_SHA256,
        ...(upload === undefined ? {} : { 'content-md5': upload.md5 }),
      },
    };
    const signed = aws4.sign(bare, {
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === null ? {} : { sessionToken }),
    });
    const body = upload === undefined ? {} : { body: upload.body };
    const fields = signed.headers as Record<string, string>;
    return sendToStore({ method, url, headers: fields, ...body, ...(into === undefined ? {} : { into }) }, this.#road);
  }

  #refusal({ method, key }: BucketRequest, { status, text }: StoreAnswer): SallyportError {
    const code = codeOf(text);
    const what = `${method} ${key === '' ? 'of the bucket' : key}: ${[status, code].join(' ').trimEnd()}`;
    if (status !== 401 && status !== 403 && !WHO.test(code)) return this.#failed(what);
    this.#credentials.forget();
    return new SallyportError('ship-credentials', `${placeText(this.#options.place)} refuses ${what}`);
  }

  #failed(why: string, cause?: Error): SallyportError {
    const where = placeText(this.#options.place);
    return new SallyportError('ship-failed', `${where}: ${why}`, cause === undefined ? {} : { cause });
  }
}

/** Before the key. In the path where there is an endpoint, or a bucket whose dots no certificate covers. */
function baseOf({ endpoint, region, bucket }: BucketPlace): string {
  if (endpoint !== null) return `${endpoint}/${bucket}/`;
  const host = `s3.${awsDomain(region)}`;
  return bucket.includes('.') ? `https://${host}/${bucket}/` : `https://${bucket}.${host}/`;
}

function trusted(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new SallyportError('ship-failed', `${file} cannot be read: ${code}`, { cause, hint: 'Check ca_file.' });
  }
}
