// A usage store filled the way it is in production: records through the audit log, the log through the projection.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openAuditLog } from '../../src/audit/log.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { loadConfigHere } from '../../src/config/load-here.ts';
import type { StorePlace } from '../../src/config/store-place.ts';
import { DEFAULT_LIMITS, type Limits } from '../../src/limits.ts';
import { parseCidr } from '../../src/policy/address.ts';
import { Policy } from '../../src/policy/decide.ts';
import { ANONYMOUS, type Decided, type Ended, type Identity } from '../../src/policy/record.ts';
import { buildReport, type Filter, type HostRow, type Parts, type Report } from '../../src/report/report.ts';
import { createView } from '../../src/report/view.ts';
import { importFlows } from '../../src/usage/flow-import.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import { type PolicyFile, tempDir, writePolicy } from '../support/temp.ts';

export const START = Date.parse('2026-11-20T08:00:00.000Z');
const HOUR_MS = 3_600_000;

/** Claimed pipeline and job, as `http://PIPELINE%2FJOB:@proxy` gives them. */
export function claimed(pipeline: string, job: string): Identity {
  return { kind: 'claimed', attributes: {}, claimed: { pipeline, job } };
}

export interface Event {
  readonly host: string;
  readonly port?: number;
  /** allow unless given. */
  readonly verdict?: Decided['verdict'];
  readonly reason?: Decided['reason'];
  readonly outcome?: Ended['outcome'];
  readonly rule?: string | null;
  readonly group?: string | null;
  readonly nearest?: Decided['nearest'];
  readonly identity?: Identity;
  readonly up?: number;
  readonly down?: number;
  readonly method?: string;
  /** Hours after START. */
  readonly hour?: number;
  /** Seconds on top of it. */
  readonly second?: number;
  /** Source address; 10.0.0.7 unless given. */
  readonly client?: string;
  readonly times?: number;
  /** The tunnel is still open. */
  readonly open?: true;
  /** Answers of the resolver that the address guard dropped. */
  readonly dropped?: Decided['dropped'];
  readonly addresses?: Decided['addresses'];
  /** The verdict of the ended line, where a check after the 200 changed it. */
  readonly cut?: Ended['reason'];
}

export interface History {
  readonly dir: string;
  readonly auditFile: string;
  readonly storeFile: string;
  readonly configFile: string;
}

/** Writes the events to an audit log beside a policy file that names it and the store. */
export function writeHistory(policy: PolicyFile, events: readonly Event[], limits: Limits = DEFAULT_LIMITS): History {
  const dir = tempDir('report');
  const files = { auditFile: join(dir, 'audit.jsonl'), storeFile: join(dir, 'usage.db') };
  const configFile = writePolicy(join(dir, 'sallyport.yaml'), {
    version: 1,
    audit: { file: files.auditFile },
    usage: { store: files.storeFile },
    ...policy,
  });
  appendEvents(files.auditFile, events, limits);
  return { dir, configFile, ...files };
}

export function appendEvents(
  auditFile: string,
  events: readonly Event[],
  limits: Limits = DEFAULT_LIMITS,
  node = 'n1',
): void {
  let now = START;
  const log = openAuditLog({
    file: auditFile,
    node,
    limits,
    whenFull: 'refuse',
    sync: 'none',
    now: () => new Date(now),
  });
  let id = 0;
  for (const event of events) {
    for (let time = 0; time < (event.times ?? 1); time += 1) {
      now = START + (event.hour ?? 0) * HOUR_MS + (event.second ?? 0) * 1_000 + id * 10;
      id += 1;
      record(log, event, `r${id}`);
    }
  }
  log.close();
}

function record(log: ReturnType<typeof openAuditLog>, event: Event, id: string): void {
  const verdict = event.verdict ?? 'allow';
  const base = {
    id,
    identity: event.identity ?? ANONYMOUS,
    client: event.client ?? '10.0.0.7',
    host: event.host === '' ? null : event.host,
    port: event.host === '' ? null : (event.port ?? 443),
    method: event.method ?? 'CONNECT',
    verdict,
    reason: event.reason ?? (verdict === 'allow' ? ('allowed' as const) : ('host-not-allowed' as const)),
    group: event.group ?? null,
    rule: event.rule ?? null,
    policy: 'p1',
  };
  const more = {
    ...(event.nearest === undefined ? {} : { nearest: event.nearest }),
    ...(event.dropped === undefined ? {} : { dropped: event.dropped }),
    ...(event.addresses === undefined ? {} : { addresses: event.addresses }),
  };
  if (verdict === 'deny') {
    const reason = base.reason === 'allowed' ? 'host-not-allowed' : base.reason;
    log.decided({ ...base, ...more, outcome: reason });
    return;
  }
  log.decided({ ...base, ...more });
  if (event.open) return;
  const cut = event.cut === undefined ? {} : { verdict: 'deny' as const, reason: event.cut };
  const outcome = event.outcome ?? (event.cut === undefined ? 'closed' : (event.cut as Ended['outcome']));
  log.ended({ ...base, ...cut, outcome, bytes_up: event.up ?? 0, bytes_down: event.down ?? 0, duration_ms: 5 });
}

/** Counts the log and builds the report; the window is the three days from START unless given. */
export async function reportOf(
  history: History,
  over: Partial<Filter> = {},
  limits: Limits = DEFAULT_LIMITS,
  parts: Partial<Parts> = {},
): Promise<Report> {
  const loaded = loadConfigHere({ file: history.configFile, now: START });
  await projectOnce({ auditFile: history.auditFile, store: history.storeFile, limits, onProblem: () => undefined });
  const store = openStore(history.storeFile, 'read');
  try {
    const view = createView({
      catalog: loaded.catalog,
      rules: new Policy(loaded.policy).rules(),
      expectedDenials: loaded.settings.expectedDenials,
    });
    const window = { from: START, to: START + 72 * HOUR_MS };
    return await buildReport(
      store,
      view,
      { ...window, pipeline: null, job: null, ...over },
      { by: null, timeline: false, ...parts },
    );
  } finally {
    await store.close();
  }
}

/** A try at going past the proxy; 10.0.0.7 is the client of events too. */
export interface Attempt {
  readonly to: string;
  readonly port?: number;
  readonly protocol?: 'TCP' | 'UDP';
  readonly client?: string;
  /** Seconds after START. */
  readonly second: number;
  readonly uid?: number;
  readonly accepted?: true;
}

/** Lines as the kernel logs them, taken into the store by the importer. */
export async function importAttempts(
  { dir, storeFile }: History,
  attempts: readonly Attempt[],
  place: StorePlace = storeFile,
): Promise<void> {
  const lines = attempts.map(({ to, port = 443, protocol = 'TCP', client = '10.0.0.7', second, uid, accepted }, n) => {
    const time = new Date(START + second * 1_000).toISOString().slice(0, 19);
    const by = uid === undefined ? '' : ` UID=${uid} GID=${uid}`;
    const ends = `SRC=${client} DST=${to} LEN=60 ID=${n} PROTO=${protocol} SPT=40000 DPT=${port}`;
    return `${time}+0000 agent kernel: ${accepted ? 'ACCEPT' : 'refused'}: IN= OUT=eth0 ${ends} SYN${by}`;
  });
  const file = join(dir, 'kern.log');
  writeFileSync(file, lines.join('\n'));
  const store = await openStore(place, 'write');
  const clients = ['10.0.0.0/8', 'fd00::/8'].map(parseCidr).filter((cidr) => cidr !== null);
  const scope = { clients, proxies: new Set<string>(), proxyPorts: new Set<number>() };
  const told = { format: 'auto', fields: null, zoneMs: 0, now: START, rowsMax: 1_000 } as const;
  await importFlows(store, file, { ...told, scope });
  await store.close();
}

let shipped: Catalog | null = null;

/** A host of the shipped catalog by its entry id: no registry name stands in a test. */
export function catalogHost(id: string): string {
  shipped ??= loadCatalog();
  for (const group of shipped.groups.values())
    for (const entry of group.entries) if (entry.id === id) return entry.host;
  throw new Error(`the catalog has no entry ${id}`);
}

export function optional(report: Report, group: string) {
  const found = report.optional.find((each) => each.group === group);
  if (found === undefined) throw new Error(`the report has no group ${group}`);
  return found;
}

export function hostRow(rows: readonly HostRow[], host: string, port = 443): HostRow {
  const found = rows.find((row) => row.host === host && row.port === port);
  if (found === undefined) throw new Error(`no row ${host}:${port} among ${rows.map((row) => row.host).join(', ')}`);
  return found;
}
