// The job API: a job, by its own token and for itself alone, makes this address its own for a while (lease) and reads what was refused
// to it (report). The proxy lets the requests in and records the refused ones (proxy/inner.ts); what was done stands in the audit
// log as a `job` line before it is done.
import { boundedCache } from '../bounded-cache.ts';
import { TOKEN_USER } from '../config/users-file.ts';
import type { RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import type { Lease, LeaseDesk, Leases } from '../identity/leases.ts';
import type { Proofs } from '../identity/proofs.ts';
import { parseBasic } from '../identity/proxy-authorization.ts';
import type { Limits } from '../limits.ts';
import type { Identity } from '../policy/record.ts';
import type { InnerAnswer, InnerRequest, InnerService } from '../proxy/inner.ts';

export interface JobNote {
  readonly act: 'lease' | 'release' | 'report';
  readonly job: string;
  readonly client: string;
  readonly id: string;
  /** Until when a lease counts, RFC 3339. */
  readonly until?: string;
  /** Whether another job has a lease on the same address. */
  readonly shared?: boolean;
}

export interface ReportOrder {
  readonly job: string;
  readonly format: 'json' | 'markdown';
  readonly waitMs: number;
  /** Job ids that share an address with it now. */
  readonly shared: readonly string[];
}

export interface JobApiParts {
  readonly proofs: Proofs;
  /** Where leases begin and end; `proofs.leases` where this process serves alone. */
  readonly desk: LeaseDesk;
  readonly limits: Limits;
  /** Whether tokens are taken at all. */
  readonly on: () => boolean;
  /** Writes an audit line. Throws where it cannot; then nothing is done. */
  readonly note: (what: JobNote) => void;
  /** Makes the report of a job. Rejects where it cannot be made. */
  readonly report: (order: ReportOrder) => Promise<ReportText>;
  readonly onProblem: (why: string) => void;
}

export type ReportText =
  | { readonly ok: true; readonly type: string; readonly body: string }
  | { readonly ok: false; readonly code: RequestErrorCode };

const PATH = /^\/v1\/jobs\/([A-Za-z0-9-]{1,64})\/(lease|report)(?:\?(.*))?$/;
const METHODS: Readonly<Record<string, readonly string[]>> = { lease: ['POST', 'DELETE'], report: ['GET'] };
const BEARER = /^bearer +([\w-]+\.[\w-]+\.[\w-]*)$/i;
const JSON_TYPE = 'application/json';
/** A watcher asks for the report every few seconds; the log has one line a minute of it. */
const REPORT_NOTE_MS = 60_000;
const REPORT_NOTES_MAX = 16_384;

interface Asked {
  readonly request: InnerRequest;
  readonly client: Client;
  readonly job: string;
  readonly identity: Identity;
}

export class JobApi implements InnerService {
  readonly #parts: JobApiParts;
  /** Jobs whose reports were noted within the last minute. */
  readonly #reported = boundedCache<true>(REPORT_NOTES_MAX, { ttl: REPORT_NOTE_MS });

  constructor(parts: JobApiParts) {
    this.#parts = parts;
  }

  async answer(request: InnerRequest): Promise<InnerAnswer> {
    const { client, method, path } = request;
    if (!this.#parts.on()) return refused('job-api-off');
    const [, job = '', what = '', query = ''] = PATH.exec(path) ?? [];
    if (job === '') return refused('job-path');
    if (METHODS[what]?.includes(method) !== true) return refused('job-method');
    const token = tokenOf(request);
    if (token === null) return refused('job-token-required');
    const proven = await this.#parts.proofs.job(client, token);
    if (!proven.ok) return refused(proven.code);
    const { identity, proof } = proven;
    if (proof.attributes.job !== job) return { ...refused('job-of-others'), identity };
    const asked: Asked = { request, client, job, identity };
    if (what === 'report') return this.#report(asked, query);
    if (query !== '') return { ...refused('job-request'), detail: 'a lease has no parameters', identity };
    if (method === 'DELETE') return this.#release(asked);
    return this.#lease(asked, { job, address: client.address, attributes: proof.attributes, untilMs: proof.expiresMs });
  }

  get #leases(): Leases {
    return this.#parts.proofs.leases;
  }

  async #lease({ request, client, job, identity }: Asked, lease: Lease): Promise<InnerAnswer> {
    const { agent } = lease.attributes;
    const others = this.#leases
      .at(client.address)
      .filter((one) => one.job !== job && (agent === undefined || one.attributes.agent !== agent));
    const until = new Date(lease.untilMs).toISOString();
    if (!this.#noted(request, { act: 'lease', job, until, shared: others.length > 0 }))
      return { ...refused('audit-unavailable'), identity };
    const done = await this.#parts.desk.begin(lease);
    if (done === null) return { ...refused('leases-full'), identity };
    const all = this.#leases.at(client.address);
    const own = all.find((one) => one.job === job) ?? lease;
    const body = {
      job,
      expires_at: new Date(own.untilMs).toISOString(),
      address: client.address,
      shared: all.length > 1,
      candidates: all.map((one) => one.job),
    };
    return { ok: true, status: done === 'begun' ? 201 : 200, type: JSON_TYPE, body: `${JSON.stringify(body)}\n` };
  }

  /** Idempotent: a lease that is not there has been given back. */
  async #release({ request, client, job, identity }: Asked): Promise<InnerAnswer> {
    if (!this.#noted(request, { act: 'release', job })) return { ...refused('audit-unavailable'), identity };
    await this.#parts.desk.end(job, client.address);
    return { ok: true, status: 204, type: '', body: '' };
  }

  async #report({ request, client, job, identity }: Asked, query: string): Promise<InnerAnswer> {
    const order = readQuery(query, this.#parts.limits.job_report_wait_ms);
    if ('problem' in order) return { ...refused('job-request'), detail: order.problem, identity };
    const reader = `${job} ${client.address}`;
    if (!this.#reported.has(reader)) {
      if (!this.#noted(request, { act: 'report', job })) return { ...refused('audit-unavailable'), identity };
      this.#reported.set(reader, true);
    }
    const others = this.#leases.at(client.address).filter((one) => one.job !== job);
    try {
      const text = await this.#parts.report({ ...order, job, shared: others.map((one) => one.job) });
      return text.ok ? { ...text, status: 200 } : { ...refused(text.code), identity };
    } catch (error) {
      this.#parts.onProblem(error instanceof Error ? error.message : String(error));
      return { ...refused('job-report-unavailable'), identity };
    }
  }

  #noted({ client, id }: InnerRequest, what: Omit<JobNote, 'client' | 'id'>): boolean {
    try {
      this.#parts.note({ ...what, client: client.address, id });
      return true;
    } catch (error) {
      this.#parts.onProblem(error instanceof Error ? error.message : String(error));
      return false;
    }
  }
}

function refused(code: RequestErrorCode): Extract<InnerAnswer, { ok: false }> {
  return { ok: false, code };
}

/** `Authorization: Bearer TOKEN`, or the credentials of the proxy URL. */
function tokenOf({ authorization, proxyAuthorization }: InnerRequest): string | null {
  if (authorization !== undefined) return BEARER.exec(authorization.trim())?.[1] ?? null;
  if (proxyAuthorization === undefined) return null;
  const credentials = parseBasic(proxyAuthorization);
  return credentials === null || credentials.username !== TOKEN_USER || credentials.password === ''
    ? null
    : credentials.password;
}

type Query = Pick<ReportOrder, 'format' | 'waitMs'> | { readonly problem: string };

/** `format=json|markdown` and `wait_ms`; strict, so that a typo is no silent default. */
function readQuery(query: string, waitMax: number): Query {
  const order: { format: 'json' | 'markdown'; waitMs: number } = { format: 'json', waitMs: Math.min(1_000, waitMax) };
  const seen = new Set<string>();
  for (const part of query === '' ? [] : query.split('&')) {
    const [name = '', value = ''] = part.split('=', 2);
    if (seen.has(name)) return { problem: `the parameter ${name} stands twice` };
    seen.add(name);
    if (name === 'format' && (value === 'json' || value === 'markdown')) order.format = value;
    else if (name === 'wait_ms' && /^\d{1,6}$/.test(value)) order.waitMs = Math.min(Number(value), waitMax);
    else return { problem: 'known are format=json, format=markdown and wait_ms=NUMBER' };
  }
  return order;
}
