// What a command says of itself, and the options that several commands share. A file beside this one holds the commands of
// one area; args.ts joins them.

export interface ArgumentSpec {
  readonly name: string;
  readonly about: string;
  readonly required: boolean;
  /** May stand several times; the last argument only. */
  readonly repeat?: true;
}

export interface OptionSpec {
  /** Long name without dashes. */
  readonly name: string;
  /** Name of its value; null for a switch. */
  readonly value: string | null;
  readonly about: string;
  /** May stand several times. */
  readonly repeat?: true;
  readonly choices?: readonly string[];
}

export interface CommandSpec {
  /** One word, or two for a command of a family: "catalog list". */
  readonly name: string;
  readonly summary: string;
  /** Paragraphs below the summary. */
  readonly about?: readonly string[];
  readonly arguments: readonly ArgumentSpec[];
  readonly options: readonly OptionSpec[];
  /** What each exit code of its own means here: 0, 1, of some 3; 2 and 70 are the same everywhere. */
  readonly exits: Readonly<Record<number, string>>;
  readonly examples: readonly string[];
  /** Keys of the object that --json prints. */
  readonly json: string;
}

export const CONFIG: OptionSpec = {
  name: 'config',
  value: 'FILE',
  about: 'The policy file; $SALLYPORT_CONFIG or config/sallyport.yaml unless given.',
};
export const LOG: OptionSpec = {
  name: 'log',
  value: 'FILE',
  about: 'The audit log itself, instead of the one that --config names.',
};
export const AS: OptionSpec = {
  name: 'as',
  value: 'KEY=VALUE',
  repeat: true,
  about:
    'Who asks: organization, pipeline, pipeline_id, branch, step, queue, job, build, agent, cluster or user, as if it were proven.',
};
/** How a moment is typed, everywhere; input.ts reads it. */
export const WHEN = 'a span back from now (90m, 24h, 7d, 4w) or an ISO 8601 date or time (UTC)';

/** The window that a report looks at; windowOf (window.ts) reads it. */
export function windowOptions(since: string): readonly OptionSpec[] {
  return [
    { name: 'from', value: 'WHEN', about: `Begin of the window: ${WHEN}. ${since} unless given.` },
    { name: 'to', value: 'WHEN', about: 'End of the window, written the same way; now unless given.' },
    { name: 'since', value: 'WHEN', about: 'The same as --from.' },
    { name: 'until', value: 'WHEN', about: 'The same as --to.' },
  ];
}
