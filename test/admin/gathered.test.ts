// The pages of all workers where some of them do not answer as they should.
import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { createGatheredApi, type GatheredParts } from '../../src/admin/gathered.ts';
import { WorkerPages } from '../../src/admin/worker-pages.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';

const OPEN = JSON.stringify({ tunnels: [], total: 3 });
const REFUSED = JSON.stringify({ error: { code: 'admin-busy', message: 'later', hint: 'wait' } });

/** What the page of tunnels is, where the workers answer so; null: one does not answer. */
async function tunnels(...workers: ([number, string] | null)[]): Promise<unknown> {
  const pages = new WorkerPages('token');
  pages.ask = async ({ worker }) => {
    const [status, body] = workers[worker - 1] ?? [0, ''];
    if (status === 0) throw new Error('the worker does not answer');
    return { worker, status, type: 'application/json', body };
  };
  const router = createGatheredApi({
    ...{ pages, limits: DEFAULT_LIMITS, meter: createMeter(), node: 'n', version: '0' },
    ...{ places: () => workers.map((_, at) => ({ worker: at + 1, path: '' })), workers: () => [] },
    ...{ notReady: () => null, events: null as unknown as GatheredParts['events'] },
  });
  const { route, query } = router.find('GET', '/v1/tunnels', new URLSearchParams());
  const req = { url: '/v1/tunnels' } as IncomingMessage;
  return await route.handle({ query, param: '', req, res: null as never });
}

describe('a page of all workers', () => {
  it('is made of those that answer; one that refuses or is silent is left out', async () => {
    expect(await tunnels([200, OPEN], [200, OPEN])).toMatchObject({ json: { total: 6 } });
    expect(await tunnels([401, REFUSED], [200, OPEN])).toMatchObject({ json: { total: 3 } });
    expect(await tunnels(null, [200, OPEN], [503, 'x'])).toMatchObject({ json: { total: 3 } });
  });

  it('is refused as one of them has refused it, or as busy, where none answers it', async () => {
    await expect(tunnels(null, [503, REFUSED])).rejects.toMatchObject({ status: 503, message: 'later' });
    await expect(tunnels(null, null)).rejects.toMatchObject({ status: 503, message: 'no worker answers' });
  });
});
