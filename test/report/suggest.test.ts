// The smallest policy that a window needs: groups with their parameters, exact hosts, wildcards where names vary, and review.
import { describe, expect, it } from 'vitest';
import { loadCatalog } from '../../src/catalog/load.ts';
import { type SeenRow, type SuggestedLine, type SuggestInput, suggest } from '../../src/report/suggest.ts';

const catalog = loadCatalog();
const DAY = 86_400_000;
const TO = Date.UTC(2026, 10, 24);
const FROM = TO - 14 * DAY;

/** Asked for by two jobs of pipeline web, ten days ago. */
function seen(host: string, more: Partial<SeenRow> = {}): SeenRow[] {
  const row: SeenRow = {
    ...{ host, port: 443, kind: 'connect', pipeline: 'web', job: 'a', requests: 1, answered: 1, denied: false },
    ...{ first_seen: TO - 10 * DAY, last_seen: TO - DAY, ...more },
  };
  return more.job === undefined ? [row, { ...row, job: 'b' }] : [row];
}

function run(rows: readonly SeenRow[], more: Partial<SuggestInput> = {}): SuggestedLine[] {
  const window = { from: FROM, to: TO };
  return suggest({ rows, catalog, inForce: () => null, isExpected: () => false, window, jobsMin: 2, ...more });
}

/** Each line in short, with what it is to be reviewed for. */
function short(lines: readonly SuggestedLine[]): string[] {
  return lines.map(({ group, parameters, pattern, ports, forward, origin, review }) => {
    const given = Object.entries(parameters).map(([name, values]) => ` ${name}=${values.join(',')}`);
    const what =
      origin ??
      (group === null ? `${pattern}:${ports.join(',')}${forward ? ' http' : ''}` : `${group}${given.join('')}`);
    return review.length === 0 ? what : `${what} # ${review.join(' ')}`;
  });
}

describe('what stands in the policy', () => {
  it.each<[string, SeenRow[], string[]]>([
    ['nothing asked for', [], []],
    [
      'hosts of one group are one line',
      [...seen('agent.buildkite.com'), ...seen('agent-edge.buildkite.com')],
      ['buildkite-agent'],
    ],
    ['a published group before a companion', seen('github.com'), ['github']],
    ['a parameter from the name', seen('b.s3.us-west-2.amazonaws.com'), ['amazon-s3 region=us-west-2 # multi-tenant']],
    [
      'several values of a parameter are a list',
      [...seen('sts.us-west-2.amazonaws.com'), ...seen('sts.eu-west-1.amazonaws.com')],
      ['amazon-sts region=us-west-2,eu-west-1'],
    ],
    [
      'two parameters: a line for each pair, not for each combination',
      [
        ...seen('111111111111.dkr.ecr.us-west-2.amazonaws.com'),
        ...seen('222222222222.dkr.ecr.eu-west-1.amazonaws.com'),
      ],
      ['amazon-ecr account=111111111111 region=us-west-2', 'amazon-ecr account=222222222222 region=eu-west-1'],
    ],
    [
      'an exact host otherwise, its ports together',
      [...seen('git.corp.example'), ...seen('git.corp.example', { port: 8443 })],
      ['git.corp.example:443,8443'],
    ],
    ['a group’s host on another port is a host', seen('github.com', { port: 8443 }), ['github.com:8443']],
    [
      'plain HTTP apart',
      [...seen('a.example', { port: 80, kind: 'forward' }), ...seen('a.example')],
      ['a.example:443', 'a.example:80 http'],
    ],
    ['an address', seen('2001:db8::1'), ['[2001:db8::1]:443']],
    [
      'several fixed names are no wildcard',
      ['a', 'b', 'c', 'd', 'e'].flatMap((name) => seen(`${name}.acme.dev`)),
      ['a', 'b', 'c', 'd', 'e'].map((name) => `${name}.acme.dev:443`),
    ],
  ])('%s', (_, rows, lines) => expect(short(run(rows))).toEqual(lines));

  const once = (parent: string, count = 5): SeenRow[] =>
    Array.from({ length: count }, (_, at) => seen(`n${at}.${parent}`, { job: `j${at}` })).flat();

  it('is a wildcard where names vary', () => expect(short(run(once('cdn.acme.dev')))).toEqual(['*.cdn.acme.dev:443']));
  it('is no wildcard for four names', () => expect(run(once('cdn.acme.dev', 4))).toHaveLength(4));
  it('is never a wildcard over a public suffix', () =>
    expect(run(once('co.uk')).map((line) => line.by)).toEqual(Array(5).fill('host')));
  it('is never a wildcard over a whole domain of others', () => {
    expect(run(once('docker.com')).some((line) => line.by === 'wildcard')).toBe(false);
  });
  it('is for review, with its names, where strangers may own them', () => {
    const [line] = run(once('github.io'));
    expect(line).toMatchObject({ by: 'wildcard', pattern: '*.github.io', review: ['multi-tenant'] });
    expect(line?.evidence.names).toEqual([0, 1, 2, 3, 4].map((at) => `n${at}.github.io:443`));
  });
});

describe('what must be looked at first', () => {
  it.each<[string, SeenRow[], string[]]>([
    ['one job', seen('a.example', { job: 'a' }), ['few-jobs']],
    ['jobs that nobody named', seen('a.example', { job: '' }), []],
    ['new', seen('a.example', { first_seen: TO - DAY / 2 }), ['new']],
    ['never answered', seen('a.example', { answered: 0 }), ['never-answered']],
    ['a resolver', seen('dns.google'), ['doh']],
    ['a paste', seen('pastebin.com'), ['exfiltration']],
    ['one job, new', seen('a.example', { job: 'a', first_seen: TO - 1 }), ['few-jobs', 'new']],
  ])('%s', (_, rows, reasons) => expect(run(rows)[0]?.review).toEqual(reasons));

  it('nothing is new in a window of a day', () => {
    expect(run(seen('a.example', { first_seen: TO - 1 }), { window: { from: TO - DAY, to: TO } })[0]?.review).toEqual(
      [],
    );
  });

  it('more jobs may be asked for', () => {
    expect(run(seen('a.example'), { jobsMin: 3 })[0]?.review).toEqual(['few-jobs']);
  });
});

describe('what is not proposed', () => {
  it.each<[string, SeenRow[]]>([
    ['what a deny rule refused', seen('a.example', { denied: true })],
    ['metadata', [...seen('169.254.169.254', { port: 80, kind: 'forward' }), ...seen('metadata.google.internal')]],
    [
      'what could not be read, or was counted without its name',
      [...seen(''), ...seen('(other)'), ...seen('a.example', { port: 0 })],
    ],
    ['a public suffix', seen('com')],
  ])('%s', (_, rows) => expect(run(rows)).toEqual([]));

  it('expected denials', () =>
    expect(run(seen('a.example'), { isExpected: (host) => host === 'a.example' })).toEqual([]));
});

it('what is in force and used stays, whatever else would fit, and needs no review', () => {
  const inForce = () => ({ group: 'amazon-s3', origin: 'policy.yaml:7' });
  expect(short(run(seen('b.s3.us-west-2.amazonaws.com', { job: 'a' }), { inForce }))).toEqual(['policy.yaml:7']);
});

it('each line has its evidence', () => {
  const rows = [
    ...seen('a.example', { requests: 3 }),
    ...seen('a.example', { pipeline: 'api', job: 'c', first_seen: FROM, last_seen: TO }),
  ];
  expect(run(rows)[0]?.evidence).toEqual({
    ...{ requests: 7, jobs: 3, pipelines: ['api', 'web'], first_seen: FROM, last_seen: TO, names: ['a.example:443'] },
  });
});
