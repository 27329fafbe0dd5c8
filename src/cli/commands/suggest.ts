// `sallyport suggest`: catches up with the audit log, reads who asked for what, and prints the smallest policy that it needs.
import { parseAuthority } from '../../policy/authority.ts';
import { type Decision, Policy } from '../../policy/decide.ts';
import { ANONYMOUS } from '../../policy/record.ts';
import { inert } from '../../report/inert.ts';
import { readFacts, readSeen } from '../../report/query.ts';
import { type SeenRow, suggest } from '../../report/suggest.ts';
import { renderSuggestion } from '../../report/suggest-yaml.ts';
import { createView } from '../../report/view.ts';
import { projectOnce } from '../../usage/project.ts';
import { openStore } from '../../usage/store.ts';
import { EXIT } from '../args.ts';
import { type Input, moment, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

const SINCE_DEFAULT = '14d';
const BUILDS_DEFAULT = '2';

export async function suggestCommand(input: Input, ui: Ui, world: World): Promise<number> {
  const now = world.now();
  const from = moment(input.text('since') ?? SINCE_DEFAULT, 'since', now);
  const builds = input.text('min-builds') ?? BUILDS_DEFAULT;
  if (!/^[1-9]\d{0,5}$/.test(builds)) throw usage(`--min-builds ${builds} is not a whole number from 1`);
  const { settings, policy: compiled, catalog } = loadFor(input, ui, world, { quiet: true });
  ui.progress(`counting ${settings.audit.file}`);
  await projectOnce({
    auditFile: settings.audit.file,
    store: settings.usage.store,
    limits: settings.limits,
    onProblem: (problem) => ui.note(`sallyport: ${problem.code}: ${inert(problem.message)}`),
  });
  const store = await openStore(settings.usage.store, 'read', settings.limits.usage_store_timeout_ms);
  try {
    const policy = new Policy(compiled);
    const view = createView({ catalog, rules: policy.rules(), expectedDenials: settings.expectedDenials });
    const filter = { from, to: now, pipeline: input.text('pipeline'), job: null };
    const facts = await readFacts(store);
    const window = { from: Math.max(from, facts.first ?? from), to: Math.min(now, facts.last ?? now) };
    const decide = (host: string, port: number, kind: SeenRow['kind']): Decision | null => {
      const parsed = parseAuthority(`${host.includes(':') ? `[${host}]` : host}:${port}`);
      const method = kind === 'connect' ? 'CONNECT' : 'GET';
      const path = kind === 'connect' ? null : '/';
      return parsed.ok
        ? policy.decide({ authority: parsed.authority, kind, method, path, identity: ANONYMOUS, now })
        : null;
    };
    const { rows, truncated } = await readSeen(store, filter);
    const lines = suggest({
      rows: rows.filter((row) => decide(row.host, row.port, row.kind)?.reason !== 'host-denied'),
      catalog,
      inForce: (host, port, kind) => {
        const decision = decide(host, port, kind);
        return decision?.verdict === 'deny' ? null : (decision?.rule ?? null);
      },
      isExpected: (host) => view.isExpected(host),
      window,
      jobsMin: Number(builds),
    });
    ui.settle();
    const time = (ms: number): string => new Date(ms).toISOString();
    if (ui.json) ui.object({ window: { from: time(window.from), to: time(window.to) }, truncated, lines });
    else {
      const head = [`Suggested from the records of ${time(window.from)} to ${time(window.to)}.`];
      if (filter.pipeline !== null) head.push(`Only of pipeline ${filter.pipeline}.`);
      if (truncated) head.push('There are more hosts than one suggestion can hold: the least asked for are missing.');
      ui.raw(renderSuggestion(lines, head));
    }
    return EXIT.ok;
  } finally {
    await store.close();
  }
}
