// `sallyport grant`, `revoke` and `grants list`: one host for somebody and for a while, inside the ceiling, without a change of the files.
// The grant goes into the usage store; every proxy that shares it judges it again and records what it takes, and the command waits for
// that record of the proxy on this machine.
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import { lockHolder } from '../../audit/lock.ts';
import { judgeGrants } from '../../config/grants.ts';
import type { LoadedHere } from '../../config/load-here.ts';
import { SallyportError } from '../../errors.ts';
import { parseCidr } from '../../policy/address.ts';
import { PROTOCOLS } from '../../policy/compile.ts';
import type { Grant } from '../../policy/grant.ts';
import { parseRuleText } from '../../policy/pattern.ts';
import { selectorText } from '../../policy/selector.ts';
import { inert } from '../../report/inert.ts';
import { textTable } from '../../report/text-table.ts';
import { addGrant, grantById, grantUses, readGrants, revokeGrant } from '../../usage/grants.ts';
import { openStore, type Store, type StoreMode } from '../../usage/store.ts';
import { EXIT } from '../args.ts';
import { endOf, noteComes } from '../audit-note.ts';
import { type Input, momentToCome, selectorOf, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

const TEXT_CHARACTERS_MAX = 300;
const ID_BYTES = 6;
const DEFAULT_PORT = 443;
/** How long the proxy of this machine is waited for, besides its look at the store. */
const CONFIRM_MS = 5_000;

export async function grant(input: Input, ui: Ui, world: World): Promise<number> {
  const loaded = loadFor(input, ui, world, { quiet: true });
  const { limits } = loaded.settings;
  const now = world.now();
  const made = grantOf(input, world, now);
  return withStore(loaded, 'write', async (store) => {
    const others = await readGrants(store, now);
    const [refused] = judgeGrants({ grants: [made], ceiling: loaded.ceiling, limits, now }).refused;
    if (refused !== undefined) throw refusal(made, refused.why);
    if (others.filter(({ revoked }) => revoked === null).length >= limits.grants_max)
      throw refusal(made, `${limits.grants_max} stand already, as many as limits.grants_max allows`);
    const from = endOf(loaded.settings.audit.file);
    await addGrant(store, made);
    const inForce = await awaited(loaded, from, made.id, 'in-force', ui);
    const until = new Date(made.expires).toISOString();
    if (ui.json) ui.object({ ...shown(made), in_force: inForce.ok, why: inForce.why });
    else {
      ui.line(`grant ${made.id}: ${inert(made.host)}:${made.port} for ${inert(selectorText(made.for))} until ${until}`);
      ui.line(
        `  ${inForce.ok ? 'in force here' : inert(inForce.why ?? '')}; every proxy that shares the store takes it within ${limits.grants_poll_ms} ms`,
      );
    }
    return inForce.ok === false ? EXIT.failed : EXIT.ok;
  });
}

export async function revoke(input: Input, ui: Ui, world: World): Promise<number> {
  const loaded = loadFor(input, ui, world, { quiet: true });
  const id = input.argument(0) ?? '';
  const now = world.now();
  return withStore(loaded, 'write', async (store) => {
    const from = endOf(loaded.settings.audit.file);
    if (!(await revokeGrant(store, id, authorOf(world), now)))
      throw new SallyportError(
        'grant-unknown',
        `no grant ${JSON.stringify(id)} stands: ${await whyNot(store, id, now)}`,
      );
    const done = await awaited(loaded, from, id, 'revoked', ui);
    if (ui.json) ui.object({ id, revoked: new Date(now).toISOString(), in_force: done.ok, why: done.why });
    else ui.line(`grant ${inert(id)} is revoked${done.ok ? ', and out of force here' : `; ${inert(done.why ?? '')}`}`);
    return done.ok === false ? EXIT.failed : EXIT.ok;
  });
}

export async function grantsList(input: Input, ui: Ui, world: World): Promise<number> {
  const loaded = loadFor(input, ui, world, { quiet: true });
  const now = world.now();
  const all = input.flag('all');
  return withStore(loaded, 'read', async (store) => {
    const found = await readGrants(store, all ? 0 : now);
    const grants = found.filter(({ revoked }) => all || revoked === null);
    const { ceiling, settings } = loaded;
    const { refused } = judgeGrants({ grants, ceiling, limits: settings.limits, now });
    const why = new Map(refused.map((one) => [one.grant.id, one.why]));
    const uses = await grantUses(store);
    const rows = grants.map((one) => ({
      ...shown(one),
      state: stateOf(one, why, now),
      why: why.get(one.id) ?? null,
      requests: uses.get(one.id)?.requests ?? 0,
      last_used: timeOrNull(uses.get(one.id)?.last ?? null),
    }));
    if (ui.json) ui.object({ grants: rows });
    else print(rows, ui);
    return EXIT.ok;
  });
}

type Row = ReturnType<typeof shown> & { state: string; why: string | null; requests: number; last_used: string | null };

function print(rows: readonly Row[], ui: Ui): void {
  if (rows.length === 0) return ui.line('no grants');
  const cells = rows.map((row) => [
    ...[row.id, row.state, `${row.host}:${row.port}`, JSON.stringify(row.for), row.expires],
    ...[row.last_used ?? 'never', String(row.requests), row.owner, row.reason, row.why ?? ''],
  ]);
  const heads = ['id', 'state', 'host', 'for', 'until', 'last used', 'requests', 'owner', 'reason', ''];
  ui.raw(textTable(heads, cells, { width: ui.width, right: [6] }));
}

function stateOf({ id, revoked, expires }: Grant, refused: ReadonlyMap<string, string>, now: number): string {
  if (revoked !== null) return 'revoked';
  if (expires < now) return 'expired';
  return refused.has(id) ? 'refused' : 'in-force';
}

function shown(one: Grant) {
  return {
    id: one.id,
    host: one.host,
    port: one.port,
    protocol: one.protocol,
    addresses: one.addresses,
    for: one.for,
    created: new Date(one.created).toISOString(),
    expires: new Date(one.expires).toISOString(),
    revoked: timeOrNull(one.revoked),
    reason: one.reason,
    owner: one.owner,
    by: one.by,
    revoked_by: one.revokedBy,
  };
}

function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

/** The grant as it is typed; what the ceiling and the limits say of it comes later. */
function grantOf(input: Input, world: World, now: number): Grant {
  const text = input.argument(0) ?? '';
  const parsed = parseRuleText(text);
  if (!parsed.ok) {
    const hint = parsed.suggestion === null ? undefined : `Did you mean ${parsed.suggestion}?`;
    throw usage(`${JSON.stringify(text)}: ${parsed.problem}`, hint);
  }
  const selector = selectorOf(input.list('for'));
  if (Object.keys(selector).length === 0)
    throw usage('--for KEY=VALUE is missing', 'Say whom it is for: --for pipeline=web');
  const addresses = input.list('address').map((range) => {
    const cidr = parseCidr(range);
    if (cidr === null)
      throw usage(`--address ${JSON.stringify(range)} is not an address range`, 'For example: 10.0.0.0/8');
    return cidr.text;
  });
  return {
    id: randomBytes(ID_BYTES).toString('hex'),
    host: parsed.pattern.text,
    port: parsed.port ?? DEFAULT_PORT,
    protocol: PROTOCOLS.find((known) => known === input.text('protocol')) ?? null,
    addresses,
    for: selector,
    created: now,
    expires: momentToCome(input.need('expires', 'WHEN'), 'expires', now),
    revoked: null,
    reason: line(input, 'reason'),
    owner: line(input, 'owner'),
    by: authorOf(world),
    revokedBy: null,
  };
}

function line(input: Input, option: string): string {
  const text = input.need(option, 'TEXT').trim();
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (text === '' || text.length > TEXT_CHARACTERS_MAX || /[\u0000-\u001f\u007f]/.test(text))
    throw usage(`--${option} must be one line of 1 to ${TEXT_CHARACTERS_MAX} characters`);
  return text;
}

/** Who types, and where. */
function authorOf(world: World): string {
  return `${world.user}@${os.hostname()}`;
}

function refusal(made: Grant, why: string): SallyportError {
  return new SallyportError(
    'grant-refused',
    `${made.host}:${made.port} for ${selectorText(made.for)} is not granted: ${why}`,
  );
}

async function whyNot(store: Store, id: string, now: number): Promise<string> {
  const found = await grantById(store, id);
  if (found === null) return 'there is none of that id';
  if (found.revoked !== null) return `it was revoked ${new Date(found.revoked).toISOString()}`;
  return found.expires < now ? `it expired ${new Date(found.expires).toISOString()}` : 'it has just changed';
}

async function withStore<T>({ settings }: LoadedHere, mode: StoreMode, act: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore(settings.usage.store, mode, settings.limits.usage_store_timeout_ms);
  try {
    return await act(store);
  } finally {
    await store.close();
  }
}

/** Whether the proxy of this audit log has recorded it; null where none runs here that could. */
async function awaited(
  { settings }: LoadedHere,
  from: number,
  id: string,
  result: string,
  ui: Ui,
): Promise<{ ok: boolean | null; why: string | null }> {
  const { file } = settings.audit;
  const holder = lockHolder(file);
  if (holder === null) return { ok: null, why: `no proxy runs with the audit log ${file}` };
  ui.progress('waiting for the proxy');
  const timeoutMs = CONFIRM_MS + settings.limits.grants_poll_ms;
  const ok = await noteComes(
    file,
    from,
    ({ event, detail }) => event === 'grant' && detail['id'] === id && detail['result'] === result,
    timeoutMs,
  );
  if (ok) return { ok, why: null };
  return { ok, why: `the proxy (process ${holder.pid}) has not confirmed within ${timeoutMs / 1_000} s` };
}
