// A report as one HTML file: no script, no link, nothing from the network, so that it can be mailed, kept as a build artifact and
// opened offline. Its content policy allows its own style sheet by hash and nothing else: markup that a client smuggled into
// a name would be shown by nobody, were it ever not escaped (html.ts escapes every value).
import { hash } from 'node:crypto';
import { type Html, html, trusted } from './html.ts';
import { PAGE_STYLE } from './page-style.ts';
import { type Bars, nameBars, timeBars } from './plots.ts';
import type { HostRow, Report } from './report.ts';
import type { Section } from './section.ts';
import { expectedSection, sectionsOf } from './sections.ts';
import type { TimelinePoint } from './timeline.ts';
import { bytesText, summaryLines, windowText } from './words.ts';

const ROWS_MAX = 500;
const NAMES_MAX = 20;
const ALARMS_MAX = 20;
const GROUPS_MAX = 12;

export function renderHtml(report: Report): string {
  const sections = [...sectionsOf(report, NAMES_MAX), expectedSection(report, NAMES_MAX)].filter(
    ({ rows, about }) => rows.length > 0 || about.startsWith('Nothing was recorded'),
  );
  const policy = `default-src 'none'; style-src 'sha256-${hash('sha256', PAGE_STYLE, 'base64')}'; base-uri 'none'; form-action 'none'`;
  // The policy goes in as it is: quotes written as references would be the same to a browser, and unreadable to a person.
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${trusted(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>Egress report, ${(report.window.from ?? report.window.requested.from).slice(0, 10)} to ${(report.window.to ?? report.window.requested.to).slice(0, 10)}</title>
<style>${trusted(PAGE_STYLE)}</style>
</head>
<body>
<a class="skip" href="#tables">To the tables</a>
<header>
<h1>Egress report</h1>
<p class="quiet">${windowText(report)}</p>
${alarms(report)}
</header>
<main>
${tiles(report)}
<ul class="facts">${summaryLines(report).map((line) => html`<li>${line}</li>`)}</ul>
${plots(report)}
<nav aria-label="Sections" id="tables"><ul>${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
${sections.map(table)}
</main>
<footer>Times are UTC. Counts are kept by the hour. Made by Sallyport; this file loads nothing and runs no script.</footer>
</body>
</html>
`.text;
}

function alarms(report: Report): Html {
  if (report.alarms.length === 0) return html``;
  const rest = report.alarms.length - ALARMS_MAX;
  const lines = report.alarms.slice(0, ALARMS_MAX).map(({ message }) => html`<li>${message}</li>`);
  return html`<div class="alarms" role="alert"><ul>${lines}${rest > 0 ? html`<li>and ${rest} more</li>` : html``}</ul></div>`;
}

function tiles({ totals }: Report): Html {
  const tile = (name: string, value: string | number, tone = ''): Html =>
    html`<div class="tile ${tone}"><dt>${name}</dt><dd>${value}</dd></div>`;
  const number = (value: number): string => value.toLocaleString('en-US');
  return html`<dl class="tiles">${[
    tile('Requests', number(totals.requests)),
    tile('Hosts', number(totals.hosts)),
    tile('Let through', number(totals.tunnels + totals.open)),
    tile('Denied', number(totals.denied), totals.denied > 0 ? 'bad' : ''),
    tile('Would be denied', number(totals.would_deny), totals.would_deny > 0 ? 'warn' : ''),
    tile('Failed', number(totals.failed)),
    tile('Downloaded', bytesText(totals.bytes_down)),
    tile('Uploaded', bytesText(totals.bytes_up)),
  ]}</dl>`;
}

function plots(report: Report): Html {
  const { timeline } = report;
  const groups = groupBars(report);
  const over = timeline === null || timeline.points.length === 0 ? [] : timeBarsOf(timeline.points, timeline.hours);
  const shown = [...over.map(timeBars), ...(groups.bars.length > 0 ? [nameBars(groups)] : [])];
  if (shown.length === 0) return html``;
  return html`<div class="plots">${shown}</div>${[...over, groups].map(asTable)}`;
}

function timeBarsOf(points: readonly TimelinePoint[], hours: number): Bars[] {
  const span = hours === 1 ? 'hour' : hours === 24 ? 'day' : `${hours} hours`;
  const label = ({ at }: TimelinePoint): string =>
    hours < 24 ? `${at.slice(5, 10)} ${at.slice(11, 16)}` : at.slice(0, 10);
  const say = (value: number): string => value.toLocaleString('en-US');
  const bars = (values: (point: TimelinePoint) => number[]): Bars['bars'] =>
    points.map((point) => ({ label: label(point), values: values(point) }));
  const total = (key: 'tunnels' | 'denied' | 'would_deny'): number =>
    points.reduce((all, point) => all + point[key], 0);
  return [
    {
      id: 'use',
      title: `Use over time, by ${span}`,
      about: `${total('tunnels')} requests let through in ${points.length} spans of ${span}.`,
      series: [{ look: 'use', name: 'Let through' }],
      bars: bars(({ tunnels }) => [tunnels]),
      say,
    },
    {
      id: 'denials',
      title: `Denials over time, by ${span}`,
      about: `${total('denied')} requests denied and ${total('would_deny')} that would be, in ${points.length} spans of ${span}.`,
      series: [
        { look: 'deny', name: 'Denied' },
        { look: 'warn', name: 'Would be denied' },
      ],
      bars: bars(({ denied, would_deny }) => [denied, would_deny]),
      say,
    },
  ];
}

function groupBars(report: Report): Bars {
  const groups = new Map<string, [number, number]>();
  const add = (name: string, { bytes_down, bytes_up }: HostRow): void => {
    const [down, up] = groups.get(name) ?? [0, 0];
    groups.set(name, [down + bytes_down, up + bytes_up]);
  };
  for (const row of report.required) add(row.group, row);
  for (const { group, hosts } of report.optional) for (const row of hosts) add(group, row);
  for (const row of report.other) add('own rules', row);
  const bars = [...groups]
    .map(([label, values]) => ({ label, values }))
    .filter(({ values: [down, up] }) => down + up > 0)
    .sort((a, b) => b.values[0] + b.values[1] - a.values[0] - a.values[1]);
  return {
    id: 'bytes',
    title: bars.length > GROUPS_MAX ? `Bytes by group, the ${GROUPS_MAX} largest of ${bars.length}` : 'Bytes by group',
    about: 'Bytes down and up of each group of hosts that was used.',
    series: [
      { look: 'down', name: 'Down' },
      { look: 'up', name: 'Up' },
    ],
    bars: bars.slice(0, GROUPS_MAX),
    say: bytesText,
  };
}

/** The numbers of a plot for who does not see it. */
function asTable({ id, title, series, bars, say }: Bars): Html {
  if (bars.length === 0) return html``;
  return html`<details><summary>${title}: as a table</summary>
<div class="wide rows" role="region" aria-labelledby="${id}-table" tabindex="0"><table><caption id="${id}-table">${title}</caption>
<thead><tr><th scope="col">${id === 'bytes' ? 'Group' : 'Begin'}</th>${series.map(({ name }) => html`<th scope="col" class="n">${name}</th>`)}</tr></thead>
<tbody>${bars.map(({ label, values }) => html`<tr><th scope="row">${label}</th>${values.map((value) => html`<td class="n">${say(value)}</td>`)}</tr>`)}</tbody></table></div></details>`;
}

function table({ id, title, about, columns, rows, total, notes }: Section): Html {
  const shown = rows.slice(0, ROWS_MAX);
  // A column in which nothing stands says nothing.
  const places = columns.map((_, place) => place).filter((place) => rows.some(({ cells }) => cells[place] !== ''));
  const heading = Math.max(
    0,
    columns.findIndex(({ title: name }) => name === 'Host'),
  );
  const head = places.map(
    (place) => html`<th scope="col" class="${columns[place]?.right ? 'n' : ''}">${columns[place]?.title ?? ''}</th>`,
  );
  const cell = (text: string, place: number): Html => {
    if (place === heading) return html`<th scope="row">${text}</th>`;
    const { right, title: name } = columns[place] ?? { title: '' };
    return html`<td class="${right ? 'n' : name.endsWith('seen') ? 't' : ''}">${text}</td>`;
  };
  const body = shown.map(
    ({ cells, tone }) => html`<tr class="${tone}">${places.map((place) => cell(cells[place] ?? '', place))}</tr>`,
  );
  return html`<section id="${id}"><h2 id="${id}-title">${title} <span class="count">${rows.length === 0 ? '' : total}</span></h2>
${about === '' ? html`` : html`<p class="about">${about}</p>`}
${
  rows.length === 0
    ? html``
    : html`<div class="wide rows" role="region" aria-labelledby="${id}-title" tabindex="0"><table><caption>${title}</caption>
<thead><tr>${head}</tr></thead>
<tbody>${body}</tbody></table></div>`
}
${total > shown.length ? html`<p class="rest">${total - shown.length} more are in the JSON format.</p>` : html``}
${notes.length === 0 ? html`` : html`<ul class="notes">${notes.map((note) => html`<li>${note}</li>`)}</ul>`}
</section>
`;
}
