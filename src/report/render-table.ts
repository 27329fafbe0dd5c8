// A report for a terminal: refused hosts of Buildkite itself first and loudest, then the sections in their order. Long lists
// are cut with their rest counted; the JSON format has them whole.
import { inert } from './inert.ts';
import type { Report } from './report.ts';
import type { Section, Tone } from './section.ts';
import { sectionsOf } from './sections.ts';
import { textTable } from './text-table.ts';
import { summaryLines, windowText } from './words.ts';

export interface RenderOptions {
  /** Columns; Infinity where nothing may be cut. */
  readonly width: number;
  readonly paint: (style: 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'alarm', text: string) => string;
}

const ROWS_MAX = 50;
const NAMES_MAX = 5;
const ALARMS_MAX = 5;

export function renderTable(report: Report, options: RenderOptions): string {
  const { paint } = options;
  const alarms = report.alarms.slice(0, ALARMS_MAX).map(({ message }) => paint('alarm', `!! ${inert(message)}`));
  const parts = [
    ...alarms,
    ...more(report.alarms.length - alarms.length),
    ...(alarms.length > 0 ? [''] : []),
    `${paint('bold', 'Egress report')}  ${inert(windowText(report))}`,
    ...summaryLines(report).map((line) => `  ${inert(line)}`),
    '',
    ...sectionsOf(report, NAMES_MAX).flatMap((section) => table(section, options)),
  ];
  return `${parts.join('\n').trimEnd()}\n`;
}

const STYLES: Readonly<Record<Tone, 'red' | 'yellow' | 'dim' | null>> = {
  bad: 'red',
  warn: 'yellow',
  quiet: 'dim',
  plain: null,
};

function table(section: Section, options: RenderOptions): string[] {
  const places = section.columns.map((_, place) => place).filter((place) => !section.columns[place]?.roomy);
  const columns = places.map((place) => section.columns[place]);
  const shown = section.rows.slice(0, ROWS_MAX);
  const text = textTable(
    columns.map((column) => (column?.title ?? '').toLowerCase()),
    shown.map(({ cells }) => places.map((place) => cells[place] ?? '')),
    {
      width: options.width,
      right: columns.flatMap((column, place) => (column?.right ? [place] : [])),
      indent: 2,
      paint: (line, row) => {
        const style = STYLES[shown[row]?.tone ?? 'plain'];
        return style === null ? line : options.paint(style, line);
      },
    },
  );
  const count = section.rows.length === 0 ? '' : ` (${section.total})`;
  return [
    options.paint('bold', `${section.title.toUpperCase()}${count}`),
    ...(section.about === '' ? [] : [`  ${inert(section.about)}`]),
    ...(section.rows.length === 0 ? [] : [text.trimEnd()]),
    ...more(section.total - shown.length),
    ...section.notes.map((note) => `  ${inert(note)}`),
    '',
  ];
}

function more(rest: number): string[] {
  return rest > 0 ? [`  … and ${rest} more: --format json`] : [];
}
