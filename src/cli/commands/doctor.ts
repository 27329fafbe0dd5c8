// `sallyport doctor`: from an agent's host, whether its jobs will reach what they need through the proxy, and what mends what is wrong.
import { examine } from '../../buildkite/doctor.ts';
import type { Check, CheckState } from '../../buildkite/doctor-check.ts';
import { thisMachine } from '../../buildkite/machine.ts';
import type { Catalog } from '../../catalog/catalog.ts';
import { loadCatalog } from '../../catalog/load.ts';
import { type Authority, parseAuthority } from '../../policy/authority.ts';
import { Policy } from '../../policy/decide.ts';
import type { RuleView } from '../../policy/view.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { roadOption, timeoutOption } from '../client-options.ts';
import { type Input, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Style, Ui, World } from '../ui.ts';

const TIMEOUT_DEFAULT_S = 10;
const IDLE_DEFAULT_S = 150;
const IDLE_MAX_S = 3_600;
const MS_PER_S = 1_000;
const TARGETS_MAX = 200;
const HTTPS_PORT = 443;

export async function doctor(input: Input, ui: Ui, world: World): Promise<number> {
  const catalog = loadCatalog();
  const road = roadOption(input, world.env, 'ca');
  const checks = await examine({
    machine: thisMachine(world.env),
    road,
    timeoutMs: timeoutOption(input, TIMEOUT_DEFAULT_S),
    targets: targetsOf(input, ui, world, catalog),
    never: catalog.neverProxy,
    idleMs: idleOption(input),
    progress: ui.progress,
  });
  ui.settle();
  const count = (state: CheckState): number => checks.filter((check) => check.state === state).length;
  const sums = { ok: count('ok'), warn: count('warn'), fail: count('fail'), skip: count('skip') };
  if (ui.json) ui.object({ proxy: road?.proxy.place ?? null, checks, ...sums });
  else print(checks, sums, ui);
  return sums.fail > 0 || (input.flag('strict') && sums.warn > 0) ? EXIT.failed : EXIT.ok;
}

const COLOURS: Readonly<Record<CheckState, Style>> = { ok: 'green', warn: 'yellow', fail: 'red', skip: 'dim' };

function print(checks: readonly Check[], sums: Readonly<Record<CheckState, number>>, ui: Ui): void {
  const width = checks.reduce((most, { subject }) => Math.max(most, inert(subject).length), 0);
  for (const { state, subject, message, fix, ms } of checks) {
    const time = ms === null ? '' : ` (${ms} ms)`;
    ui.line(`${ui.paint(COLOURS[state], state.padEnd(4))}  ${inert(subject).padEnd(width)}  ${inert(message)}${time}`);
    if (fix !== null && fix !== '') ui.line(`${' '.repeat(width + 8)}fix: ${inert(fix)}`);
  }
  ui.line();
  ui.line(`${sums.ok} ok, ${sums.warn} to look at, ${sums.fail} to mend, ${sums.skip} skipped`);
}

/** The hosts that agents cannot do without, those of the policy named by --config, and those on the command line; once each. */
function targetsOf(input: Input, ui: Ui, world: World, catalog: Catalog): Authority[] {
  const targets = new Map<string, Authority>();
  const add = (authority: Authority): void => void targets.set(authority.text, authority);
  for (const text of input.arguments(0)) add(targetOf(text));
  if (!input.flag('only')) {
    for (const { entries } of catalog.groups.values()) {
      for (const { need, host, ports } of entries)
        if (need === 'required') for (const port of ports) addHost(host, port, add);
    }
  }
  if (input.text('config') !== null) {
    for (const rule of new Policy(loadFor(input, ui, world, { quiet: true }).policy).rules()) {
      if (isProbed(rule)) addHost(rule.pattern, HTTPS_PORT, add);
    }
  }
  return [...targets.values()].slice(0, TARGETS_MAX);
}

/** Rules that let one host through for TLS to port 443 for whoever asks: others cannot be tried from here. */
function isProbed(rule: RuleView): boolean {
  const tls = rule.protocol === null || rule.protocol === 'tls';
  return rule.effect === 'allow' && rule.kind === 'exact' && tls && (rule.ports ?? [HTTPS_PORT]).includes(HTTPS_PORT);
}

function addHost(host: string, port: number, add: (authority: Authority) => void): void {
  const parsed = parseAuthority(`${host}:${port}`);
  if (parsed.ok) add(parsed.authority);
}

function targetOf(text: string): Authority {
  const parsed = parseAuthority(/:\d+$/.test(text) ? text : `${text}:${HTTPS_PORT}`);
  if (parsed.ok) return parsed.authority;
  throw usage(`${JSON.stringify(text)} is not HOST[:PORT]: ${parsed.problem}`);
}

function idleOption(input: Input): number | null {
  const text = input.text('idle');
  if (text === null) return input.flag('long') ? IDLE_DEFAULT_S * MS_PER_S : null;
  const seconds = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (seconds >= 1 && seconds <= IDLE_MAX_S) return seconds * MS_PER_S;
  throw usage(`--idle ${JSON.stringify(text)} is not a whole number of seconds from 1 to ${IDLE_MAX_S}`);
}
