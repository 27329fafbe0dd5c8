// The projection of a log into a store in the calling thread: for commands that end when all is counted. Apart from the worker's starter
// (project.ts), since what it loads would be 15 MB on the data plane's heap.
import { type ProjectionOptions, Projector } from './projector.ts';

/**
 * Counts everything that is in the log now, in this thread. Safe while the proxy's worker does the same.
 * @returns lines read, damaged ones included
 * @throws SallyportError `store-damaged`, `store-unreadable`
 */
export async function projectOnce(options: ProjectionOptions): Promise<{ lines: number }> {
  const projector = new Projector(options);
  let lines = 0;
  try {
    for (let more = true; more; ) {
      const step = await projector.step();
      lines += step.lines;
      more = step.more;
    }
  } finally {
    await projector.close();
  }
  return { lines };
}
