// A report as Markdown for a Buildkite annotation (at most 1 MiB) or a ticket. Everything in it came from clients: each cell
// goes through inert.ts, whatever it holds. What does not fit is counted, and what needs an operator first comes first.
import { markdownCell } from './inert.ts';
import type { Report } from './report.ts';
import type { Section } from './section.ts';
import { sectionsOf } from './sections.ts';
import { shorten } from './text-table.ts';
import { summaryLines, windowText } from './words.ts';

/** Buildkite refuses an annotation whose body is larger. */
export const MARKDOWN_BYTES_MAX = 1_048_576;
export const MARKDOWN_ROWS_MAX = 200;
const ALARMS_MAX = 20;
const NAMES_MAX = 10;
/** Characters of one cell; host names have at most 253. */
const CELL_MAX = 300;
/** Kept free for the heads and the counts of the sections that come after one that is cut. */
const RESERVE = 32_768;

/** GitHub-flavoured Markdown, safe to paste where HTML is rendered; at most MARKDOWN_BYTES_MAX bytes as UTF-8. */
export function renderMarkdown(report: Report): string {
  const alarms = report.alarms.slice(0, ALARMS_MAX).map(({ message }) => `> ### ${cell(message)}`);
  const rest = report.alarms.length - alarms.length;
  const parts = [
    ...alarms.flatMap((line) => [line, '']),
    ...(rest > 0 ? [`> ### ${rest} more Buildkite hosts`, ''] : []),
    '## Egress report',
    '',
    `Window: ${markdownCell(windowText(report))}`,
    '',
    ...summaryLines(report).map((line) => `- ${markdownCell(line)}`),
    '',
    `Tables have at most ${MARKDOWN_ROWS_MAX} rows; the JSON format has all.`,
    '',
  ];
  let left = MARKDOWN_BYTES_MAX - RESERVE - bytesOf(parts);
  for (const section of sectionsOf(report, NAMES_MAX)) {
    const lines = table(section, left);
    left -= bytesOf(lines);
    parts.push(...lines);
  }
  return `${parts.join('\n').trimEnd()}\n`;
}

function table(section: Section, room: number): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  const rows: string[] = [];
  let left = room;
  for (const { cells } of section.rows.slice(0, MARKDOWN_ROWS_MAX)) {
    const text = line(cells);
    left -= bytesOf([text]);
    if (left < 0) break;
    rows.push(text);
  }
  const parts = [`### ${section.title}`, ''];
  if (section.about !== '') parts.push(cell(section.about), '');
  if (rows.length > 0) {
    const rule = section.columns.map(({ right }) => (right ? '--:' : '---')).join(' | ');
    parts.push(line(section.columns.map(({ title }) => title)), `| ${rule} |`, ...rows, '');
  }
  if (section.total > rows.length) parts.push(`${section.total - rows.length} more are in the JSON format.`, '');
  for (const note of section.notes) parts.push(`- ${markdownCell(note)}`);
  return section.notes.length > 0 ? [...parts, ''] : parts;
}

function cell(text: string): string {
  return markdownCell(shorten(text, CELL_MAX));
}

function bytesOf(lines: readonly string[]): number {
  return lines.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
}
