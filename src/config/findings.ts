// Collects the problems of one load, gives each its place, and makes the one error of them.
// PURE. It keeps no more than a person can read: finding a place costs time, and a file may hold 100,000 mistakes.
import { OPERATOR_ERRORS, type OperatorErrorCode, type Problem, SallyportError, type SourcePlace } from '../errors.ts';
import type { PathProblem } from './issues.ts';

/** Problems of one file that are worth printing; the first are the ones to mend. */
export const PROBLEMS_MAX = 50;
/** Warnings are read by `check` alone, and may be many where a list was pasted twice. */
const WARNINGS_MAX = 200;

/** An error about a place in a file. */
export function problemAt(code: OperatorErrorCode, at: SourcePlace, message: string, hint?: string): Problem {
  return { code, severity: 'error', at, message, hint: hint ?? OPERATOR_ERRORS[code].hint };
}

export class Findings {
  readonly #file: string | null;
  readonly #place: (problem: PathProblem) => SourcePlace | null;
  readonly #errors: Problem[] = [];
  readonly #warnings: Problem[] = [];
  #errorCount = 0;
  #warningCount = 0;

  /** `place` gives null for what stands on the command line. */
  constructor(file: string | null, place: (problem: PathProblem) => SourcePlace | null) {
    this.#file = file;
    this.#place = place;
  }

  add(found: readonly PathProblem[]): void {
    for (const problem of found) {
      const isError = problem.severity === 'error';
      const kept = isError ? this.#errors : this.#warnings;
      if (isError) this.#errorCount += 1;
      else this.#warningCount += 1;
      if (kept.length < (isError ? PROBLEMS_MAX : WARNINGS_MAX)) kept.push(this.#placed(problem));
    }
  }

  /** Findings of another file (the catalog, its lock), which have their place already. */
  addPlaced(found: readonly Problem[]): void {
    const errors = found.filter(({ severity }) => severity === 'error');
    const warnings = found.filter(({ severity }) => severity === 'warning');
    this.#errorCount += errors.length;
    this.#warningCount += warnings.length;
    this.#errors.push(...errors.slice(0, PROBLEMS_MAX));
    this.#warnings.push(...warnings.slice(0, WARNINGS_MAX));
  }

  get hasErrors(): boolean {
    return this.#errorCount > 0;
  }

  /** The one error of all that was found; warnings stand behind the errors. */
  error(): SallyportError {
    const warnings = inFileOrder(this.#warnings);
    return failure(this.#file, inFileOrder(this.#errors), { count: this.#errorCount, warnings });
  }

  /** The warnings in file order. */
  warnings(): Problem[] {
    const warnings = inFileOrder(this.#warnings);
    const more = this.#warningCount - warnings.length;
    if (more === 0) return warnings;
    const { hint } = OPERATOR_ERRORS['config-useless'];
    return [
      ...warnings,
      { code: 'config-useless', severity: 'warning', at: null, message: `${more} more warnings`, hint },
    ];
  }

  #placed(problem: PathProblem): Problem {
    const { code, severity, message, hint } = problem;
    const at = this.#place(problem);
    return { code, severity, at, message: at === null ? `command line: ${message}` : message, hint };
  }
}

function inFileOrder(problems: readonly Problem[]): Problem[] {
  const line = (problem: Problem): number => problem.at?.line ?? 0;
  const column = (problem: Problem): number => problem.at?.column ?? 0;
  return [...problems].sort((a, b) => line(a) - line(b) || column(a) - column(b));
}

/** One error for all problems; its own message is the first of them and says how many follow. */
export function failure(
  file: string | null,
  errors: readonly Problem[],
  more: { count?: number; warnings?: readonly Problem[]; cause?: unknown } = {},
): SallyportError {
  const [first] = errors;
  if (first === undefined) throw new Error('a failure without an error');
  const { count = errors.length, warnings = [], cause } = more;
  const where = first.at === null ? (file ?? 'no file') : `${first.at.file}:${first.at.line}:${first.at.column}`;
  const rest = count === 1 ? '' : ` (and ${count - 1} more)`;
  return new SallyportError(first.code, `${where}: ${first.message}${rest}`, {
    hint: first.hint,
    problems: [...errors, ...warnings],
    ...(cause === undefined ? {} : { cause }),
  });
}
