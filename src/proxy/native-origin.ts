// An origin that the walk of plain HTTP speaks with over the native engine: what it says is shown, what it is told is written.
import { Buffer } from 'node:buffer';
import { closeSync } from 'node:fs';
import net from 'node:net';
import type { OriginListener, OriginWire } from './engine.ts';
import type { NativeEngine } from './engine-native.ts';

const IGNORED: OriginListener = { heard: () => {}, originDrained: () => {}, lost: () => {} };

export class NativeOrigin implements OriginWire {
  readonly handle: number;
  readonly address: string;
  listener: OriginListener = IGNORED;
  sent = true;
  readonly #engine: NativeEngine;

  constructor(engine: NativeEngine, handle: number, address: string) {
    this.#engine = engine;
    this.handle = handle;
    this.address = address;
  }

  say(head: string, body: Uint8Array | null): void {
    this.sent = this.#engine.core.say(this.handle, head, body) === 1;
  }

  drained(): void {
    this.sent = true;
    this.listener.originDrained();
  }

  ask(): void {
    this.#engine.core.ask(this.handle);
  }

  quiet(): boolean {
    return this.#engine.core.quiet(this.handle);
  }

  close(): void {
    this.listener = IGNORED;
    this.#engine.forget(this.handle);
    this.#engine.core.close(this.handle, false);
  }

  /** Its descriptor is closed. */
  lost(errno: string): void {
    this.#engine.forget(this.handle);
    const { listener } = this;
    this.listener = IGNORED;
    listener.lost(errno);
  }

  adoptAsked(heard: Uint8Array): net.Socket {
    this.listener = IGNORED;
    const fd = this.#engine.core.release(this.handle);
    this.#engine.forget(this.handle);
    try {
      const socket = new AskedSocket({ fd, readable: true, writable: true });
      socket.on('error', ignore);
      socket.unshift(Buffer.from(heard));
      return socket;
    } catch (error) {
      if (fd >= 0) closeSync(fd);
      throw error;
    }
  }
}

/** What Node's client writes to it is the request that the origin has already. */
class AskedSocket extends net.Socket {
  override _write(_chunk: unknown, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    done();
  }

  override _writev(_chunks: unknown, done: (error?: Error | null) => void): void {
    done();
  }
}

function ignore(): void {
  // The 'close' that follows every error is what is acted on.
}
