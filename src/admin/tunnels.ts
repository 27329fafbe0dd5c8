// What is open now, as the admin API shows it, and the cut of one of it by an operator: recorded first, since nobody may end a
// build's connection without a trace.
import { type Recorder, saidOf } from '../policy/record.ts';
import { globMatches } from '../policy/selector.ts';
import type { OpenRequest, OpenRequests } from '../proxy/open-requests.ts';
import { AdminError } from './admin-error.ts';

export interface OpenFilter {
  readonly host: string | null;
  readonly pipeline: string | null;
  readonly limit: number;
}

/** So many are looked at in one turn. */
const SLICE = 2_000;

/** The open requests that fit, oldest first, at most `limit`; `total` counts all that fit. */
export async function listOpen(open: OpenRequests, filter: OpenFilter): Promise<{ tunnels: object[]; total: number }> {
  const found: object[] = [];
  let total = 0;
  // What comes in meanwhile is for the next time.
  let most = open.size;
  const now = performance.now();
  for (const request of open.values()) {
    if (fits(request, filter)) {
      total++;
      if (found.length < filter.limit) found.push(shown(request, now));
    }
    if (--most <= 0) break;
    if (most % SLICE === 0) await new Promise(setImmediate);
  }
  return { tunnels: found, total };
}

/**
 * Cuts one open request.
 * @param by who asked, for the record
 * @throws AdminError 404 where it is not open, 503 where the cut cannot be recorded
 */
export function cutOpen(
  open: OpenRequests,
  id: string,
  parts: { recorder: Recorder; policy: string; by: string },
): object {
  const request = open.get(id);
  if (request === undefined)
    throw new AdminError(
      404,
      'admin-not-found',
      'no such request is open',
      'It may have ended meanwhile: /v1/tunnels lists what is open.',
    );
  try {
    parts.recorder.note({ event: 'cut', policy: parts.policy, detail: { request: id, by: parts.by } });
  } catch {
    throw new AdminError(503, 'audit-unwritable', 'the cut cannot be recorded, so it is not done');
  }
  const was = shown(request, performance.now());
  request.cut('killed');
  return was;
}

function fits({ facts, identity }: OpenRequest, { host, pipeline }: OpenFilter): boolean {
  if (host !== null && !globMatches(host, facts.host ?? '')) return false;
  return pipeline === null || globMatches(pipeline, saidOf(identity, 'pipeline'));
}

function shown(request: OpenRequest, now: number): object {
  const { facts, identity } = request;
  return {
    id: request.id,
    host: facts.host,
    port: facts.port,
    method: facts.method,
    verdict: facts.verdict,
    reason: facts.reason,
    group: facts.group,
    rule: facts.rule,
    client: facts.client,
    identity: { kind: identity.kind, attributes: identity.attributes, claimed: identity.claimed },
    address: request.address ?? null,
    // Before its 200 it is being dialled; plain HTTP has none.
    open: request.openedMs !== null || request.kind === 'forward',
    bytes_up: request.bytesUp,
    bytes_down: request.bytesDown,
    age_s: Math.round((now - request.startedMs) / 100) / 10,
  };
}
