// `sallyport import flows`: the network's own logs into the usage store. The reading is in usage/; this file knows what was typed,
// whose attempts count, and what to say of lines that could not be taken.
import type { LoadedHere } from '../../config/load-here.ts';
import { type Cidr, canonicalAddress, classifyAddress, parseCidr } from '../../policy/address.ts';
import { inert } from '../../report/inert.ts';
import type { FlowScope } from '../../usage/flow.ts';
import {
  BAD_LINES_NAMED,
  FLOW_FORMATS,
  type FlowImported,
  type FlowOptions,
  importFlows,
} from '../../usage/flow-import.ts';
import { vpcFields, vpcLacks } from '../../usage/flow-vpc.ts';
import { openStore } from '../../usage/store.ts';
import { EXIT } from '../args.ts';
import { type Input, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

export async function importFlowsCommand(input: Input, ui: Ui, world: World): Promise<number> {
  const typed = { format: formatOf(input), fields: fieldsOf(input), zoneMs: zoneOf(input), now: world.now() };
  const loaded = loadFor(input, ui, world, { quiet: true });
  const { usage: place, limits } = loaded.settings;
  const scope = scopeOf(input, loaded);
  const options: FlowOptions = { ...typed, scope, rowsMax: limits.flow_rows_max };
  const store = await openStore(place.store, 'write', limits.usage_store_timeout_ms);
  const files: FlowImported[] = [];
  try {
    for (const file of input.arguments(0)) {
      ui.progress(`reading ${file}`);
      const done = await importFlows(store, file, options);
      files.push(done);
      ui.settle();
      if (!ui.json) say(done, scope, ui);
    }
  } finally {
    await store.close();
  }
  if (ui.json) ui.object({ files, clients: scope.clients.map(({ text }) => text), proxies: [...scope.proxies] });
  return files.some(({ bad, overflow }) => bad + overflow > 0) ? EXIT.failed : EXIT.ok;
}

function say(done: FlowImported, { clients }: FlowScope, ui: Ui): void {
  const { taken, known, overflow, left, lost, bad, bad_lines } = done;
  const file = inert(done.file);
  ui.line(`${file}: ${taken} attempts taken, ${known} were known (${done.format}, ${done.lines} lines)`);
  const notes: string[] = [];
  if (left.foreign > 0)
    notes.push(`left: ${left.foreign} of sources outside ${clients.map(({ text }) => text).join(', ')} (--client)`);
  const rest = left.proxy + left.answer + left.local;
  if (rest > 0) notes.push(`left: ${rest} to or from a proxy, answers, or traffic of the link`);
  if (lost > 0) notes.push(`the network has lost records, as it says ${lost} times: there may be more attempts`);
  if (overflow > 0) notes.push(`not taken: ${overflow} attempts beyond limits.flow_rows_max`);
  if (bad > 0) notes.push(`not understood: ${bad} of the lines`);
  for (const note of notes) ui.line(`  ${note}`);
  for (const { line, why } of bad_lines) ui.line(`    ${file}:${line}: ${why}`);
  if (bad > BAD_LINES_NAMED) ui.line(`    … and ${bad - BAD_LINES_NAMED} more`);
}

function formatOf(input: Input): FlowOptions['format'] {
  return FLOW_FORMATS.find((name) => name === input.text('format')) ?? 'auto';
}

function fieldsOf(input: Input): readonly string[] | null {
  const text = input.text('fields');
  if (text === null) return null;
  const fields = vpcFields(text);
  if (fields === null)
    throw usage(
      '--fields is no list of fields',
      'For example: --fields "srcaddr dstaddr dstport protocol start end action"',
    );
  const lacks = vpcLacks(fields);
  if (lacks !== '') throw usage(`--fields lacks ${lacks}`, 'Without it a record does not say who wanted to go where.');
  return fields;
}

const ZONE = /^([+-])([01]\d|2[0-3]):([0-5]\d)$/;

function zoneOf(input: Input): number {
  const text = input.text('zone') ?? 'Z';
  if (text === 'Z') return 0;
  const match = ZONE.exec(text);
  if (match === null) throw usage(`--zone ${JSON.stringify(text)} is no zone`, 'Write Z, or an offset such as +02:00.');
  return (match[1] === '-' ? -1 : 1) * (Number(match[2]) * 60 + Number(match[3])) * 60_000;
}

function scopeOf(input: Input, { source, settings }: LoadedHere): FlowScope {
  const ranges = input.list('client').map((text): Cidr => {
    const cidr = parseCidr(text);
    if (cidr === null) throw usage(`--client ${JSON.stringify(text)} is no range`, 'For example: --client 10.0.0.0/16');
    return cidr;
  });
  const named = input.list('proxy').map((text): string => {
    const address = canonicalAddress(text);
    if (address === null) throw usage(`--proxy ${JSON.stringify(text)} is no address`, 'For example: --proxy 10.0.0.7');
    return address;
  });
  // On its own machine a proxy is reached by loopback too, and so is everything else there.
  const own = source.self.map(({ address }) => address).filter((address) => classifyAddress(address) !== 'loopback');
  const ports = settings.listen.map(({ port }) => port).filter((port) => port !== 0);
  return {
    clients: ranges.length > 0 ? ranges : settings.clients,
    proxies: new Set([...own, ...named]),
    proxyPorts: new Set(ports),
  };
}
