// The job API behind the proxy: what it does when a part of it fails. The road through real sockets is test/e2e/jobs.test.ts.
import { describe, expect, it } from 'vitest';
import { JobApi, type JobApiParts, type JobNote, type ReportOrder } from '../../src/buildkite/job-api.ts';
import { Proofs } from '../../src/identity/proofs.ts';
import { createMeter, DEFAULT_LIMITS, type LimitName } from '../../src/limits.ts';
import { ANONYMOUS } from '../../src/policy/record.ts';
import type { InnerRequest } from '../../src/proxy/inner.ts';
import { AUDIENCE, ISSUER, tokenIssuer } from '../support/tokens.ts';

const JOB = '0188a5c8-0000-4000-8000-00000000bbbb';
const issuer = tokenIssuer();
const token = await issuer.token();
const client = { address: '10.0.0.1', allowed: true, conveys: false, identity: ANONYMOUS };

function make(parts: Partial<JobApiParts> = {}, limits: Partial<Record<LimitName, number>> = {}) {
  const all = { ...DEFAULT_LIMITS, ...limits };
  const fetchKeys = () => Promise.reject(new Error('not here'));
  const proofs = new Proofs({ limits: all, meter: createMeter(), fetchKeys, onProblem: () => {} });
  const jwks = { from: 'file', text: issuer.jwks } as const;
  const oidc = {
    issuer: ISSUER,
    audiences: [AUDIENCE],
    organizations: ['acme'],
    jwks,
    leewayS: 0,
    algorithms: ['RS256'],
  };
  proofs.use({ users: [], oidc: { ...oidc, bindSource: true } });
  const notes: JobNote[] = [];
  const problems: string[] = [];
  const orders: ReportOrder[] = [];
  const api = new JobApi({
    proofs,
    desk: proofs.leases,
    limits: all,
    on: () => true,
    note: (what) => void notes.push(what),
    report: async (order) => {
      orders.push(order);
      return { ok: true, type: 'application/json', body: '{}' };
    },
    onProblem: (why) => void problems.push(why),
    ...parts,
  });
  const ask = (method: string, path: string, more: Partial<InnerRequest> = {}) =>
    api.answer({
      id: 'r1',
      method,
      path,
      client,
      authorization: `Bearer ${token}`,
      proxyAuthorization: undefined,
      ...more,
    });
  return { ask, proofs, notes, problems, orders };
}

describe('the job API', () => {
  it('begins no lease that cannot be recorded', async () => {
    const { ask, proofs, problems } = make({
      note: () => {
        throw new Error('the disk is full');
      },
    });
    for (const [method, path] of [
      ['POST', 'lease'],
      ['DELETE', 'lease'],
      ['GET', 'report'],
    ] as const)
      expect(await ask(method, `/v1/jobs/${JOB}/${path}`)).toMatchObject({ ok: false, code: 'audit-unavailable' });
    expect(proofs.leases.size).toBe(0);
    expect(problems).toEqual(Array(3).fill('the disk is full'));
  });

  it('leases_max: one more is refused, with who asked', async () => {
    const { ask, proofs } = make({}, { leases_max: 1 });
    proofs.leases.begin({ job: 'x', address: '10.0.0.9', attributes: {}, untilMs: Date.now() + 60_000 });
    expect(await ask('POST', `/v1/jobs/${JOB}/lease`)).toMatchObject({
      ok: false,
      code: 'leases-full',
      identity: { kind: 'job', attributes: { job: JOB } },
    });
  });

  it('a report that cannot be made, or not now', async () => {
    const failing = make({ report: () => Promise.reject(new Error('the store is away')) });
    expect(await failing.ask('GET', `/v1/jobs/${JOB}/report`)).toMatchObject({
      ok: false,
      code: 'job-report-unavailable',
    });
    expect(failing.problems).toEqual(['the store is away']);
    const full = make({ report: async () => ({ ok: false, code: 'job-reports-full' }) });
    expect(await full.ask('GET', `/v1/jobs/${JOB}/report`)).toMatchObject({ ok: false, code: 'job-reports-full' });
  });

  it('job_report_wait_ms bounds what a job may wait for', async () => {
    const { ask, orders } = make({}, { job_report_wait_ms: 2_000 });
    for (const wait of ['2000', '2001', '0', '999999']) await ask('GET', `/v1/jobs/${JOB}/report?wait_ms=${wait}`);
    await ask('GET', `/v1/jobs/${JOB}/report?format=markdown`);
    expect(orders.map(({ waitMs, format }) => [waitMs, format])).toEqual([
      [2_000, 'json'],
      [2_000, 'json'],
      [0, 'json'],
      [2_000, 'json'],
      [1_000, 'markdown'],
    ]);
    for (const wait of ['-1', '1e3', '', '1000000', ' 1'])
      expect(await ask('GET', `/v1/jobs/${JOB}/report?wait_ms=${wait}`)).toMatchObject({ code: 'job-request' });
  });

  it('notes a report once a minute, and each lease', async () => {
    const { ask, notes } = make();
    for (let at = 0; at < 3; at++) await ask('GET', `/v1/jobs/${JOB}/report`);
    for (let at = 0; at < 2; at++) await ask('POST', `/v1/jobs/${JOB}/lease`);
    expect(notes.map(({ act }) => act)).toEqual(['report', 'lease', 'lease']);
  });

  it('is not there where tokens are not taken', async () => {
    const { ask } = make({ on: () => false });
    expect(await ask('POST', `/v1/jobs/${JOB}/lease`)).toEqual({ ok: false, code: 'job-api-off' });
  });

  it('takes no other scheme and no other user', async () => {
    const { ask } = make();
    const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
    for (const more of [
      { authorization: basic(`buildkite:${token}`) },
      { authorization: undefined, proxyAuthorization: basic(`ann:${token}`) },
      { authorization: undefined, proxyAuthorization: basic('buildkite:') },
      { authorization: undefined, proxyAuthorization: 'Bearer x' },
      { authorization: undefined },
      { authorization: '', proxyAuthorization: basic(`buildkite:${token}`) },
    ])
      expect(await ask('POST', `/v1/jobs/${JOB}/lease`, more)).toEqual({ ok: false, code: 'job-token-required' });
    const proxied = { authorization: undefined, proxyAuthorization: basic(`buildkite:${token}`) };
    expect(await ask('POST', `/v1/jobs/${JOB}/lease`, proxied)).toMatchObject({ ok: true, status: 201 });
  });
});
