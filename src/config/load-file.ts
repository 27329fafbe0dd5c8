// Reads one file of the configuration: a regular file, whole, and within its bound. Never a pipe or a device, which might not
// end, and never what grows while it is read.
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type FileRead, fileRead } from '../catalog/load-signature.ts';
import { SallyportError } from '../errors.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import { failure, problemAt } from './findings.ts';

/**
 * Reads a regular file up to the limit; never a pipe or a device, which might not end.
 * @param whereAbsent the hint where there is no such file
 * @param max bytes
 * @throws SallyportError `config-unreadable`, `config-too-large`
 */
export function readBytes(
  file: string,
  whereAbsent?: string,
  max: number = DEFAULT_LIMITS.config_bytes,
): { bytes: Uint8Array; read: FileRead } {
  let descriptor: number | null = null;
  try {
    const kind = statSync(file);
    if (!kind.isFile()) {
      const what = kind.isDirectory() ? 'a directory' : 'not a regular file';
      const hint = kind.isDirectory() ? `Name the file in it, such as ${join(file, 'sallyport.yaml')}.` : undefined;
      throw failure(file, [problemAt('config-unreadable', { file, line: 1, column: 1 }, `${file} is ${what}`, hint)]);
    }
    descriptor = openSync(file, 'r');
    const stat = fstatSync(descriptor, { bigint: true });
    const size = Number(stat.size);
    const buffer = Buffer.alloc(Math.min(size, max) + 1);
    let used = 0;
    for (let got = -1; got !== 0 && used < buffer.length; used += got) {
      got = readSync(descriptor, buffer, used, buffer.length - used, null);
    }
    const bytes = buffer.subarray(0, used);
    if (used <= max && used <= size) return { bytes, read: fileRead(file, stat, bytes) };
    const found = used > size ? 'it grows while it is read' : `it has ${size} bytes; allowed are ${max}`;
    throw failure(file, [problemAt('config-too-large', { file, line: 1, column: 1 }, `${file}: ${found}`)]);
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : `cannot be read: ${code}`;
    const hint = code === 'ENOENT' ? whereAbsent : undefined;
    throw failure(file, [problemAt('config-unreadable', { file, line: 1, column: 1 }, `${file} ${why}`, hint)], {
      cause,
    });
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}
