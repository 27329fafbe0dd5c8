// Finds and loads the native engine's compiled half (src/native), where this package or checkout has one for this machine. That
// it loads is not enough: it is used only when its self-check says that the system gives it what it needs.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import { packaged } from '../places.ts';

/** What the compiled half does at the word of engine-native.ts. Handles are numbers; one that is gone gives false or -1. */
export interface NativeCore {
  /** Takes a copy of a listening descriptor. @returns its handle, or minus an errno */
  listen(fd: number): number;
  /** @returns a copy of a listener's descriptor, or minus an errno */
  lend(listener: number): number;
  unlisten(listener: number): void;
  /** @param kept the caller has bytes of it and waits for more: its end is told, and not acted upon */
  collect(client: number, kept: boolean): boolean;
  /** @returns the descriptor, which is the caller's now, or -1 */
  release(client: number): number;
  /** @returns an attempt's handle, or minus an errno */
  connect(address: string, port: number): number;
  /** @param check 0 none, 1 enforce, 2 observe. @param hold nothing of the origin flows before pass(). `early` is copied */
  open(client: number, attempt: number, check: number, hold: boolean, early: Uint8Array | null): boolean;
  more(client: number): void;
  pass(client: number): void;
  refuse(client: number, answer: string): boolean;
  /** A client that has spoken, or an origin that has answered a dial, is spoken with from now on. */
  talk(handle: number): boolean;
  /** @param head a character a byte. @returns 1 all is in the kernel, 0 the rest follows and is told, -1 it is gone or broken */
  say(handle: number, head: string, body: Uint8Array | null): number;
  ask(origin: number): boolean;
  /** Whether it is open and nothing has come that was not asked for. */
  quiet(origin: number): boolean;
  close(handle: number, reset: boolean): boolean;
  /** Bytes up and down of an open tunnel. */
  counts(client: number, into: Float64Array): boolean;
  /** Whether a byte has passed since the last call. */
  active(client: number): boolean;
  /**
   * Closes pipes that lay unused since the last call, and gives back, in another thread, what malloc keeps of freed memory and, the first
   * time, what only the start has read of the program.
   */
  trim(): void;
  stop(): void;
}

export interface NativeModule {
  /** `tell` is called with the number of bytes that lie in the outbox; they are only lent for that call. */
  readonly Engine: new (
    outbox: ArrayBuffer,
    established: string,
    tell: (bytes: number) => void,
  ) => NativeCore;
  /** What does not work here, or null. */
  selfCheck(): string | null;
  /** By then the process has ended with that code, whatever its threads wait for. */
  endWithin(code: number, ms: number): void;
}

export type NativeLoaded =
  | { readonly ok: true; readonly module: NativeModule }
  | { readonly ok: false; readonly why: string };

const FILE = packaged(`dist/native/${process.platform}-${process.arch}/sallyport.node`);

let loaded: NativeLoaded | null = null;

/** Loads it once. @param file another file than the one that belongs here, for tests */
export function loadNative(file: string = FILE): NativeLoaded {
  if (loaded && file === FILE) return loaded;
  const found = load(file);
  if (file === FILE) loaded = found;
  return found;
}

function load(file: string): NativeLoaded {
  if (!existsSync(file)) {
    const machine = `${process.platform}-${process.arch}`;
    return { ok: false, why: `this installation has none for ${machine}: ${file} is not there` };
  }
  try {
    const module = createRequire(file)(file) as NativeModule;
    const lacks = module.selfCheck();
    if (lacks !== null) return { ok: false, why: `its self-check fails here: ${lacks}` };
    return { ok: true, module };
  } catch (error) {
    return { ok: false, why: `it cannot be loaded: ${(error as Error).message}` };
  }
}

/** The name of an error that the compiled half has given as a number below zero. */
export function errnoName(errno: number): string {
  return getSystemErrorName(errno);
}
