// Writes the tables of docs/catalog.md from the shipped catalog: `node scripts/catalog-doc.ts`, or `--check` to compare.
// Only the part between the two marks is written; the prose around it is by hand.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Catalog, type CatalogEntry, type CatalogGroup, portsText } from '../src/catalog/catalog.ts';
import { loadCatalog } from '../src/catalog/load.ts';
import { pathRuleText } from '../src/policy/paths.ts';

const BEGIN = '<!-- made by scripts/catalog-doc.ts: begin -->';
const END = '<!-- made by scripts/catalog-doc.ts: end -->';
export const DOC_FILE = fileURLToPath(new URL('../docs/catalog.md', import.meta.url));

/** Default hosts of package managers stand in config/catalog alone: elsewhere in the tree such a name is a mistake. */
const NAMED_IN_CATALOG_ONLY = new Set(['pkg-npm', 'debian', 'debian-security']);

/** The document with its tables made anew from the catalog. */
export function catalogDoc(before: string, catalog: Catalog): string {
  const begin = before.indexOf(BEGIN);
  const end = before.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`docs/catalog.md has lost its marks: ${BEGIN} … ${END}`);
  return `${before.slice(0, begin)}${BEGIN}\n\n${tables(catalog)}\n${before.slice(end)}`;
}

function tables(catalog: Catalog): string {
  const groups = [...catalog.groups.values()];
  const order = (group: CatalogGroup) => (group.need === 'required' ? 0 : group.source === 'published' ? 1 : 2);
  const parts: [title: string, groups: CatalogGroup[]][] = [
    ['Published, required', groups.filter((group) => order(group) === 0)],
    ['Published, optional', groups.filter((group) => order(group) === 1)],
    ['Companions', groups.filter((group) => order(group) === 2)],
  ];
  const count = groups.reduce((sum, group) => sum + group.entries.length, 0);
  return [
    `Catalog version ${catalog.version}: ${groups.length} groups, ${count} entries.`,
    '',
    ...parts.flatMap(([title, members]) => [`## ${title}`, '', ...members.flatMap(section)]),
    '## Never through the proxy',
    '',
    'These addresses belong into `NO_PROXY`, each literally; `sallyport env` prints the line.',
    '',
    '| address | ports | why | source |',
    '| --- | --- | --- | --- |',
    ...catalog.neverProxy.map((entry) => row([code(entry.host), entry.ports.join(', '), entry.why, entry.cite])),
    '',
  ].join('\n');
}

function section(group: CatalogGroup): string[] {
  const facts = [
    ...(group.section === undefined ? [] : [`Under “${group.section}” of the page.`]),
    ...(group.requires === undefined ? [] : [`Needs \`i_understand: ${group.requires}\`.`]),
    ...group.notes,
  ];
  return [
    `### \`${group.id}\`: ${group.title}`,
    '',
    ...(facts.length === 0 ? [] : [facts.map(escaped).join(' '), '']),
    ...group.parameters.map(
      (parameter) =>
        `- \`${parameter.name}\` (${parameter.kind}, ${parameter.required ? 'required' : 'optional'}): ${escaped(parameter.about)}; such as \`${parameter.example}\``,
    ),
    ...(group.parameters.length === 0 ? [] : ['']),
    '| entry | host | ports | purpose | source |',
    '| --- | --- | --- | --- | --- |',
    ...group.entries.map(entryRow),
    '',
  ];
}

function entryRow(entry: CatalogEntry): string {
  const host = NAMED_IN_CATALOG_ONLY.has(entry.id) ? `see \`sallyport catalog show ${entry.group}\`` : code(entry.host);
  const ports = `${portsText(entry)}${entry.ports_stated ? '' : ' (not stated)'}`;
  const purpose = [
    entry.purpose,
    ...(entry.agent_versions === undefined ? [] : [`agents ${entry.agent_versions}`]),
    ...(entry.caution === undefined ? [] : [`**Caution:** ${entry.caution}`]),
    ...(entry.multi_tenant ? ['**multi-tenant**'] : []),
    ...(entry.paths === undefined ? [] : [`only ${entry.paths.map((path) => code(pathRuleText(path))).join(', ')}`]),
  ].join('. ');
  const source = entry.source === 'published' ? 'published' : `${entry.confidence}: ${entry.cite}`;
  return row([code(entry.id), host, ports, purpose, source]);
}

function code(text: string): string {
  return `\`${text}\``;
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(escaped).join(' | ')} |`;
}

/** < would begin HTML (agents <3.122.0), | would end the cell. */
function escaped(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const before = readFileSync(DOC_FILE, 'utf8');
  const after = catalogDoc(before, loadCatalog());
  if (!process.argv.includes('--check')) writeFileSync(DOC_FILE, after);
  else if (after !== before) {
    console.error('docs/catalog.md does not match config/catalog. Run: node scripts/catalog-doc.ts');
    process.exitCode = 1;
  }
}
