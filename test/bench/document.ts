// The figures of a run as Markdown, with the machine and the day, put between two marks of docs/benchmarks.md: by `npm run bench -- --write`.
import { readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';

const FILE = join(import.meta.dirname, '..', '..', 'docs', 'benchmarks.md');
const BEGIN = '<!-- figures of the last whole run: npm run bench -- --write -->';
const END = '<!-- end of the figures -->';

/** @param rows with their head; `about` says how they were taken */
export function writeFigures(rows: readonly (readonly string[])[], about: string): void {
  const text = readFileSync(FILE, 'utf8');
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`${FILE} has no place for the figures`);
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const [head = [], ...body] = rows;
  const rule = head.map((_, column) => (column < 2 ? '---' : '---:'));
  const table = [head, rule, ...body].map(line).join('\n');
  const processor = os.cpus()[0]?.model ?? 'an unknown processor';
  const machine = `${os.availableParallelism()} processors (${processor}), ${os.type()} ${/^\d+\.\d+/.exec(os.release())}, Node ${process.versions.node}`;
  const day = new Date().toISOString().slice(0, 10);
  const made = `${BEGIN}\n\nTaken on ${day} on a machine with ${machine}. ${about}\n\n${table}\n\n`;
  writeFileSync(FILE, text.slice(0, from) + made + text.slice(to));
}
