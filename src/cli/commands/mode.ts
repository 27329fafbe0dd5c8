// `sallyport mode …`: lets the running proxy observe or enforce for a while. The override is a file beside the audit log
// (../mode-override.ts), the signal makes the proxy read it, and the audit log says when it is in force: nothing is called
// done before that line stands there. The proxy is found by the lock of its audit log, never by its name.
import { rmSync } from 'node:fs';
import { type LockHolder, lockHolder } from '../../audit/lock.ts';
import type { NoteLine } from '../../policy/record.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { endOf, noteComes } from '../audit-note.ts';
import { type Input, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import { type ModeOverride, overrideFile, readOverride } from '../mode-override.ts';
import type { Ui, World } from '../ui.ts';
import { writeWhole } from '../write-whole.ts';

const MINUTES_MAX = 1_440;
const REASON_CHARACTERS_MAX = 500;
/** How long the proxy may take to say that the mode is in force. */
const CONFIRM_MS = 5_000;

export async function modeSet(input: Input, ui: Ui, world: World): Promise<number> {
  const mode = input.command === 'mode observe' ? 'observe' : 'enforce';
  const minutes = minutesOf(input.need('for-minutes', 'N'));
  const reason = input.need('reason', 'TEXT').trim();
  if (reason === '' || reason.length > REASON_CHARACTERS_MAX) {
    throw usage(
      `--reason has ${reason.length} characters; allowed are 1 to ${REASON_CHARACTERS_MAX}`,
      'Say why, for example: --reason "release blocked, INC-42"',
    );
  }
  const file = loadFor(input, ui, world, { quiet: true }).settings.audit.file;
  const at = new Date(world.now()).toISOString();
  const until = new Date(world.now() + minutes * 60_000).toISOString();
  const override: ModeOverride = { mode, until, reason, by: world.user, at };
  const holder = lockHolder(file);
  const from = endOf(file);
  writeOverride(file, override);
  const outcome = await wake(
    file,
    from,
    holder,
    (note) => note.detail['until'] === until && note.detail['mode'] === mode,
    ui,
  );
  if (ui.json) ui.object({ ...override, in_force: outcome.ok, why: outcome.why });
  else if (outcome.ok) ui.line(`mode ${mode} is in force until ${until}; then it reverts by itself`);
  else {
    ui.note(`sallyport: ${inert(outcome.why ?? '')}`);
    ui.note(`  ${inert(overrideFile(file))} is written: mode ${mode} counts when the proxy reads it, until ${until}`);
  }
  return outcome.ok ? EXIT.ok : EXIT.failed;
}

export async function modeClear(input: Input, ui: Ui, world: World): Promise<number> {
  const { settings, policy } = loadFor(input, ui, world, { quiet: true });
  const { file } = settings.audit;
  const { override } = readOverride(file, world.now());
  const holder = lockHolder(file);
  const from = endOf(file);
  rmSync(overrideFile(file), { force: true });
  if (override === null) {
    if (ui.json) ui.object({ mode: policy.mode, cleared: false, in_force: true, why: null });
    else ui.line(`no override stands; the policy's own mode counts: ${policy.mode}`);
    return EXIT.ok;
  }
  const outcome = await wake(file, from, holder, (note) => note.detail['until'] === null, ui);
  if (ui.json) ui.object({ mode: policy.mode, cleared: true, in_force: outcome.ok, why: outcome.why });
  else if (outcome.ok) ui.line(`the override is cleared; mode ${policy.mode} is in force`);
  else ui.note(`sallyport: ${inert(outcome.why ?? '')}; the override file is removed`);
  return outcome.ok ? EXIT.ok : EXIT.failed;
}

export function modeStatus(input: Input, ui: Ui, world: World): number {
  const { settings, policy } = loadFor(input, ui, world, { quiet: true });
  const { override, problem } = readOverride(settings.audit.file, world.now());
  const holder = lockHolder(settings.audit.file);
  if (ui.json) {
    ui.object({ mode: override?.mode ?? policy.mode, policy_mode: policy.mode, override, problem, proxy: holder });
    return EXIT.ok;
  }
  if (override === null) ui.line(`mode ${policy.mode}, from the policy; no override stands`);
  else {
    ui.line(`mode ${override.mode} until ${override.until} (the policy says ${policy.mode})`);
    ui.line(`  by ${inert(override.by)} at ${inert(override.at)}: ${inert(override.reason)}`);
  }
  if (problem !== null) ui.note(`sallyport: ${inert(problem)}`);
  ui.line(
    holder === null ? '  no proxy runs with this audit log' : `  proxy: process ${holder.pid} on ${inert(holder.host)}`,
  );
  return EXIT.ok;
}

function minutesOf(text: string): number {
  const minutes = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (minutes >= 1 && minutes <= MINUTES_MAX) return minutes;
  throw usage(
    `--for-minutes ${JSON.stringify(text)} is not allowed: whole minutes from 1 to ${MINUTES_MAX}`,
    'For longer, write `mode:` in the policy file.',
  );
}

function writeOverride(auditFile: string, override: ModeOverride): void {
  writeWhole(overrideFile(auditFile), `${JSON.stringify(override)}\n`, { mode: 0o640, code: 'audit-unwritable' });
}

interface Outcome {
  readonly ok: boolean;
  /** Why it is not known to be in force. */
  readonly why: string | null;
}

async function wake(
  file: string,
  from: number,
  holder: LockHolder | null,
  wanted: (note: NoteLine) => boolean,
  ui: Ui,
): Promise<Outcome> {
  if (holder === null) return { ok: false, why: `no proxy runs with the audit log ${file}` };
  if (!holder.here)
    return { ok: false, why: `the proxy runs on host ${holder.host}: send SIGHUP to process ${holder.pid} there` };
  try {
    process.kill(holder.pid, 'SIGHUP');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return { ok: false, why: `process ${holder.pid}, the proxy, cannot be signalled: ${code ?? 'unknown'}` };
  }
  ui.progress('waiting for the proxy');
  if (await noteComes(file, from, (note) => note.event === 'mode' && wanted(note), CONFIRM_MS))
    return { ok: true, why: null };
  return { ok: false, why: `the proxy (process ${holder.pid}) did not confirm within ${CONFIRM_MS / 1000} s` };
}
