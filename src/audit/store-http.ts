// One HTTP request to an object store, or to who gives credentials for it. It dials by itself: no proxy variable counts, no redirect is
// followed, nothing but https is spoken unless the address is this machine's (config/second-place.ts and s3-credentials.ts see to that).
// What comes back is bounded; a request in which nothing moves for `timeoutMs` is over.
import fs from 'node:fs';
import type http from 'node:http';
import https from 'node:https';
import { pipeline } from 'node:stream/promises';
import tls from 'node:tls';
import { nodeHttp } from '../net/http.ts';

export interface StoreRequest {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** A text, or a file of this machine with its size. */
  readonly body?: string | { readonly file: string; readonly bytes: number };
  /** Where the body of a 200 goes; otherwise it comes as text. */
  readonly into?: Into;
}

/** A file, and how much of what comes goes into it; more is an error. */
export interface Into {
  readonly file: string;
  readonly bytesMax: number;
}

export interface StoreAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

/** A checkpoint of a hundred thousand segments, and more than any page of a listing. */
const TEXT_BYTES_MAX = 33_554_432;

export interface Road {
  readonly timeoutMs: number;
  /** Trusted besides the system's, PEM. */
  readonly ca?: string;
}

/** @throws Error what the network says; also where the answer breaks off, or is longer than it may be */
export async function sendToStore(request: StoreRequest, { timeoutMs, ca }: Road): Promise<StoreAnswer> {
  const { method, url, headers, body, into } = request;
  const length = body === undefined ? 0 : typeof body === 'string' ? Buffer.byteLength(body) : body.bytes;
  const sized = method === 'PUT' || method === 'POST' ? { 'content-length': String(length) } : {};
  const secure = url.protocol === 'https:';
  const trust = ca === undefined ? {} : { ca: [...tls.rootCertificates, ca] };
  // An agent of its own has no proxy from the environment, and one request each leaves no socket behind.
  const agent = secure ? new https.Agent(trust) : new nodeHttp.Agent();
  const options = { method, headers: { ...headers, ...sized }, agent };
  const sent = secure ? https.request(url, options) : nodeHttp.request(url, options);
  sent.setTimeout(timeoutMs, () => sent.destroy(new Error(`nothing moved for ${timeoutMs} ms`)));
  const answered = new Promise<http.IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve);
    sent.once('error', reject);
    sent.once('close', () => reject(new Error('the connection ended without an answer')));
  });
  // Said by whoever is waited for; a second error of the same request has nobody to hear it.
  answered.catch(() => undefined);
  sent.on('error', () => undefined);
  try {
    const uploaded = upload(sent, body);
    // A store that refuses answers before it has read all.
    uploaded.catch(() => undefined);
    const answer = await answered;
    if (answer.statusCode === 200 && into !== undefined) {
      const counted = bounded(into.bytesMax);
      await pipeline(answer, counted, fs.createWriteStream(into.file, { mode: 0o640, flush: true }));
      return { status: 200, headers: answer.headers, text: '' };
    }
    return { status: answer.statusCode ?? 0, headers: answer.headers, text: await textOf(answer) };
  } finally {
    sent.destroy();
    agent.destroy();
  }
}

async function upload(sent: http.ClientRequest, body: StoreRequest['body']): Promise<void> {
  if (body === undefined || typeof body === 'string') sent.end(body);
  else await pipeline(fs.createReadStream(body.file, { end: body.bytes - 1 }), sent);
}

async function textOf(answer: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of bounded(TEXT_BYTES_MAX)(answer)) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function bounded(bytesMax: number): (chunks: AsyncIterable<Buffer>) => AsyncGenerator<Buffer> {
  return async function* (chunks) {
    let bytes = 0;
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > bytesMax) throw new Error(`the answer has more than ${bytesMax} bytes`);
      yield chunk;
    }
  };
}
