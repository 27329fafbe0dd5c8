// An object store for tests that believes nothing: it recomputes each signature (SigV4, from its documentation, with node:crypto), both
// hashes of each upload and the conditions, and fails as it is told to. s3rver, which others wrote, checks none of these.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Certificate } from './tls.ts';

/** What happens to the next request that it is for. */
export type Fault =
  | 'busy'
  /** The connection is reset when half of the body has come. */
  | 'cut'
  /** Nothing is answered. */
  | 'hang'
  /** It is stored, and the answer is lost. */
  | 'lost'
  /** Half of it is stored, and the answer says that all is well. */
  | 'half'
  /** Half of the answer. */
  | 'torn';

export class BucketStore {
  readonly objects = new Map<string, Buffer>();
  /** METHOD KEY of what was asked, in order. */
  readonly asked: string[] = [];
  /** By METHOD, or SEGMENT for uploads of packed files: taken one by one. */
  readonly faults: { readonly method: string; readonly fault: Fault }[] = [];
  /** Whether If-None-Match is understood, ignored, or refused with 501. */
  conditions: 'understood' | 'ignored' | 'refused' = 'understood';
  /** What is wrong with requests that were refused for their signature. */
  readonly wrong: string[] = [];
  secret = 'secret/+key';
  token: string | null = null;
  pageKeys = 1_000;
  readonly #server: http.Server;
  readonly #scheme: 'http' | 'https';
  #waiting: (() => void)[] = [];

  private constructor(tls: Certificate | null) {
    const serve: http.RequestListener = (request, response) => void this.#serve(request, response);
    this.#scheme = tls === null ? 'http' : 'https';
    this.#server = tls === null ? http.createServer(serve) : https.createServer(tls, serve);
  }

  static async start(tls: Certificate | null = null): Promise<BucketStore> {
    const store = new BucketStore(tls);
    await new Promise<void>((resolve) => store.#server.listen(0, '127.0.0.1', resolve));
    return store;
  }

  get endpoint(): string {
    return `${this.#scheme}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The next request of this method meets it. */
  fail(method: string, ...faults: Fault[]): void {
    for (const fault of faults) this.faults.push({ method, fault });
  }

  /** Resolves when a request hangs. */
  hangs(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://store');
    const [, bucket = '', ...rest] = url.pathname.split('/');
    const key = rest.map(decodeURIComponent).join('/');
    const method = request.method ?? '';
    this.asked.push(`${method} ${key}`);
    const segment = method === 'PUT' && key.endsWith('.gz');
    const at = this.faults.findIndex((one) => one.method === (segment ? 'SEGMENT' : method) || one.method === method);
    const [fault] = at < 0 ? [] : this.faults.splice(at, 1).map((one) => one.fault);
    if (fault === 'busy') return answer(response, 503, 'SlowDown');
    if (fault === 'hang') {
      for (const resolve of this.#waiting.splice(0)) resolve();
      return;
    }
    const expected = Number(request.headers['content-length'] ?? 0);
    const chunks: Buffer[] = [];
    let got = 0;
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        got += chunk.length;
        if (fault === 'cut' && got * 2 >= expected) return void request.socket.resetAndDestroy();
      }
    } catch {
      return;
    }
    const body = Buffer.concat(chunks);
    const wrong = this.#wrong(request, url, body);
    if (wrong !== null) {
      this.wrong.push(wrong);
      return answer(response, 403, wrong.startsWith('key') ? 'InvalidAccessKeyId' : 'SignatureDoesNotMatch');
    }
    if (bucket !== 'acme-audit') return answer(response, 404, 'NoSuchBucket');
    if (method === 'PUT') return this.#put(request, response, key, body, fault);
    if (key === '') return this.#list(response, url.searchParams, fault);
    const found = this.objects.get(key);
    if (found === undefined) return answer(response, 404, 'NoSuchKey');
    response.writeHead(200, { 'content-length': found.length });
    if (method === 'HEAD') return void response.end();
    if (fault !== 'torn') return void response.end(found);
    response.write(found.subarray(0, found.length / 2), () => response.destroy());
  }

  #put(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    key: string,
    body: Buffer,
    fault: Fault | undefined,
  ): void {
    const condition = request.headers['if-none-match'];
    if (condition !== undefined && this.conditions === 'refused') return answer(response, 501, 'NotImplemented');
    if (condition === '*' && this.conditions === 'understood' && this.objects.has(key))
      return answer(response, 412, 'PreconditionFailed');
    const md5 = createHash('md5').update(body).digest('base64');
    if (request.headers['content-md5'] !== md5) return answer(response, 400, 'BadDigest');
    this.objects.set(key, fault === 'half' ? body.subarray(0, body.length / 2) : body);
    if (fault === 'lost') return void request.socket.resetAndDestroy();
    response.end();
  }

  #list(response: http.ServerResponse, query: URLSearchParams, fault: Fault | undefined): void {
    const prefix = query.get('prefix') ?? '';
    const after = query.get('continuation-token') ?? '';
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const page = keys.slice(0, this.pageKeys);
    const more = keys.length > page.length;
    const escaped = (key: string): string => key.replaceAll('&', '&amp;').replaceAll('<', '&#x3C;');
    const delimited = query.get('delimiter') === '/';
    const folders = new Set(page.flatMap((key) => /^[^/]*\//.exec(key.slice(prefix.length))?.[0] ?? []));
    const parts = delimited
      ? [...folders].map((folder) => `<CommonPrefixes><Prefix>${escaped(prefix + folder)}</Prefix></CommonPrefixes>`)
      : page.map((key) => `<Contents><Key>${escaped(key)}</Key></Contents>`);
    const next = more ? `<NextContinuationToken>${escaped(page.at(-1) ?? '')}</NextContinuationToken>` : '';
    if (fault === 'torn') return void response.write('<ListBucketResult>', () => response.destroy());
    response.end(
      `<?xml version="1.0"?><ListBucketResult><Prefix>${escaped(prefix)}</Prefix><IsTruncated>${more}</IsTruncated>${next}${parts.join('')}</ListBucketResult>`,
    );
  }

  /** What is wrong with its signature; null where it is right. */
  #wrong(request: http.IncomingMessage, url: URL, body: Buffer): string | null {
    const { headers } = request;
    const [, key, date, region, signed, signature] =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
        headers.authorization ?? '',
      ) ?? [];
    if (key === undefined || date === undefined || region === undefined || signed === undefined) return 'form';
    if (key !== 'AKIDTEST') return `key ${key}`;
    if ((headers['x-amz-security-token'] ?? null) !== this.token) return 'token';
    const names = signed.split(';');
    for (const name of ['host', 'x-amz-date', 'x-amz-content-sha256'])
      if (!names.includes(name)) return `${name} is not signed`;
    for (const name of ['content-md5', 'if-none-match', 'x-amz-security-token'])
      if (headers[name] !== undefined && !names.includes(name)) return `${name} is not signed`;
    const hash = sha256(body);
    if (headers['x-amz-content-sha256'] !== hash) return 'content';
    const query = [...url.searchParams].map(([name, value]) => `${encoded(name)}=${encoded(value)}`).sort();
    const path = url.pathname.split('/').map(decodeURIComponent).map(encoded).join('/');
    const canonical = [request.method, path, query.join('&')];
    canonical.push(...names.map((name) => `${name}:${String(headers[name]).trim()}`), '', signed, hash);
    const scope = `${date}/${region}/s3/aws4_request`;
    const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, sha256(canonical.join('\n'))].join('\n');
    const by = (secret: string | Buffer, value: string) => createHmac('sha256', secret).update(value).digest();
    const signing = [date, region, 's3', 'aws4_request'].reduce<string | Buffer>(by, `AWS4${this.secret}`);
    const right = by(signing, text);
    return timingSafeEqual(right, Buffer.from(signature ?? '', 'hex')) ? null : 'signature';
  }
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

function encoded(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

function answer(response: http.ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' });
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>m</Message></Error>`);
}
