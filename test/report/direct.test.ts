// Direct attempts in a report: whose they are by the client's jobs at that time, and what they likely want.
import { describe, expect, it } from 'vitest';
import type { Identity } from '../../src/policy/record.ts';
import { fixOf } from '../../src/report/direct-fix.ts';
import { findingsOf } from '../../src/report/findings.ts';
import { renderCsv } from '../../src/report/render-csv.ts';
import { renderHtml } from '../../src/report/render-html.ts';
import { renderMarkdown } from '../../src/report/render-markdown.ts';
import { renderTable } from '../../src/report/render-table.ts';
import { parseCsv } from './csv.ts';
import { claimed, importAttempts, reportOf, START, writeHistory } from './history.ts';

const job = (pipeline: string, id: string): Identity => ({
  kind: 'job',
  attributes: { pipeline, job: id },
  claimed: {},
});
const plain = { width: Number.POSITIVE_INFINITY, paint: (_style: string, text: string) => text };

describe('whose attempts they are', () => {
  // On 10.0.0.7 j1 runs in minutes 0 to 10, j2 from 20 on, and is open; on 10.0.0.8 two jobs run at once.
  const history = () =>
    writeHistory({ allow: ['ok.example'] }, [
      { host: 'ok.example', identity: job('web', 'j1'), second: 0 },
      { host: 'ok.example', identity: job('web', 'j1'), second: 600 },
      { host: 'ok.example', identity: job('api', 'j2'), second: 1_200, open: true },
      { host: 'ok.example', identity: job('a', 'j3'), client: '10.0.0.8', second: 0 },
      { host: 'ok.example', identity: claimed('b', 'j4'), client: '10.0.0.8', second: 1 },
      { host: 'ok.example', identity: job('a', 'j3'), client: '10.0.0.8', second: 600 },
      { host: 'ok.example', identity: claimed('b', 'j4'), client: '10.0.0.8', second: 600 },
    ]);

  it.each<[string, number, string | undefined, string[]]>([
    ['while a job ran', 300, undefined, ['j1']],
    ['a little after it, before the next', 700, undefined, ['j1']],
    ['shortly before the first request', -100, undefined, ['j1']],
    ['between two jobs', 900, undefined, []],
    ['while a tunnel is open, however long', 90_000, undefined, ['j2']],
    ['while two ran at once', 300, '10.0.0.8', ['j3', 'j4']],
    ['on a machine without jobs', 300, '10.0.0.9', []],
  ])('%s', async (_what, second, client, jobs) => {
    const made = history();
    await importAttempts(made, [{ to: '140.82.112.3', port: 22, second, ...(client === undefined ? {} : { client }) }]);
    const { rows } = (await reportOf(made, { from: START - 3_600_000 })).direct;
    expect(rows.map((row) => row.jobs)).toEqual([jobs]);
    if (client === '10.0.0.8') expect(rows).toMatchObject([{ pipelines: ['a', 'b'], claimed: true }]);
  });

  it('sums up by job and destination; what got out comes first; a report of one job or pipeline has its own', async () => {
    const made = history();
    await importAttempts(made, [
      { to: '140.82.112.3', port: 22, second: 10 },
      { to: '140.82.112.3', port: 22, second: 500 },
      { to: '140.82.112.3', port: 22, second: 1_300 },
      { to: '8.8.8.8', port: 53, protocol: 'UDP', second: 20, client: 'fd00::7' },
      { to: '93.184.216.34', second: 1_400, accepted: true, uid: 1_000 },
      { to: '93.184.216.34', second: 1_400, uid: 0 },
    ]);
    const found = await reportOf(made);
    const at = (second: number) => new Date(START + second * 1_000).toISOString();
    expect(found.direct).toMatchObject({
      attempts: 6,
      rows_total: 5,
      truncated: false,
      rows: [
        { host: '93.184.216.34', verdict: 'accept', jobs: ['j2'], fix: { kind: 'https' } },
        { host: '140.82.112.3', port: 22, attempts: 2, jobs: ['j1'], first_seen: at(10), last_seen: at(500) },
        { host: '93.184.216.34', verdict: 'reject', jobs: ['j2'], fix: { kind: 'dockerd' } },
        { host: '140.82.112.3', port: 22, attempts: 1, jobs: ['j2'], pipelines: ['api'], claimed: false },
        { host: '8.8.8.8', protocol: 'udp', client: 'fd00::7', jobs: [], fix: { kind: 'dns' } },
      ],
    });
    expect((await reportOf(made, { job: 'j1' })).direct).toMatchObject({ attempts: 2, rows_total: 1 });
    expect((await reportOf(made, { pipeline: 'api' })).direct).toMatchObject({ attempts: 3, rows_total: 3 });
    expect((await reportOf(made, { from: START + 3_600_000 })).direct.attempts).toBe(0);
    expect(findingsOf(found, ['direct'])).toEqual([
      { kind: 'direct', count: 6, message: expect.stringContaining('140.82.112.3:22/tcp') },
    ]);
  });

  it('stands in every format, with the fixes in full; without imported logs nothing does', async () => {
    const made = history();
    const title = /direct attempts that never reached the proxy/i;
    const quiet = await reportOf(made);
    for (const render of [renderMarkdown, renderHtml, (found: typeof quiet) => renderTable(found, plain)])
      expect(render(quiet)).not.toMatch(title);
    await importAttempts(made, [
      { to: '2001:db8::1', port: 22, second: 10 },
      { to: '93.184.216.34', second: 10, accepted: true },
    ]);
    const found = await reportOf(made);
    for (const text of [renderMarkdown(found), renderHtml(found), renderTable(found, plain)]) {
      expect(text).toMatch(title);
      expect(text).toContain('THE NETWORK LET THEM OUT to 1 of the destinations');
      for (const shown of ['93.184.216.34:443/tcp', 'LET OUT', 'j1', 'insteadOf', 'ProxyCommand sallyport connect'])
        expect(text.replaceAll('&#58;', ':')).toContain(shown);
    }
    expect(renderTable(found, plain)).toContain('[2001:db8::1]:22/tcp');
    const [head = [], ...rows] = parseCsv(renderCsv(found));
    const direct = rows.filter((row) => row[0] === 'direct');
    const cell = (row: string[], name: string) => row[head.indexOf(name)];
    expect(direct.map((row) => ['host', 'port', 'state', 'jobs', 'reason'].map((name) => cell(row, name)))).toEqual([
      ['93.184.216.34', '443', 'let-out', 'j1', 'https'],
      ['2001:db8::1', '22', 'refused', 'j1', 'git-ssh'],
    ]);
  });
});

describe('fixOf', () => {
  it.each<[string, string, number, string, boolean, string]>([
    ['git@host', '140.82.112.3', 22, 'tcp', false, 'git-ssh'],
    ['git on an internal host', '10.0.0.9', 22, 'tcp', false, 'git-ssh'],
    ['git://', '140.82.112.3', 9_418, 'tcp', false, 'git-protocol'],
    ['dockerd', '3.5.6.7', 443, 'tcp', true, 'dockerd'],
    ['a build', '3.5.6.7', 443, 'tcp', false, 'https'],
    ['apt', '3.5.6.7', 80, 'tcp', false, 'http'],
    ['HTTP/3', '3.5.6.7', 443, 'udp', false, 'quic'],
    ['a resolver', '8.8.8.8', 53, 'udp', false, 'dns'],
    ['a resolver of the network', '10.0.0.2', 53, 'tcp', false, 'dns'],
    ['DNS over TLS', '8.8.8.8', 853, 'tcp', false, 'dns'],
    ['a clock', '3.5.6.7', 123, 'udp', false, 'ntp'],
    ['the clock of AWS', '169.254.169.123', 123, 'udp', false, 'platform'],
    ['instance metadata', '169.254.169.254', 80, 'tcp', true, 'metadata'],
    ['instance metadata by IPv6', 'fd00:ec2::254', 80, 'tcp', false, 'metadata'],
    ['a ping', '8.8.8.8', 0, 'icmp', false, 'ping'],
    ['mail', '3.5.6.7', 587, 'tcp', false, 'mail'],
    ['a database', '10.0.0.9', 5_432, 'tcp', false, 'internal'],
    ['an internal web server', '10.0.0.9', 443, 'tcp', false, 'internal'],
    ['anything else', '3.5.6.7', 4_444, 'tcp', false, 'unknown'],
  ])('%s: %s %i %s', (_what, host, port, protocol, root, kind) => {
    expect(fixOf({ host, port, protocol, root })).toMatchObject({ kind, text: expect.stringMatching(/\.$/) });
  });
});
