// Which lines a query wants, by what their requests were: host, job, pipeline, client, verdict, id. Hosts are patterns of the policy,
// jobs and pipelines its globs, clients its ranges; what is claimed matches as what is proven does, and is shown as claimed.
import { type Cidr, cidrContains } from '../policy/address.ts';
import { type Pattern, patternMatches } from '../policy/pattern.ts';
import { type Line, saidOf, type Verdict } from '../policy/record.ts';
import { globMatches } from '../policy/selector.ts';

/** What is null is not asked for. */
export interface RequestFilter {
  readonly host: { readonly pattern: Pattern; readonly port: number | null } | null;
  readonly job: string | null;
  readonly pipeline: string | null;
  readonly client: Cidr | null;
  readonly verdict: Verdict | null;
  readonly id: string | null;
}

/** True where the line is of a request that is asked for; notes are of no request, so they match where nothing is asked for; heartbeats say nothing but that the log goes on, and never do. */
export function filterMatches(filter: RequestFilter, line: Line): boolean {
  const { host, job, pipeline, client, verdict, id } = filter;
  if (line.event === 'heartbeat') return false;
  if (line.event !== 'decided' && line.event !== 'ended') return Object.values(filter).every((asked) => asked === null);
  if (id !== null && line.id !== id) return false;
  if (verdict !== null && line.verdict !== verdict) return false;
  if (host !== null && (line.host === null || !patternMatches(host.pattern, line.host))) return false;
  if (host !== null && host.port !== null && line.port !== host.port) return false;
  if (job !== null && !globMatches(job, saidOf(line.identity, 'job'))) return false;
  if (pipeline !== null && !globMatches(pipeline, saidOf(line.identity, 'pipeline'))) return false;
  return client === null || cidrContains(client, line.client);
}
