// One refusal, one explanation: the nearest miss stands in the answer to the client, in the audit record, in the report and in
// what `explain` says, word for word the same, for every way in which a build engineer misses a rule.
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DecidedLine, Nearest } from '../../src/policy/record.ts';
import type { Report } from '../../src/report/report.ts';
import { auditLines, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { startWorld, type World } from '../support/world.ts';

const YESTERDAY = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);

let world: World;

beforeAll(async () => {
  world = await startWorld({
    allow: [
      { group: 'amazon-s3', with: { region: 'us-east-1' } },
      { group: 'github' },
      { host: 'api.corp.example', ports: [8443] },
      '*.acme.dev',
      { host: 'old.example', expires: YESTERDAY },
    ],
    deny: [{ host: 'gist.github.com', reason: 'leaks' }],
  });
});

afterAll(() => world.close());

interface Case {
  readonly why: string;
  readonly target: string;
  readonly reason: string;
  readonly nearest: (world: World) => Partial<Nearest>;
}

const CASES: readonly Case[] = [
  {
    why: 'a bucket of another region names the group and the parameter',
    target: 'bucket.s3.us-west-2.amazonaws.com:443',
    reason: 'host-not-allowed',
    nearest: () => ({
      pattern: '*.s3.{region}.amazonaws.com',
      why: 'bucket.s3.us-west-2.amazonaws.com is *.s3.{region}.amazonaws.com of catalog group amazon-s3, which is on without region us-west-2',
      fix: '{ group: amazon-s3, with: { region: us-west-2 } }',
    }),
  },
  {
    why: 'another port',
    target: 'api.corp.example:443',
    reason: 'port-not-allowed',
    nearest: (at) => ({
      rule: at.placeOf('host: api.corp.example'),
      why: 'api.corp.example is allowed on port 8443, not on 443',
      fix: '{ host: api.corp.example }',
    }),
  },
  {
    why: 'the name above a wildcard',
    target: 'acme.dev:443',
    reason: 'host-not-allowed',
    nearest: () => ({
      why: '*.acme.dev covers the names below acme.dev, not acme.dev itself',
      fix: '{ host: acme.dev }',
    }),
  },
  {
    why: 'one letter off, without a line to allow it',
    target: 'gihtub.com:443',
    reason: 'host-not-allowed',
    nearest: () => ({ why: 'did you mean github.com? One letter differs from what github.com allows', fix: '' }),
  },
  {
    why: 'denied, by which line',
    target: 'gist.github.com:443',
    reason: 'host-denied',
    nearest: (at) => ({
      why: `gist.github.com is denied by gist.github.com at ${at.placeOf('host: gist.github.com')} (leaks); a deny always wins`,
      fix: '',
    }),
  },
  {
    why: 'expired yesterday',
    target: 'old.example:443',
    reason: 'rule-expired',
    nearest: (at) => ({
      rule: at.placeOf('host: old.example'),
      why: `the rule old.example at ${at.placeOf('host: old.example')} expired; its last day was ${YESTERDAY} (UTC)`,
    }),
  },
];

it.each(CASES)('$why', { timeout: 120_000 }, async ({ target, reason, nearest }) => {
  const wanted = nearest(world);
  const client = await RawClient.connect(world.proxy.proxy);
  client.send(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nAccept: application/json\r\n\r\n`);
  const answer = await client.readResponse();
  client.close();
  expect(answer).toMatchObject({ status: 403, reason });
  const refusal = JSON.parse(answer.body) as { nearest: Nearest; hint: string; request_id: string };
  expect(refusal.nearest).toMatchObject(wanted);
  if (refusal.nearest.fix !== '') expect(answer.headers['sallyport-hint']).toContain(refusal.nearest.fix);

  const lines = await auditLines(world.auditFile, (found) =>
    found.some((line) => 'id' in line && line.id === refusal.request_id),
  );
  const record = lines.find((line): line is DecidedLine => line.event === 'decided' && line.id === refusal.request_id);
  expect(record?.nearest).toEqual(refusal.nearest);

  const report = await world.report<Report>();
  const row = report.denied.find(({ host, port }) => `${host}:${port}` === target);
  expect(row).toMatchObject({ reason, nearest: refusal.nearest });
  if (refusal.nearest.fix !== '') expect(row?.hint).toBe(`Add under allow: - ${refusal.nearest.fix}`);

  const config = ['--config', world.configFile];
  const said = await sallyport(['explain', target, ...config, '--json'], { cwd: world.dir });
  expect(said.code).toBe(1);
  expect(JSON.parse(said.stdout)).toMatchObject({ reason, nearest: refusal.nearest });
  const shown = await sallyport(['explain', target, ...config], { cwd: world.dir });
  expect(shown.stdout).toContain(refusal.nearest.why);
  // Where the rule stands, by line; the catalog's own template stands in no file of the operator's.
  if (refusal.nearest.rule !== null) expect(shown.stdout).toMatch(new RegExp(`nearest .*${world.configFile}:\\d+`));
});
