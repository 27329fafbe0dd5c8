// What `doctor` may see of the host that it runs on: files, folders, variables, and what a program prints, each bounded. Tests hand in
// a host of their own.
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import type { Environment } from './proxy-url.ts';

export interface Machine {
  readonly env: Environment;
  readonly home: string;
  readonly cwd: string;
  /** The text of a file; null where it is not there, cannot be read or is too large to be a setting. */
  read(path: string): string | null;
  /** Names in a folder; none where it is not there. */
  list(path: string): readonly string[];
  /** What a program prints on standard output; null where it is not there, failed or took too long. */
  run(program: string, args: readonly string[]): Promise<string | null>;
}

const SETTING_BYTES_MAX = 1_048_576;
const PROGRAM_MS_MAX = 5_000;

export function thisMachine(env: Environment): Machine {
  return {
    env,
    home: env['HOME'] || homedir(),
    cwd: process.cwd(),
    read: (path) => {
      try {
        return statSync(path).size > SETTING_BYTES_MAX ? null : readFileSync(path, 'utf8');
      } catch {
        return null;
      }
    },
    list: (path) => {
      try {
        return readdirSync(path).sort();
      } catch {
        return [];
      }
    },
    run: (program, args) =>
      new Promise((resolve) => {
        const options = { env: { ...env }, timeout: PROGRAM_MS_MAX, maxBuffer: SETTING_BYTES_MAX };
        execFile(program, [...args], options, (error, stdout) => resolve(error === null ? stdout : null));
      }),
  };
}
