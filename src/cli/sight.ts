// What watches a running proxy, put together: the counts and times that the data plane feeds, and the pages of the admin
// listener that read them. serve.ts makes one before everything else, since what is timed needs its meter.
import type { Logger } from 'pino';
import { createMetrics, type MetricSources, type Metrics, Timings } from '../admin/metrics.ts';
import { RecordCounts } from '../admin/record-counts.ts';
import { TappedRecorder } from '../admin/tapped-recorder.ts';
import { createMeter, type Meter } from '../limits.ts';
import type { DurableRecorder } from '../proxy/context.ts';
import { VERSION } from './version.ts';

export class Sight {
  readonly meter: Meter;
  readonly #timings = new Timings();
  readonly #counts = new RecordCounts(Date.now);

  constructor() {
    this.meter = createMeter((what, ms) => this.#timings.observe(what, ms));
  }

  /** The recorder for everything that records: what the log has taken is counted. */
  watch(audit: DurableRecorder, log: Logger): DurableRecorder {
    return new TappedRecorder(audit, [this.#counts], (error) => log.error({ err: error }, 'a record was not counted'));
  }

  metrics(sources: Omit<MetricSources, 'counts' | 'version' | 'node'>): Metrics {
    return createMetrics({ ...sources, counts: this.#counts, version: VERSION, node: process.version }, this.#timings);
  }
}
