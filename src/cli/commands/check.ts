// `sallyport check`: is the policy valid with all its layers, what does it hold, and what does a change of it give and take. All problems
// at once, each with its place and what to do.
import { statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Settings } from '../../config/config.ts';
import { DEFAULT_FILE } from '../../config/load.ts';
import { type LoadedHere, loadConfigHere } from '../../config/load-here.ts';
import { keysOfMachine } from '../../config/load-source.ts';
import { showStore } from '../../config/store-place.ts';
import { OPERATOR_ERRORS, type Problem, SallyportError } from '../../errors.ts';
import { authorityText } from '../../policy/authority.ts';
import { Policy } from '../../policy/decide.ts';
import { inert } from '../../report/inert.ts';
import { type ChangedRule, policyChanges } from '../../report/policy-diff.ts';
import {
  type CheckReport,
  renderCheckJunit,
  renderCheckMarkdown,
  ruleText,
  whoText,
} from '../../report/render-check.ts';
import { renderReplay } from '../../report/render-replay.ts';
import { type CheckedFile, loadAgainst } from '../against.ts';
import { EXIT } from '../args.ts';
import { certificatesText } from '../certificate-files.ts';
import { configFile } from '../config-file.ts';
import { chooseEngine } from '../engine.ts';
import { type Input, moment, usage } from '../input.ts';
import { inspectionText } from '../inspection-ca.ts';
import { layerProblems } from '../load.ts';
import { isPartial, replayLogs } from '../replay-logs.ts';
import type { Ui, World } from '../ui.ts';

export async function check(input: Input, ui: Ui, world: World): Promise<number> {
  const file = fileOf(input);
  const format = ui.json ? 'json' : (input.text('format') ?? 'table');
  const now = world.now();
  let loaded: LoadedHere;
  let shared = false;
  try {
    // A folder that says nothing of a machine is what machines name under policy.source: what they have besides is not asked for.
    shared = isFolder(input) && keysOfMachine(file).length === 0;
    loaded = loadConfigHere({ file, now, shared });
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code === 'usage') throw error;
    const problems = error.problems.length > 0 ? error.problems : [problemOf(error)];
    show({ file, ok: false, digest: null, problems, layers: [], against: null, replay: null }, null, format, ui);
    return EXIT.failed;
  }
  const broken = layerProblems(loaded);
  const problems = [...broken, ...loaded.problems];
  const ok = broken.length === 0 && (problems.length === 0 || !input.flag('strict'));
  const layers = loaded.layers.map(({ file: layer, role, for: scope, state, rules }) => ({
    file: layer,
    role,
    for: scope,
    state,
    rules,
  }));
  const against = againstOf(input, { file, now, shared }, loaded);
  const logs = input.list('log');
  const since = input.text('since');
  const from = since === null ? Number.NEGATIVE_INFINITY : moment(since, 'since', now);
  const replay = logs.length === 0 ? null : await replayLogs(loaded, { logs, from, to: now, now, ready: false }, ui);
  const facts = { ...factsOf(loaded), inspect: await inspectionText(loaded.settings.inspection, loaded.policy, now) };
  show({ file, ok, digest: loaded.policy.digest, problems, layers, against, replay }, facts, format, ui);
  if (!ok) return EXIT.failed;
  if (replay === null) return EXIT.ok;
  if (replay.newly_fail_requests > 0) return EXIT.changed;
  return isPartial(replay) ? EXIT.failed : EXIT.ok;
}

/** The file of the argument, which may be the folder it stands in, else that of --config. */
function fileOf(input: Input): string {
  const place = input.argument(0);
  if (place === null) return configFile(input);
  if (input.text('config') !== null) throw usage(`${place} and --config both name a policy`, 'Give one of the two.');
  return isFolder(input) ? join(place, basename(DEFAULT_FILE)) : place;
}

function isFolder(input: Input): boolean {
  const place = input.argument(0);
  return place !== null && statSync(place, { throwIfNoEntry: false })?.isDirectory() === true;
}

function againstOf(input: Input, options: CheckedFile, loaded: LoadedHere): CheckReport['against'] {
  const { now } = options;
  const name = input.text('against');
  if (name === null) return null;
  const other = loadAgainst(name, options);
  const changes = policyChanges(other.loaded.source.rules, loaded.source.rules, now).map((change) => ({
    ...change,
    gains: change.gains.map((rule) => ({ ...rule, origin: other.shown(rule.origin) })),
    loses: change.loses.map((rule) => ({ ...rule, origin: other.shown(rule.origin) })),
  }));
  const mode = { before: other.loaded.policy.mode, after: loaded.policy.mode };
  return { name, digest: other.loaded.policy.digest, mode, changes };
}

function show(report: CheckReport, facts: object | null, format: string, ui: Ui): void {
  const { digest, against, replay, layers, ...rest } = report;
  if (format === 'markdown') return ui.raw(renderCheckMarkdown(report));
  if (format === 'junit') return ui.raw(renderCheckJunit(report));
  if (format === 'json') {
    const { file, ok, problems } = rest;
    ui.object(facts === null ? rest : { file, ok, ...facts, layers, against, replay, problems });
    return;
  }
  const { file, ok, problems } = rest;
  for (const problem of problems) ui.problem(problem);
  ui.line(
    `${ok ? ui.paint('green', 'valid') : ui.paint('red', 'not valid')}: ${inert(file)}${problems.length > 0 ? ` (${count(problems)})` : ''}`,
  );
  if (facts === null) return;
  for (const [name, value] of Object.entries(facts)) {
    ui.line(`  ${name.padEnd(7)} ${inert(Array.isArray(value) ? value.join(', ') || 'none' : String(value ?? 'off'))}`);
  }
  for (const { file: layer, state, rules } of layers)
    ui.line(
      `  layer   ${inert(layer)}: ${state === 'current' ? plural(rules, 'rule') : 'not in force, the base alone counts'}`,
    );
  if (against !== null) showChanges(against, ui);
  if (replay !== null) ui.raw(`\n${renderReplay(replay, { width: ui.width, paint: ui.paint })}`);
}

function showChanges({ name, mode, changes }: NonNullable<CheckReport['against']>, ui: Ui): void {
  ui.line(`against ${inert(name)}:${changes.length === 0 ? ' nobody gains or loses anything' : ''}`);
  if (mode.before !== mode.after) ui.line(ui.paint('bold', `  mode ${mode.before} -> ${mode.after}`));
  for (const { for: who, gains, loses } of changes) {
    ui.line(`  ${inert(whoText(who))}`);
    for (const rule of gains) ui.line(ui.paint('green', `    + ${inert(changeText(rule, 'no longer '))}`));
    for (const rule of loses) ui.line(ui.paint('red', `    - ${inert(changeText(rule, 'newly '))}`));
  }
}

function changeText(rule: ChangedRule, word: string): string {
  return `${rule.effect === 'deny' ? word : ''}${ruleText(rule)}  ${rule.origin}`;
}

function factsOf({ settings, policy }: LoadedHere) {
  const rules = [...new Policy(policy).rules()];
  return {
    digest: policy.digest,
    mode: policy.mode,
    rules: rules.length,
    groups: [...new Set(rules.flatMap((rule) => (rule.group === null ? [] : [rule.group])))],
    listen: settings.listen.map(({ host, port }) => authorityText(host, port)),
    admin: adminText(settings.admin),
    tls: certificatesText(settings),
    audit: settings.audit.file,
    usage: showStore(settings.usage.store),
    engine: engineText(settings.engine),
  };
}

function adminText(admin: Settings['admin']): string | null {
  if (admin === null) return null;
  return admin.path === null ? authorityText(admin.host, admin.port) : `unix:${admin.path}`;
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

function count(problems: readonly Problem[]): string {
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  const warnings = problems.length - errors;
  const parts = [errors > 0 ? plural(errors, 'error') : '', warnings > 0 ? plural(warnings, 'warning') : ''];
  return parts.filter((part) => part !== '').join(', ');
}

function plural(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? '' : 's'}`;
}
