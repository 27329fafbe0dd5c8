// A command line run in this process, with what it prints caught instead of shown.
import { run } from '../../src/cli/run.ts';
import type { World } from '../../src/cli/ui.ts';
import { type PolicyFile, tempDir, writePolicy } from '../support/temp.ts';

export const NOW = Date.parse('2026-11-24T12:00:00.000Z');

/** Of a command that is not to touch them. */
export const pipes: World['pipes'] = () => {
  throw new Error('this command has no business with raw standard input and output');
};

export interface Shown {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Prompts for what is not shown. */
  readonly asked: readonly string[];
}

export interface Terminal {
  readonly tty?: boolean;
  readonly columns?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly now?: number;
  /** What is typed where a password is asked for. */
  readonly secrets?: readonly string[];
}

/** Runs `sallyport ARGS`; without a terminal unless told. */
export async function type(args: readonly string[], terminal: Terminal = {}): Promise<Shown> {
  const out: string[] = [];
  const err: string[] = [];
  const secrets = [...(terminal.secrets ?? [])];
  const asked: string[] = [];
  const screen = { isTTY: terminal.tty === true, columns: terminal.columns };
  const world: World = {
    stdout: { ...screen, write: (text) => void out.push(text) },
    stderr: { ...screen, write: (text) => void err.push(text) },
    env: terminal.env ?? {},
    now: () => terminal.now ?? NOW,
    user: 'operator',
    pipes,
    stdin: { isTTY: terminal.tty === true },
    secret: async (prompt) => {
      asked.push(prompt);
      return secrets.shift() ?? null;
    },
  };
  const code = await run(args, world);
  return { code, out: out.join(''), err: err.join(''), asked };
}

/** The JSON that a command printed. */
export async function typeJson<T = Record<string, unknown>>(
  args: readonly string[],
  terminal: Terminal = {},
): Promise<{ code: number; json: T; err: string }> {
  const { code, out, err } = await type([...args, '--json'], terminal);
  return { code, json: JSON.parse(out) as T, err };
}

/** A policy file in a folder of its own; its audit log and usage store are there too. */
export function policyFile(policy: PolicyFile): {
  readonly file: string;
  readonly dir: string;
  readonly audit: string;
} {
  const dir = tempDir('cli');
  const audit = `${dir}/audit.jsonl`;
  const file = writePolicy(`${dir}/sallyport.yaml`, {
    version: 1,
    listen: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    audit: { file: audit },
    usage: { store: `${dir}/usage.db` },
    ...policy,
  });
  return { file, dir, audit };
}
