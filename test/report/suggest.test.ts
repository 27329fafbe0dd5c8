// The smallest policy that a window needs: groups with their parameters, exact hosts, wildcards where names vary, and review.
import { describe, expect, it } from 'vitest';
import { loadCatalog } from '../../src/catalog/load.ts';
import type { Identity } from '../../src/policy/record.ts';
import type { Standing } from '../../src/report/standing.ts';
import { type SeenRow, type SuggestedLine, type SuggestInput, suggest } from '../../src/report/suggest.ts';

const catalog = loadCatalog();
const DAY = 86_400_000;
const TO = Date.UTC(2026, 10, 24);
const FROM = TO - 14 * DAY;

interface Seen extends Partial<Omit<SeenRow, 'identity'>> {
  readonly pipeline?: string;
  readonly job?: string;
  readonly proven?: true;
}

/** Asked for by two jobs of pipeline web, ten days ago. */
function seen(host: string, { pipeline = 'web', job, proven, ...more }: Seen = {}): SeenRow[] {
  const by = (name: string): SeenRow => {
    const who = name === '' ? { pipeline } : { pipeline, job: name };
    const identity: Identity = proven
      ? { kind: 'job', attributes: who, claimed: {} }
      : { kind: 'claimed', attributes: {}, claimed: who };
    return {
      ...{ host, port: 443, kind: 'connect', identity, allowed: null, requests: 1, answered: 1 },
      ...{ first_seen: TO - 10 * DAY, last_seen: TO - DAY, ...more },
    };
  };
  return job === undefined ? [by('a'), by('b')] : [by(job)];
}

const WANTED: Standing = { as: 'wanted', doubt: null };

function run(rows: readonly SeenRow[], more: Partial<SuggestInput> = {}): SuggestedLine[] {
  const window = { from: FROM, to: TO };
  const nothing = { isExpected: () => false, internal: new Map(), guarded: [], scoped: false };
  return suggest({ rows, catalog, standing: () => WANTED, window, jobsMin: 2, ...nothing, ...more });
}

/** Each line in short, with what it is to be reviewed for. */
function short(lines: readonly SuggestedLine[]): string[] {
  return lines.map(({ group, parameters, pattern, ports, protocol, pipeline, addresses, origin, review }) => {
    const given = Object.entries(parameters).map(([name, values]) => ` ${name}=${values.join(',')}`);
    const what = origin ?? (group === null ? `${pattern}:${ports.join(',')}` : `${group}${given.join('')}`);
    const limits = [protocol, ...addresses, pipeline === null ? null : `for ${pipeline}`].filter((one) => one !== null);
    const all = [what, ...limits].join(' ');
    return review.length === 0 ? all : `${all} # ${review.join(' ')}`;
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
      'a host of plain HTTP that has TLS too is one group for both',
      [...seen('archive.ubuntu.com', { port: 80, kind: 'forward' }), ...seen('archive.ubuntu.com')],
      ['ubuntu'],
    ],
    [
      'an exact host otherwise, its ports together',
      [...seen('git.corp.example'), ...seen('git.corp.example', { port: 8443 })],
      ['git.corp.example:443,8443'],
    ],
    ['a group’s host on another port is a host', seen('github.com', { port: 8443 }), ['github.com:8443']],
    [
      'plain HTTP apart where the port does not say it',
      [
        ...seen('a.example', { port: 80, kind: 'forward' }),
        ...seen('a.example'),
        ...seen('a.example', { port: 8080, kind: 'forward' }),
        ...seen('a.example', { port: 80 }),
      ],
      ['a.example:80 any', 'a.example:8080 http', 'a.example:80,443'],
    ],
    ['an address', seen('2606:4700::1111'), ['[2606:4700::1111]:443']],
    [
      'a host that a group names which stands for another host',
      [...seen('sts.amazonaws.com'), ...seen('sts.us-west-2.amazonaws.com')],
      ['amazon-sts region=us-west-2'],
    ],
    [
      'a value that no group takes is a host',
      seen('_x.sts.us-west-2.amazonaws.com'),
      ['_x.sts.us-west-2.amazonaws.com:443'],
    ],
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
  it('has as many values of a group in one line as one line may expand to', () => {
    const rows = Array.from({ length: 65 }, (_, at) => seen(`sts.r${at}.amazonaws.com`)).flat();
    expect(run(rows).map(({ parameters }) => parameters['region']?.length)).toEqual([64, 1]);
  });
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
    ['an internal address', seen('10.0.0.5'), ['internal']],
    ['this machine', seen('localhost'), ['internal']],
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
    ['metadata', [...seen('169.254.169.254', { port: 80, kind: 'forward' }), ...seen('metadata.google.internal')]],
    [
      'what could not be read, or was counted without its name',
      [...seen(''), ...seen('(other)'), ...seen('a.example', { port: 0 })],
    ],
    ['a public suffix', seen('com')],
  ])('%s', (_, rows) => expect(run(rows)).toEqual([]));

  it('what is refused on purpose', () =>
    expect(run(seen('a.example'), { standing: () => ({ as: 'refused' }) })).toEqual([]));

  it('expected denials', () =>
    expect(run(seen('a.example'), { isExpected: (host) => host === 'a.example' })).toEqual([]));
});

it('what is in force and used stays, whatever else would fit, and needs no review', () => {
  const standing = (): Standing => ({ as: 'in-force', group: 'amazon-s3', origin: 'policy.yaml:7', exact: false });
  expect(short(run(seen('b.s3.us-west-2.amazonaws.com', { job: 'a' }), { standing }))).toEqual(['policy.yaml:7']);
});

describe('what somebody decided otherwise', () => {
  it.each(['expired', 'reserved'] as const)('%s is for review', (doubt) => {
    expect(run(seen('a.example'), { standing: () => ({ as: 'wanted', doubt }) })[0]?.review).toEqual([doubt]);
  });

  it('what is reserved for others is suggested for the one that asked, where it proved who it is', () => {
    const standing = (): Standing => ({ as: 'wanted', doubt: 'reserved' });
    expect(short(run(seen('a.example', { proven: true }), { standing }))).toEqual(['a.example:443 for web # reserved']);
  });

  it('what a test of the file wants to be refused is for review: a host, a wildcard, a group', () => {
    const guarded = ['a.example', 'x.sts.us-west-2.amazonaws.com', 'sts.us-west-2.amazonaws.com'];
    const rows = [...seen('a.example'), ...seen('b.example'), ...seen('sts.us-west-2.amazonaws.com')];
    const tests = { guarded: guarded.map((host) => ({ host, port: 443 })) };
    expect(short(run(rows, tests))).toEqual([
      'amazon-sts region=us-west-2 # tested',
      'a.example:443 # tested',
      'b.example:443',
    ]);
    expect(short(run(rows, { guarded: [{ host: 'a.example', port: 22 }] }))).not.toContain('a.example:443 # tested');
  });
});

describe('--scoped', () => {
  const scoped = { scoped: true };
  it('names the one pipeline that asked', () => {
    expect(short(run(seen('a.example', { proven: true }), scoped))).toEqual(['a.example:443 for web']);
    expect(short(run(seen('github.com', { proven: true }), scoped))).toEqual(['github for web']);
  });
  it.each<[string, SeenRow[]]>([
    [
      'two pipelines asked',
      [...seen('a.example', { proven: true }), ...seen('a.example', { proven: true, pipeline: 'b' })],
    ],
    ['it is only claimed', seen('a.example')],
    ['somebody claims as well', [...seen('a.example', { proven: true }), ...seen('a.example')]],
    ['its name is a glob', seen('a.example', { proven: true, pipeline: 'w*' })],
  ])('does not where %s', (_, rows) => expect(short(run(rows, scoped))).toEqual(['a.example:443']));
});

describe('hosts that resolve into the network', () => {
  const internal = new Map([['git.corp.example:443', ['10.1.2.3', 'fd00::1']]]);
  const line = 'git.corp.example:443 10.1.2.3/32 fd00::1/128 # internal';

  it('come with the addresses that were met, for review', () => {
    expect(short(run(seen('git.corp.example'), { internal }))).toEqual([line]);
  });
  it('get a rule of their own below a wildcard in force', () => {
    const standing = (): Standing => ({ as: 'in-force', group: null, origin: 'p:3', exact: false });
    expect(short(run(seen('git.corp.example'), { internal, standing }))).toEqual([line]);
  });
  it('whose rule is in force are named with that rule: a second one would not count', () => {
    const standing = (): Standing => ({ as: 'in-force', group: null, origin: 'p:3', exact: true });
    expect(short(run(seen('git.corp.example'), { internal, standing }))).toEqual([
      'p:3 10.1.2.3/32 fd00::1/128 # internal',
    ]);
  });
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
