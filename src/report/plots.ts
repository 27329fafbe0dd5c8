// Plots as static SVG: no script draws them and no style attribute colours them, so that a strict policy for content lets them
// be. Colours are classes of the page; each bar says its value to a pointer and the page has the same numbers as a table. PURE.
import { type Html, html } from './html.ts';

export interface Series {
  /** Class that colours it. */
  readonly look: 'use' | 'deny' | 'warn' | 'down' | 'up';
  readonly name: string;
}

export interface Bars {
  readonly id: string;
  readonly title: string;
  /** What the picture says, for who does not see it. */
  readonly about: string;
  readonly series: readonly Series[];
  /** One for each bar: its label and one value for each series, stacked in that order. */
  readonly bars: readonly { readonly label: string; readonly values: readonly number[] }[];
  readonly say: (value: number) => string;
}

const WIDTH = 720;
const HEIGHT = 180;
const LEFT = 52;
const TOP = 10;
const BOTTOM = 24;
const TICKS_X = 6;

/** Upright bars, one for each span of time. */
export function timeBars(plot: Bars): Html {
  const { bars, say } = plot;
  const most = Math.max(1, ...bars.map(({ values }) => sum(values)));
  const top = roundUp(most);
  const [width, height] = [WIDTH - LEFT, HEIGHT - TOP - BOTTOM];
  const step = width / Math.max(1, bars.length);
  const gap = step > 6 ? 2 : step > 3 ? 1 : 0;
  const y = (value: number): number => TOP + height - (value / top) * height;
  const every = Math.max(1, Math.ceil(bars.length / TICKS_X));
  const ticks = top > 1 ? [0, top / 2, top] : [0, top];
  const lines = ticks.map(
    (tick) =>
      html`<line class="grid" x1="${LEFT}" x2="${WIDTH}" y1="${fixed(y(tick))}" y2="${fixed(y(tick))}"/><text class="tick" text-anchor="end" x="${LEFT - 8}" y="${fixed(y(tick) + 4)}">${say(tick)}</text>`,
  );
  const columns = bars.map(({ label, values }, place) => {
    const x = LEFT + place * step + gap / 2;
    let below = 0;
    const rects = values.map((value, at) => {
      const [from, to] = [y(below), y(below + value)];
      below += value;
      // What is there must be seen, however little of the whole it is.
      const tall = value > 0 ? Math.max(1, from - to) : 0;
      return html`<rect class="${plot.series[at]?.look ?? 'use'}" x="${fixed(x)}" y="${fixed(from - tall)}" width="${fixed(step - gap)}" height="${fixed(tall)}"/>`;
    });
    return html`<g><title>${label}: ${said(plot, values)}</title><rect class="hit" x="${fixed(x)}" y="${TOP}" width="${fixed(step - gap)}" height="${height}"/>${rects}</g>`;
  });
  const labels = bars.flatMap(({ label }, place) =>
    place % every === 0 && LEFT + place * step < WIDTH - 60
      ? [html`<text class="tick" x="${fixed(LEFT + place * step)}" y="${HEIGHT - 6}">${label}</text>`]
      : [],
  );
  return figure(plot, HEIGHT, [...lines, ...columns, ...labels]);
}

const ROW = 26;
const NAME = 190;
const VALUE = 150;

/** Lying bars, one for each name. */
export function nameBars(plot: Bars): Html {
  const { bars } = plot;
  const most = Math.max(1, ...bars.map(({ values }) => sum(values)));
  const width = WIDTH - NAME - VALUE;
  const rows = bars.map(({ label, values }, place) => {
    const y = place * ROW + 4;
    let before = 0;
    const rects = values.map((value, at) => {
      const x = NAME + (before / most) * width;
      const wide = value > 0 ? Math.max(1, (value / most) * width) : 0;
      before += value;
      return html`<rect class="${plot.series[at]?.look ?? 'use'}" x="${fixed(x)}" y="${y}" width="${fixed(wide)}" height="${ROW - 10}"/>`;
    });
    const end = NAME + (before / most) * width;
    return html`<g><title>${label}: ${said(plot, values)}</title>${rects}<text class="name" text-anchor="end" x="${NAME - 8}" y="${y + 12}">${cut(label)}</text><text class="value" x="${fixed(end + 8)}" y="${y + 12}">${plot.say(sum(values))}</text></g>`;
  });
  return figure(plot, bars.length * ROW + 4, rows);
}

function figure(plot: Bars, height: number, inner: readonly Html[]): Html {
  const { id, title, about, series } = plot;
  const legend =
    series.length < 2
      ? []
      : [
          html`<p class="legend">${series.map(({ look, name }) => html`<span><svg class="key" viewBox="0 0 10 10" aria-hidden="true"><rect class="${look}" width="10" height="10" rx="2"/></svg>${name}</span>`)}</p>`,
        ];
  return html`<figure><figcaption id="${id}-title">${title}</figcaption>${legend}
<div class="wide" role="region" aria-labelledby="${id}-title" tabindex="0"><svg class="plot" role="img" aria-labelledby="${id}-title" aria-describedby="${id}-about" viewBox="0 0 ${WIDTH} ${height}"><desc id="${id}-about">${about}</desc>${inner}</svg></div></figure>`;
}

function said({ series, say }: Bars, values: readonly number[]): string {
  return series.map(({ name }, at) => `${say(values[at] ?? 0)} ${name.toLowerCase()}`).join(', ');
}

const NAME_CHARACTERS = 26;

function cut(text: string): string {
  const characters = [...text];
  return characters.length <= NAME_CHARACTERS ? text : `${characters.slice(0, NAME_CHARACTERS - 1).join('')}…`;
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}

/** The next of 1, 2, 5, 10, 20, 50 … */
export function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value) ?? value;
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10);
}
