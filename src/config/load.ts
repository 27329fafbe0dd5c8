// A file, flags and the environment → LoadedConfig, or one SallyportError with every problem and its place. The work is done in a thread
// of its own, because parsing 100,000 rules takes a second in which a proxy must go on answering; what it needs (load-here.ts) is loaded
// there alone, and the data plane's thread has no YAML parser.
import { statSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { deepFreeze } from '../catalog/deep-freeze.ts';
import type { FileRead } from '../catalog/load-signature.ts';
import { type OperatorErrorCode, type Problem, SallyportError } from '../errors.ts';
import { threadEntry } from '../places.ts';
import type { CompiledPolicy, RuleSource } from '../policy/compile.ts';
import type { Settings } from './config.ts';
import type { LastGood, LayerStatus } from './load-layers.ts';
import type { Overrides } from './parse.ts';

export type { Overrides } from './parse.ts';

/** The file that commands use where none is named. */
export const DEFAULT_FILE = 'config/sallyport.yaml';
const FILE_VARIABLE = 'SALLYPORT_CONFIG';

/** A bound for the thread that parses: a configuration that needs more is a mistake, and must not end the proxy. */
const WORKER_MEMORY_MB = 2_048;
/** Of it, what is new: V8 would let it grow to a hundred, and gives nothing back for seconds after the thread has ended. */
const WORKER_YOUNG_MB = 16;

export interface LoadOptions {
  /** The file as it was named; null: the built-in policy (group buildkite-agent), with the overrides. */
  readonly file: string | null;
  /** Its text, instead of what is on the disk: a proposal that nobody has written yet. */
  readonly text?: string;
  readonly overrides?: Overrides;
  /** The file is a policy that many nodes share, without the settings of one: what they need of it is not asked for. */
  readonly shared?: boolean;
  /** Where the policy is read from, instead of the folder in force of `policy.source`: a bundle on trial. */
  readonly policyFolder?: string;
  /** What was last in force of each layer, for one that is broken now. */
  readonly lastGood?: LastGood;
  /** Milliseconds since the epoch, for expiry. */
  readonly now: number;
}

export interface LoadedConfig {
  readonly settings: Settings;
  readonly policy: CompiledPolicy;
  /** The operator's files it was made from, in the order of reading. */
  readonly files: readonly FileRead[];
  /** Warnings only. */
  readonly problems: readonly Problem[];
  /** The ceiling and the files of pipelines; each that is broken has its problems, and they are no warnings. */
  readonly layers: readonly LayerStatus[];
  /** What may be granted at all; null where nothing may. */
  readonly ceiling: readonly RuleSource[] | null;
}

/**
 * The configuration file to use: the flag, else SALLYPORT_CONFIG, else config/sallyport.yaml where it exists.
 * @returns file null where there is none
 */
export function findConfigFile(flag: string | null): { file: string | null; from: string } {
  if (flag !== null) return { file: flag, from: 'command line' };
  const named = process.env[FILE_VARIABLE];
  if (named !== undefined && named !== '') return { file: named, from: FILE_VARIABLE };
  return { file: statSync(DEFAULT_FILE, { throwIfNoEntry: false })?.isFile() ? DEFAULT_FILE : null, from: 'default' };
}

/**
 * Loads and compiles in a worker thread; the compiled arrays move over without being copied.
 * @param memoryMb what the thread may use; one that needs more dies alone
 * @throws SallyportError with `problems` where anything is wrong, also where the thread dies
 */
export async function loadConfig(options: LoadOptions, memoryMb: number = WORKER_MEMORY_MB): Promise<LoadedConfig> {
  const worker = new Worker(threadEntry('config/load-worker.ts'), {
    workerData: options,
    resourceLimits: { maxOldGenerationSizeMb: memoryMb, maxYoungGenerationSizeMb: WORKER_YOUNG_MB },
  });
  const answer = await new Promise<WorkerAnswer>((resolve, reject) => {
    const died = (why: string, cause?: unknown): void => {
      const name = options.file ?? 'the built-in policy';
      reject(new SallyportError('config-unreadable', `${name} could not be loaded: ${why}`, { cause }));
    };
    worker.once('message', (message: WorkerAnswer) => resolve(message));
    worker.once('messageerror', (cause) => died('the loading thread sent what cannot be read', cause));
    worker.once('error', (cause: Error) => died(`the loading thread failed (${cause.message})`, cause));
    worker.once('exit', (code) => died(`the loading thread ended with ${code} and no answer`));
  });
  if (answer.ok) return { ...answer.loaded, settings: deepFreeze(answer.loaded.settings) };
  const { code, message, hint, problems } = answer;
  throw new SallyportError(code, message, { hint, problems });
}

/** What the worker sends; an error loses its class on the way, so it goes as plain fields. */
export type WorkerAnswer =
  | { readonly ok: true; readonly loaded: LoadedConfig }
  | {
      readonly ok: false;
      readonly code: OperatorErrorCode;
      readonly message: string;
      readonly hint: string;
      readonly problems: readonly Problem[];
    };
