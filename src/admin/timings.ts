// The times of requests, counted in plain numbers where they are measured, long before anybody scrapes: to be there before the parts that
// are timed, and without the client library, which is loaded with the first scrape (metrics.ts).
import type { Timing } from '../limits.ts';

/** From a name that the next rack answers to one that nobody does. */
const BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

const ABOUT: Readonly<Record<Timing, string>> = {
  setup: 'Time from the head of a CONNECT to its 200.',
  dial: 'Time to connect to an origin for a CONNECT that got its 200.',
  dns: 'Time of a look-up, failures included; what the cache holds takes none.',
};

class Histogram {
  /** Of each bucket alone; the last one is for what is longer than all. */
  readonly counts = new Float64Array(BUCKETS_S.length + 1);
  sum = 0;

  observe(seconds: number): void {
    const fits = BUCKETS_S.findIndex((bound) => seconds <= bound);
    const at = fits < 0 ? BUCKETS_S.length : fits;
    this.counts[at] = (this.counts[at] ?? 0) + 1;
    this.sum += seconds;
  }
}

export class Timings {
  readonly #histograms: Readonly<Record<Timing, Histogram>> = {
    setup: new Histogram(),
    dial: new Histogram(),
    dns: new Histogram(),
  };

  observe(what: Timing, ms: number): void {
    this.#histograms[what].observe(ms / 1_000);
  }

  /** The three of them in Prometheus' text format. */
  text(): string {
    const lines: string[] = [];
    for (const what of ['setup', 'dial', 'dns'] as const) {
      const name = `sallyport_${what}_seconds`;
      const { counts, sum } = this.#histograms[what];
      lines.push(`# HELP ${name} ${ABOUT[what]}`, `# TYPE ${name} histogram`);
      let total = 0;
      for (const [at, count] of counts.entries()) {
        total += count;
        lines.push(`${name}_bucket{le="${BUCKETS_S[at] ?? '+Inf'}"} ${total}`);
      }
      lines.push(`${name}_sum ${sum}`, `${name}_count ${total}`, '');
    }
    return lines.join('\n');
  }
}
