// Reads one text file of the configuration and parses its YAML, or throws with the place of what is wrong.
import type { FileRead } from '../catalog/load-signature.ts';
import { readDocument, type SourceDocument } from './document.ts';
import { failure, problemAt } from './findings.ts';
import { readBytes } from './load-file.ts';

export interface TextFile {
  readonly text: string;
  readonly bytes: number;
  readonly read: FileRead;
}

/**
 * @param whereAbsent the hint where there is no such file
 * @throws SallyportError `config-unreadable`, `config-too-large`, `config-syntax`
 */
export function readTextFile(file: string, whereAbsent?: string, bytesMax?: number): TextFile {
  const { bytes, read } = readBytes(file, whereAbsent, bytesMax);
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), bytes: bytes.length, read };
  } catch (cause) {
    const { line, column } = invalidPlace(bytes);
    throw failure(file, [problemAt('config-syntax', { file, line, column }, 'the file is not UTF-8 text')], { cause });
  }
}

/** @throws SallyportError `config-empty`, `config-syntax`, … with every problem found */
export function parseText(file: string, text: string): SourceDocument {
  const result = readDocument(file, text);
  if (!result.ok) throw failure(file, result.problems);
  return result.document;
}

/** Line and column of the first byte that is not UTF-8. */
function invalidPlace(bytes: Uint8Array): { line: number; column: number } {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  const before = text.slice(0, Math.max(0, text.indexOf('\uFFFD')));
  return { line: before.split('\n').length, column: before.length - before.lastIndexOf('\n') };
}
