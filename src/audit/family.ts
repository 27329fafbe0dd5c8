// The logs of one proxy: FILE, and where it runs with workers one more for each, with `.wN` before the ending. A reader who asks for
// FILE is told of all of them, so that nothing of what the proxy did is left out by the number of processes it had.
import fs from 'node:fs';
import path from 'node:path';
import { WORKERS_MAX } from '../limits.ts';
import { parseLine } from './parse.ts';
import { listSegments, readFileLines } from './read.ts';

/** What stands behind the name of a log: nothing, a rotation, a branch of an upgrade. */
const TRACE = /^(?:$|[.-]\d|\.drain-\d)/;

/** The log of a worker, which counts from 1: data/audit.jsonl → data/audit.w1.jsonl. */
export function workerLog(file: string, worker: number): string {
  const { dir, name, ext } = path.parse(file);
  return path.join(dir, `${name}.w${worker}${ext}`);
}

/** The workers of whom there is a log or a rotated segment of one, in order: also those of a time with more workers. */
export function workersWithLogs(file: string): number[] {
  const { dir, name, ext } = path.parse(file);
  const names = fs.existsSync(dir === '' ? '.' : dir) ? fs.readdirSync(dir === '' ? '.' : dir) : [];
  const workers = names.flatMap((each) => {
    if (!each.startsWith(`${name}.w`)) return [];
    const [, number = '', rest = ''] = /^(\d{1,3})(.*)$/s.exec(each.slice(name.length + 2)) ?? [];
    const isLog = rest.startsWith(ext) && TRACE.test(rest.slice(ext.length));
    return number !== '' && isLog ? [Number(number)] : [];
  });
  return [...new Set(workers)].sort((a, b) => a - b);
}

/** FILE and the logs of its workers; of several files each once. */
export function logFamily(...files: readonly string[]): string[] {
  const logs = files.flatMap((file) => [file, ...workersWithLogs(file).map((worker) => workerLog(file, worker))]);
  return [...new Map(logs.map((log) => [path.resolve(log), log])).values()];
}

/** The name of a worker in its records: a node of its own. */
export function workerNode(node: string, worker: number): string {
  return `${node}.w${worker}`;
}

/**
 * Workers that FILE says have served, as nodes: of each there must be a log, and nobody who reads what is there would miss one that is
 * gone. Of FILE what is not packed is read; the log of a worker knows of no others.
 */
export function workersThatServed(file: string): string[] {
  const nodes = new Set<string>();
  for (const { path: segment } of listSegments(file).segments) {
    for (const { text, state } of readFileLines(segment)) {
      const line = state === 'whole' && text.includes(START) ? parseLine(text) : null;
      const workers = line?.event === 'start' ? line.detail['workers'] : undefined;
      if (line === null || !isWorkers(workers)) continue;
      for (let worker = 1; worker <= workers; worker++) nodes.add(workerNode(line.node, worker));
    }
  }
  return [...nodes];
}

const START = '"event":"start"';

/** Whoever has the disk may have written another number. */
function isWorkers(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= WORKERS_MAX;
}
