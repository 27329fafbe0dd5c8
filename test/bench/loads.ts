// What the benchmark asks of a proxy: each load with the generator's arguments, the figures read from its answer,
// and what counts as a wrong answer. Nothing is started here.

export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** What the generator calls it, or how to work it out; smaller is better. */
  readonly read: (line: Record<string, unknown>, cpuTotal: number) => number;
}

export interface Load {
  readonly part: 'tunnels' | 'throughput' | 'idle' | 'deny' | 'http' | 'rtt';
  readonly title: string;
  readonly args: readonly string[];
  readonly targets: 'allowed' | 'denied';
  /** A fresh process for each round: memory is only told from a clean start. */
  readonly fresh: boolean;
  /** Whether Sallyport takes part once more with identities. */
  readonly identified?: boolean;
  /** Whether a plain relay can take part: nothing in it is asked of the proxy itself. */
  readonly relayed: boolean;
  readonly figures: readonly Figure[];
  /** Wrong answers of this load; empty when all was right. */
  readonly wrong: (line: Record<string, unknown>) => string[];
}

const num = (line: Record<string, unknown>, key: string): number => Number(line[key] ?? Number.NaN);
const nested = (line: Record<string, unknown>, key: string, inner: string): number =>
  num((line[key] ?? {}) as Record<string, unknown>, inner);
const perThousand = (name: string): Figure => ({
  name,
  unit: 'CPU s / 1,000',
  read: (line) => num(line, 'proxy_cpu_s_per_k'),
});
/** With the bookkeeping that a proxy still does after the load has stopped: the projection into the usage store, a log daemon's queue. */
const perThousandWhole: Figure = {
  name: 'the same, bookkeeping afterwards included',
  unit: 'CPU s / 1,000',
  read: (line, cpuTotal) => (cpuTotal / num(line, 'ok')) * 1000,
};
const noErrors = (line: Record<string, unknown>): string[] => {
  const found: string[] = [];
  if (!(num(line, 'ok') > 0)) found.push('nothing was answered');
  if (num(line, 'errors') > 0) found.push(`${num(line, 'errors')} errors`);
  return found;
};
const throughput = (conns: number, dir: 'source' | 'sink', title: string): Load => ({
  part: 'throughput',
  title,
  args: ['throughput', '--conns', String(conns), '--dir', dir],
  targets: 'allowed',
  fresh: false,
  relayed: true,
  figures: [{ name: title, unit: 'CPU s / GB', read: (line) => num(line, 'proxy_cpu_s_per_gb') }],
  wrong: (line) =>
    num(line, 'tunnels') === conns && num(line, 'broken') === 0 && num(line, 'gbytes') > 0
      ? []
      : [`tunnels broke: ${JSON.stringify(line)}`],
});

const http = (title: string, args: readonly string[]): Load => ({
  part: 'http',
  title,
  args: ['http-rate', '--conns', '64', ...args],
  targets: 'allowed',
  fresh: false,
  relayed: false,
  figures: [perThousand(title)],
  wrong: noErrors,
});

/** Every load, in the order of the table; `idle` is how many tunnels stand open at once. */
export const loads = (idle: number): readonly Load[] => [
  {
    part: 'tunnels',
    title: 'tunnels, 64 at once',
    args: ['connect-rate', '--conns', '64'],
    targets: 'allowed',
    fresh: false,
    relayed: true,
    identified: true,
    figures: [
      perThousand('tunnels, 64 at once'),
      perThousandWhole,
      { name: 'time to 200, median', unit: 'ms', read: (line) => nested(line, 't_200_us', 'p50') / 1000 },
      { name: 'time to 200, 99th percentile', unit: 'ms', read: (line) => nested(line, 't_200_us', 'p99') / 1000 },
    ],
    wrong: noErrors,
  },
  throughput(1, 'source', 'download, 1 tunnel'),
  throughput(8, 'source', 'download, 8 tunnels'),
  throughput(1, 'sink', 'upload, 1 tunnel'),
  throughput(8, 'sink', 'upload, 8 tunnels'),
  {
    part: 'idle',
    title: `${idle} idle tunnels`,
    args: ['idle', '--conns', String(idle), '--secs', '1'],
    targets: 'allowed',
    fresh: true,
    relayed: true,
    figures: [{ name: 'an idle tunnel', unit: 'kB', read: (line) => num(line, 'rss_kb_per_tunnel') }],
    wrong: (line) =>
      num(line, 'open') === idle && num(line, 'alive') === idle ? [] : [`${num(line, 'alive')} of ${idle} are alive`],
  },
  {
    part: 'deny',
    title: 'denials, 64 at once',
    args: ['deny-rate', '--conns', '64'],
    targets: 'denied',
    fresh: false,
    relayed: false,
    figures: [perThousand('denials, 64 at once'), perThousandWhole],
    wrong: (line) => [
      ...noErrors(line),
      ...(num(line, 'denied_4xx') === num(line, 'ok') ? [] : ['some were not refused with 4xx']),
    ],
  },
  {
    ...http('plain HTTP requests, 64 at once', []),
    figures: [
      perThousand('plain HTTP requests, keep-alive'),
      { name: 'time to the answer, median', unit: 'ms', read: (line) => nested(line, 't_resp_us', 'p50') / 1000 },
      {
        name: 'time to the answer, 99th percentile',
        unit: 'ms',
        read: (line) => nested(line, 't_resp_us', 'p99') / 1000,
      },
    ],
  },
  http('the same, answered in chunks', ['--path', '/chunks']),
  http('the same, a connection each (Connection: close)', ['--close']),
  {
    part: 'rtt',
    title: 'round trip of 64 bytes',
    args: ['rtt'],
    targets: 'allowed',
    fresh: false,
    relayed: true,
    figures: [
      { name: 'round trip of 64 bytes, median', unit: 'ms', read: (line) => nested(line, 'rtt_us', 'p50') / 1000 },
    ],
    wrong: (line) => (num(line, 'pings') > 0 && num(line, 'errors') === 0 ? [] : ['pings were lost']),
  },
];
