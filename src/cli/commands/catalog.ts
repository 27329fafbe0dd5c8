// `sallyport catalog list|show`: what the catalog holds, from which source, and how a group is switched on.
import type { CatalogGroup } from '../../catalog/catalog.ts';
import { nearestGroup, portsText } from '../../catalog/catalog.ts';
import { loadCatalog } from '../../catalog/load.ts';
import { SallyportError } from '../../errors.ts';
import { inert } from '../../report/inert.ts';
import { textTable } from '../../report/text-table.ts';
import { EXIT } from '../args.ts';
import type { Input } from '../input.ts';
import type { Ui } from '../ui.ts';

export function catalogList(_input: Input, ui: Ui): number {
  const catalog = loadCatalog();
  const groups = [...catalog.groups.values()].sort(byNeedAndSource);
  if (ui.json) {
    const list = groups.map(({ id, title, need, source, entries }) => ({
      id,
      title,
      need,
      source,
      hosts: entries.length,
    }));
    ui.object({ version: catalog.version, digest: catalog.digest, groups: list });
    return EXIT.ok;
  }
  const rows = groups.map((group) => [group.id, group.need, group.source, String(group.entries.length), group.title]);
  ui.raw(textTable(['group', 'need', 'source', 'hosts', 'title'], rows, { width: ui.width, right: [3] }));
  return EXIT.ok;
}

export function catalogShow(input: Input, ui: Ui): number {
  const catalog = loadCatalog();
  const id = input.argument(0) ?? '';
  const group = catalog.groups.get(id);
  if (group === undefined) {
    const near = nearestGroup(catalog, id);
    throw new SallyportError(
      'config-group',
      `the catalog has no group ${JSON.stringify(id)}`,
      near === null ? {} : { hint: `Did you mean ${near}?` },
    );
  }
  if (ui.json) {
    ui.object(group);
    return EXIT.ok;
  }
  ui.line(`${ui.paint('bold', inert(group.id))}: ${inert(group.title)} (${group.need}, ${group.source})`);
  if (group.section !== undefined) ui.line(`  section  ${inert(group.section)}`);
  for (const note of group.notes) ui.line(`  note     ${inert(note)}`);
  ui.line(`  switch on under allow: ${inert(allowLine(group))}`);
  for (const parameter of group.parameters) {
    const needed = parameter.required ? 'required' : 'optional';
    ui.line(
      `  parameter ${inert(parameter.name)} (${needed}, for example ${inert(parameter.example)}): ${inert(parameter.about)}`,
    );
  }
  for (const entry of group.entries) {
    ui.line();
    ui.line(`  ${ui.paint('bold', inert(entry.host))} ${portsText(entry)}`);
    const facts: [string, string | undefined][] = [
      ['id', entry.id],
      ['purpose', entry.purpose],
      ['agents', entry.agent_versions],
      ['source', [entry.source, entry.confidence].filter((part) => part !== undefined).join(', ')],
      ['cite', entry.cite],
      ['caution', entry.caution],
      ['shared', entry.multi_tenant ? 'anyone may own a name under this host' : undefined],
      ['proxy', entry.via === 'direct' ? 'belongs into NO_PROXY' : undefined],
    ];
    for (const [name, value] of facts)
      if (value !== undefined && value !== '') ui.line(`    ${name.padEnd(8)} ${inert(value)}`);
  }
  return EXIT.ok;
}

/** The line that switches the group on, with the examples of its parameters. */
function allowLine(group: CatalogGroup): string {
  const given = group.parameters.map(
    ({ name, example }) => `${name}: ${/^[\d]+$/.test(example) ? JSON.stringify(example) : example}`,
  );
  const parts = [`group: ${group.id}`];
  if (given.length > 0) parts.push(`with: { ${given.join(', ')} }`);
  if (group.requires !== undefined) parts.push(`i_understand: ${group.requires}`);
  return `- { ${parts.join(', ')} }`;
}

const NEEDS = ['required', 'optional'];
const SOURCES = ['published', 'companion', 'operator'];

function byNeedAndSource(a: CatalogGroup, b: CatalogGroup): number {
  return NEEDS.indexOf(a.need) - NEEDS.indexOf(b.need) || SOURCES.indexOf(a.source) - SOURCES.indexOf(b.source);
}
