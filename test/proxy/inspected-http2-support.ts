// Inspected connections of HTTP/2: clients and origins that are Node's, or that speak frames.
import http2 from 'node:http2';
import type net from 'node:net';
import tls from 'node:tls';
import { expect } from 'vitest';
import { FRAME, FrameReader, frame, PREFACE } from '../support/raw-http2.ts';
import { hostCertificate, type Stage, type StageOptions, stageFor } from './inspected-support.ts';
import { atEnd } from './support.ts';

export type Handler = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void;

export interface Http2Stage extends Stage {
  readonly sessions: http2.ServerHttp2Session[];
  readonly server: http2.Http2SecureServer;
  session(): Promise<http2.ClientHttp2Session>;
}

/** An inspected connection to an origin that speaks HTTP/2. */
export async function http2Stage(handler: Handler, options: StageOptions = {}): Promise<Http2Stage> {
  const server = http2.createSecureServer({ ...hostCertificate(), allowHTTP1: false });
  const sessions: http2.ServerHttp2Session[] = [];
  server.on('session', (session) => void sessions.push(session));
  server.on('sessionError', () => {});
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    handler(stream, headers);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const stage = await stageFor(server.address() as net.AddressInfo, options);
  const session = async (): Promise<http2.ClientHttp2Session> => {
    const socket = await stage.secure({ ALPNProtocols: ['h2', 'http/1.1'] });
    expect(socket.alpnProtocol).toBe('h2');
    const made = http2.connect(`https://${stage.target}`, { createConnection: () => socket });
    made.on('error', () => {});
    atEnd(() => made.destroy());
    return made;
  };
  return { ...stage, sessions, server, session };
}

/** A client and an origin that speak frames. */
export async function rawStage(options: StageOptions = {}, settings?: Buffer) {
  const seen = new FrameReader();
  const peers: tls.TLSSocket[] = [];
  const server = tls.createServer({ ...hostCertificate(), ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('error', () => {});
    let left = PREFACE.length;
    socket.on('data', (chunk: Buffer) => {
      const skipped = Math.min(left, chunk.length);
      left -= skipped;
      seen.take(chunk.subarray(skipped));
    });
    socket.write(frame(FRAME.settings, 0, 0, settings));
    peers.push(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => void server.close());
  const stage = await stageFor(server.address() as net.AddressInfo, options);
  const raw = await stage.secure({ ALPNProtocols: ['h2'] });
  raw.on('error', () => {});
  const heard = new FrameReader();
  raw.on('data', (chunk: Buffer) => heard.take(chunk));
  raw.write(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]));
  return { ...stage, raw, seen, heard, peers };
}

/** SETTINGS_INITIAL_WINDOW_SIZE of 0: who says it takes no body before it says so. */
export const NO_WINDOW = Buffer.from('000400000000', 'hex');

export interface Answer {
  readonly status: number | undefined;
  readonly headers: http2.IncomingHttpHeaders;
  readonly trailers: http2.IncomingHttpHeaders;
  readonly body: string;
  /** With what the stream was closed. */
  readonly code: number;
}

/** One request, and all that comes of it. */
export function ask(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  options: { body?: string | Buffer; trailers?: http2.OutgoingHttpHeaders } = {},
): Promise<Answer> {
  return new Promise((resolve) => {
    const { body, trailers } = options;
    const stream = session.request(headers, { endStream: body === undefined, waitForTrailers: trailers !== undefined });
    const got = { status: undefined as number | undefined, headers: {}, trailers: {}, body: '' };
    stream.on('error', () => {});
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('response', (sent) => Object.assign(got, { status: sent[':status'], headers: sent }));
    stream.on('trailers', (sent) => Object.assign(got, { trailers: sent }));
    stream.setEncoding('utf8').on('data', (text: string) => {
      got.body += text;
    });
    stream.on('close', () => resolve({ ...got, code: stream.rstCode ?? 0 }));
    if (body !== undefined) stream.end(body);
  });
}

export const echo: Handler = (stream, headers) => {
  stream.respond({ ':status': 200, 'x-path': headers[':path'], 'x-authority': headers[':authority'] });
  stream.pipe(stream);
};
