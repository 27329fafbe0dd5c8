// The metrics of several workers as one page: each family once, each sample with its worker, nothing added up and nothing lost.
import { expect, it } from 'vitest';
import { gatherMetrics } from '../../src/admin/gathered-metrics.ts';

const page = (value: number): string =>
  `# HELP a_total Of "all".\n# TYPE a_total counter\na_total{x="1 {y}"} ${value}\na_total ${value + 1}\n\n# HELP b B.\n# TYPE b gauge\nb ${value}\n`;

it('names the worker in each sample and each family once', () => {
  expect(gatherMetrics([1, 2].map((worker) => ({ worker: String(worker), text: page(worker * 10) })))).toBe(
    [
      '# HELP a_total Of "all".',
      '# TYPE a_total counter',
      'a_total{worker="1",x="1 {y}"} 10',
      'a_total{worker="1"} 11',
      'a_total{worker="2",x="1 {y}"} 20',
      'a_total{worker="2"} 21',
      '',
      '# HELP b B.',
      '# TYPE b gauge',
      'b{worker="1"} 10',
      'b{worker="2"} 20',
      '',
    ].join('\n'),
  );
});
