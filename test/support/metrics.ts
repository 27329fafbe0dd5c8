// Prometheus' text format, read strictly: what a scrape would take. Throws at the first line that is none of it.

export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const TYPES = new Set(['counter', 'gauge', 'histogram', 'summary', 'untyped']);
const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y;

/** All series of a page; each stands below the TYPE of its metric, and no series stands twice. */
export function parseMetrics(text: string): Series[] {
  if (!text.endsWith('\n')) throw new Error('the last line is not ended');
  const found: Series[] = [];
  const seen = new Set<string>();
  let family = '';
  for (const line of text.slice(0, -1).split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue;
    const type = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (type !== null) {
      if (!TYPES.has(type[2] ?? '')) throw new Error(`no type: ${line}`);
      family = type[1] ?? '';
      continue;
    }
    const [, name = '', labels = '', value = ''] = SAMPLE.exec(line) ?? [];
    if (name === '' || !name.startsWith(family)) throw new Error(`not a sample of ${family}: ${line}`);
    if (seen.has(line.slice(0, line.lastIndexOf(' ')))) throw new Error(`twice: ${line}`);
    seen.add(line.slice(0, line.lastIndexOf(' ')));
    found.push({ name, labels: labelsOf(labels), value: numberOf(value) });
  }
  return found;
}

/** The value of the one series with this name that has these labels, and maybe others; 0 where there is none. */
export function sampleOf(series: readonly Series[], name: string, labels: Series['labels'] = {}): number {
  const fits = series.filter(
    (one) => one.name === name && Object.entries(labels).every(([label, value]) => one.labels[label] === value),
  );
  if (fits.length > 1) throw new Error(`${fits.length} series of ${name} fit`);
  return fits[0]?.value ?? 0;
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < text.length) {
    const match = LABEL.exec(text);
    if (match === null) throw new Error(`not labels: ${text}`);
    labels[match[1] ?? ''] = (match[2] ?? '').replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
  }
  return labels;
}

function numberOf(text: string): number {
  if (text === 'NaN' || text === 'Nan') return Number.NaN;
  if (/^[+-]?Inf$/.test(text)) return text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (!/^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(text)) throw new Error(`not a number: ${text}`);
  return Number(text);
}
