// `sallyport check`: is the file valid, and what does it hold. All problems at once, each with its place and what to do.
import type { Settings } from '../../config/config.ts';
import { showStore } from '../../config/store-place.ts';
import { OPERATOR_ERRORS, type Problem, SallyportError } from '../../errors.ts';
import { Policy } from '../../policy/decide.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { chooseEngine } from '../engine.ts';
import type { Input } from '../input.ts';
import { configFile, layerProblems, loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

export function check(input: Input, ui: Ui, world: World): number {
  const strict = input.flag('strict');
  const file = configFile(input);
  let loaded: ReturnType<typeof loadFor>;
  try {
    loaded = loadFor(input, ui, world, { quiet: true });
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code === 'usage') throw error;
    const problems = error.problems.length > 0 ? error.problems : [problemOf(error)];
    if (ui.json) ui.object({ file, ok: false, problems });
    for (const problem of ui.json ? [] : problems) ui.problem(problem);
    if (!ui.json) ui.line(`${ui.paint('red', 'not valid')}: ${inert(file)} (${count(problems)})`);
    return EXIT.failed;
  }
  const { settings, policy } = loaded;
  const broken = layerProblems(loaded);
  const problems = [...broken, ...loaded.problems];
  const ok = broken.length === 0 && (problems.length === 0 || !strict);
  const rules = [...new Policy(policy).rules()];
  const facts = {
    digest: policy.digest,
    mode: policy.mode,
    rules: rules.length,
    groups: [...new Set(rules.flatMap((rule) => (rule.group === null ? [] : [rule.group])))],
    listen: settings.listen.map(({ host, port }) => authority(host, port)),
    admin: settings.admin === null ? null : authority(settings.admin.host, settings.admin.port),
    audit: settings.audit.file,
    usage: showStore(settings.usage.store),
    engine: engineText(settings.engine),
  };
  const layers = loaded.layers.map(({ file: layer, role, for: scope, state, rules: count }) => ({
    file: layer,
    role,
    for: scope,
    state,
    rules: count,
  }));
  if (ui.json) {
    ui.object({ file, ok, ...facts, layers, problems });
    return ok ? EXIT.ok : EXIT.failed;
  }
  for (const problem of problems) ui.problem(problem);
  ui.line(
    `${ok ? ui.paint('green', 'valid') : ui.paint('red', 'not valid')}: ${inert(file)}${problems.length > 0 ? ` (${count(problems)})` : ''}`,
  );
  for (const [name, value] of Object.entries(facts)) {
    ui.line(`  ${name.padEnd(7)} ${inert(Array.isArray(value) ? value.join(', ') || 'none' : String(value ?? 'off'))}`);
  }
  for (const { file: layer, state, rules: count } of layers)
    ui.line(
      `  layer   ${inert(layer)}: ${state === 'current' ? plural(count, 'rule') : 'not in force, the base alone counts'}`,
    );
  return ok ? EXIT.ok : EXIT.failed;
}

/** Which one a start on this machine would take. */
function engineText(wanted: Settings['engine']): string {
  const { kind, instead } = chooseEngine(wanted);
  return instead === null ? kind : `${kind} (${instead})`;
}

function problemOf(error: SallyportError): Problem {
  return {
    code: error.code,
    severity: 'error',
    at: null,
    message: error.message || OPERATOR_ERRORS[error.code].title,
    hint: error.hint,
  };
}

function authority(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function count(problems: readonly Problem[]): string {
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  const warnings = problems.length - errors;
  const parts = [errors > 0 ? plural(errors, 'error') : '', warnings > 0 ? plural(warnings, 'warning') : ''];
  return parts.filter((part) => part !== '').join(', ');
}

function plural(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? '' : 's'}`;
}
