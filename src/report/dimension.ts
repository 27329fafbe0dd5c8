// By what a report sums who asked. Apart from breakdown.ts, which loads the store's query builder.

export const DIMENSIONS = ['pipeline', 'step', 'job', 'agent', 'client'] as const;
export type Dimension = (typeof DIMENSIONS)[number];
