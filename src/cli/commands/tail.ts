// `sallyport tail`: the records of a running proxy as they are made, from its admin listener: one line each for a person, JSON
// lines in a pipe. It comes back by itself after a restart of the proxy, and says what it may have missed.
import { setTimeout as pause } from 'node:timers/promises';
import { readEvents } from '../../admin/event-text.ts';
import { SallyportError } from '../../errors.ts';
import type { DecidedLine, EndedLine } from '../../policy/record.ts';
import { inert } from '../../report/inert.ts';
import { type AdminTarget, adminTarget, askAdmin } from '../admin-client.ts';
import { EXIT } from '../args.ts';
import type { Input } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

const RETRY_MS = 1_000;

export async function tail(input: Input, ui: Ui, world: World): Promise<number> {
  const target = adminTarget(loadFor(input, ui, world, { quiet: true }).settings);
  const query = new URLSearchParams();
  if (input.flag('denied')) query.set('denied', 'true');
  for (const name of ['host', 'pipeline', 'last']) {
    const value = input.text(name);
    if (value !== null) query.set(name, value);
  }
  const asJson = ui.json || world.stdout.isTTY !== true;
  let after: string | null = null;
  for (let first = true; ; first = false) {
    try {
      const end = await follow(target, query, after, (event, data, id) => {
        if (id !== null) after = id;
        return show(event, data, asJson, ui);
      });
      if (end === 'reader-gone') return EXIT.ok;
    } catch (error) {
      // Whoever types it is told at once; what was there once comes back.
      if (first || !(error instanceof SallyportError) || error.code !== 'admin-unreachable') throw error;
    }
    ui.progress('the proxy is gone; waiting for it');
    await pause(RETRY_MS);
  }
}

type Data = Readonly<Record<string, unknown>>;

/** Until the stream ends, or `tell` says that nobody reads any more. */
async function follow(
  target: AdminTarget,
  query: URLSearchParams,
  after: string | null,
  tell: (event: string, data: Data, id: string | null) => Promise<boolean>,
): Promise<'ended' | 'reader-gone'> {
  const response = await askAdmin(target, `/v1/events?${query}`, after === null ? {} : { 'Last-Event-ID': after });
  try {
    for await (const { id, event, data } of readEvents(response.setEncoding('utf8'))) {
      if (!(await tell(event, JSON.parse(data) as Data, id))) return 'reader-gone';
    }
  } catch {
    // Broken off: as ended.
  } finally {
    response.destroy();
  }
  return 'ended';
}

async function show(event: string, data: Data, asJson: boolean, ui: Ui): Promise<boolean> {
  ui.settle();
  if (event === 'hello') {
    if (data['restarted'] === true)
      ui.note('sallyport: the proxy has restarted; what it recorded before is in its audit log');
    return true;
  }
  if (event === 'dropped') {
    ui.note(`sallyport: ${data['events']} events were missed; the audit log has them`);
    return true;
  }
  if (asJson) ui.raw(`${JSON.stringify({ event, ...data })}\n`);
  else ui.line(lineOf(event, data, ui));
  return ui.taken();
}

function lineOf(event: string, data: Data, ui: Ui): string {
  const time = String(data['time']).slice(11, 19);
  if (event === 'note') return ui.paint('dim', `${time} ${inert(JSON.stringify(data['detail'] ?? {}))}`);
  const record = data as unknown as DecidedLine | EndedLine;
  const names =
    Object.keys(record.identity.attributes).length > 0 ? record.identity.attributes : record.identity.claimed;
  const who = [names.pipeline, names.step ?? names.job].filter((name) => name !== undefined).join('/') || record.client;
  const where = `${record.host ?? '(not readable)'}${record.port === null ? '' : `:${record.port}`}`;
  const cells = [time, verdictOf(event, record, ui), inert(where), ui.paint('dim', inert(who))];
  if (event === 'ended') {
    const { outcome, bytes_up, bytes_down, duration_ms } = record as EndedLine;
    return [...cells, `${outcome} ${bytes_up} up ${bytes_down} down ${Math.round(duration_ms)} ms`].join('  ');
  }
  const { nearest } = record as DecidedLine;
  const more = record.reason === 'allowed' ? [inert(record.rule ?? '')] : [record.reason];
  if (nearest?.fix) more.push(`add: - ${inert(nearest.fix)}`);
  return [...cells, ...more].join('  ');
}

function verdictOf(event: string, { verdict }: DecidedLine | EndedLine, ui: Ui): string {
  if (event === 'ended') return ui.paint('dim', 'ended     ');
  if (verdict === 'allow') return ui.paint('green', 'allow     ');
  return verdict === 'deny' ? ui.paint('red', 'deny      ') : ui.paint('yellow', 'would deny');
}
