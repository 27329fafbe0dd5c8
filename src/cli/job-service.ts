// Puts the job API together: leases that outlive a restart, lines in the audit log, reports from the usage store.
import type { Logger } from 'pino';
import type { ProcessLog } from '../audit/process-log.ts';
import { JobApi, type JobNote } from '../buildkite/job-api.ts';
import { JobReports } from '../buildkite/job-reports.ts';
import type { Settings } from '../config/config.ts';
import type { LeaseDesk } from '../identity/leases.ts';
import type { Note } from '../policy/record.ts';
import type { ProxyContext } from '../proxy/context.ts';
import type { Projection } from '../usage/project.ts';
import { LeaseFile } from './lease-file.ts';

interface Parts {
  readonly ctx: ProxyContext;
  readonly audit: ProcessLog;
  readonly log: Logger;
  readonly projection: Pick<Projection, 'reached'>;
  /** Those of the start: store, node and audit file do not change at a reload. */
  readonly settings: Settings;
  readonly expectedDenials: () => Settings['expectedDenials'];
  /** Where leases begin and end, and are kept, for all workers; null in a process that serves alone, which keeps them itself. */
  readonly desk: LeaseDesk | null;
}

export class JobService {
  readonly leases: LeaseFile | null;
  readonly #reports: JobReports;

  /** From here on the job API answers, where the policy takes tokens. */
  constructor({ ctx, audit, log, projection, settings, expectedDenials, desk }: Parts) {
    const file = new LeaseFile({
      auditFile: settings.audit.file,
      proofs: ctx.proofs,
      onProblem: (what, error) => log.warn({ err: error }, what),
    });
    if (desk === null) file.open();
    this.leases = desk === null ? file : null;
    this.#reports = new JobReports({
      store: settings.usage.store,
      limits: ctx.limits,
      meter: ctx.meter,
      node: settings.node,
      projection,
      lastSeq: () => audit.stats.lastSeq,
      help: () => ctx.help,
      expectedDenials,
    });
    ctx.inner = new JobApi({
      proofs: ctx.proofs,
      desk: desk ?? ctx.proofs.leases,
      limits: ctx.limits,
      on: () => ctx.proofs.takesTokens,
      note: (what) => ctx.recorder.note({ event: 'job', policy: ctx.policy.digest, detail: detailOf(what) }),
      report: (order) => this.#reports.make(order),
      onProblem: (why) => ctx.log.error({ why }, 'the job API failed'),
    });
  }

  close(): void {
    this.leases?.close();
    this.#reports.close();
  }
}

function detailOf({ act, job, client, id, until, shared }: JobNote): Note['detail'] {
  return {
    act,
    job,
    client,
    id,
    ...(until === undefined ? {} : { until }),
    ...(shared === undefined ? {} : { shared }),
  };
}
