// decide(): one table for each normative sentence of the design, each case inside, outside and at the crossing.
import { describe, expect, test } from 'vitest';
import type { RuleSource } from '../../src/policy/compile.ts';
import type { PolicyRequest } from '../../src/policy/decide.ts';
import { answer, cidr, claimed, connect, DAY, deny, forward, NOW, policy, proven, rule } from './support.ts';

type Case = [why: string, rules: readonly RuleSource[], request: PolicyRequest, expected: string];

function table(cases: Case[]): void {
  test.each(cases)('%s', (_why, rules, request, expected) => {
    expect(answer(policy(rules).decide(request))).toBe(expected);
  });
}

const WEB = proven({ pipeline: 'web', queue: 'linux' });

describe('exact entries match on label boundaries', () => {
  const rules = [rule('api.test')];
  table([
    ['the name', rules, connect('api.test:443'), 'allow allowed'],
    ['upper case', rules, connect('API.TEST:443'), 'allow allowed'],
    ['a trailing dot', rules, connect('api.test.:443'), 'allow allowed'],
    ['a name below it', rules, connect('sub.api.test:443'), 'deny host-not-allowed'],
    ['a longer label', rules, connect('evilapi.test:443'), 'deny host-not-allowed'],
    ['as a prefix', rules, connect('api.test.evil.test:443'), 'deny host-not-allowed'],
    ['the dot replaced', rules, connect('apixtest:443'), 'deny host-not-allowed'],
    ['its parent', rules, connect('test:443'), 'deny host-not-allowed'],
    ['a punycode look-alike', rules, connect('xn--pi-6kc.test:443'), 'deny host-not-allowed'],
    ['an empty policy', [], connect('api.test:443'), 'deny host-not-allowed'],
  ]);
});

describe('*.d is one or more labels below d, never d itself', () => {
  const rules = [rule('*.s3.amazonaws.test')];
  table([
    ['one label', rules, connect('bucket.s3.amazonaws.test:443'), 'allow allowed'],
    ['upper case', rules, connect('BUCKET.S3.AMAZONAWS.TEST:443'), 'allow allowed'],
    ['two labels', rules, connect('a.b.s3.amazonaws.test:443'), 'allow allowed'],
    ['an underscore', rules, connect('my_bucket.s3.amazonaws.test:443'), 'allow allowed'],
    ['numbers in front are a name', rules, connect('127.0.0.1.s3.amazonaws.test:443'), 'allow allowed'],
    ['the apex', rules, connect('s3.amazonaws.test:443'), 'deny host-not-allowed'],
    ['no dot', rules, connect('evils3.amazonaws.test:443'), 'deny host-not-allowed'],
    ['as a prefix', rules, connect('x.s3.amazonaws.test.evil.test:443'), 'deny host-not-allowed'],
    ['the dot replaced', rules, connect('bucket.s3xamazonaws.test:443'), 'deny host-not-allowed'],
  ]);

  test('127 labels are walked', () => {
    const host = `${'a.'.repeat(125)}d.t`;
    expect(answer(policy([rule('*.d.t')]).decide(connect(`${host}:443`)))).toBe('allow allowed');
    expect(answer(policy([deny(host), rule('*.d.t')]).decide(connect(`${host}:443`)))).toBe('deny host-denied');
  });
});

describe('ports: an allow without ports means 443, a deny without ports means every port', () => {
  table([
    ['443 by default', [rule('api.test')], connect('api.test:443'), 'allow allowed'],
    ['not 22', [rule('api.test')], connect('api.test:22'), 'deny port-not-allowed'],
    ['not 80', [rule('api.test')], forward('api.test:80'), 'deny port-not-allowed'],
    ['the listed one', [rule('api.test', { ports: [8443] })], connect('api.test:8443'), 'allow allowed'],
    ['then not 443', [rule('api.test', { ports: [8443] })], connect('api.test:443'), 'deny port-not-allowed'],
    ['no port at all', [rule('api.test', { ports: [] })], connect('api.test:443'), 'deny port-not-allowed'],
    [
      'deny: 443',
      [rule('*.test', { ports: [443, 22] }), deny('api.test')],
      connect('api.test:443'),
      'deny host-denied',
    ],
    ['deny: 22', [rule('*.test', { ports: [443, 22] }), deny('api.test')], connect('api.test:22'), 'deny host-denied'],
    [
      'deny of one port',
      [rule('api.test', { ports: [443, 22] }), deny('api.test', { ports: [22] })],
      connect('api.test:22'),
      'deny host-denied',
    ],
    [
      'and no other',
      [rule('api.test', { ports: [443, 22] }), deny('api.test', { ports: [22] })],
      connect('api.test:443'),
      'allow allowed',
    ],
  ]);
});

describe('protocols: tls and ssh admit CONNECT only, http forwarding only, any both', () => {
  const any = [rule('h.test', { ports: [80, 443, 22, 8080], protocol: 'any' })];
  const tls = [rule('h.test', { ports: [80, 443], protocol: 'tls' })];
  const ssh = [rule('h.test', { ports: [2222], protocol: 'ssh' })];
  const http = [rule('h.test', { ports: [80, 8080], protocol: 'http' })];
  const byPort = [rule('h.test', { ports: [80, 443, 22] })];
  table([
    ['tls: CONNECT', tls, connect('h.test:443'), 'allow allowed'],
    ['tls: not forwarding', tls, forward('h.test:80'), 'deny protocol-not-allowed'],
    ['ssh: CONNECT', ssh, connect('h.test:2222'), 'allow allowed'],
    ['ssh: not forwarding', ssh, forward('h.test:2222'), 'deny protocol-not-allowed'],
    ['http: forwarding', http, forward('h.test:8080'), 'allow allowed'],
    ['http: no opaque tunnel', http, connect('h.test:80'), 'deny protocol-not-allowed'],
    ['any: CONNECT', any, connect('h.test:8080'), 'allow allowed'],
    ['any: forwarding', any, forward('h.test:443'), 'allow allowed'],
    ['by port: 80 is http', byPort, forward('h.test:80'), 'allow allowed'],
    ['by port: no tunnel to 80', byPort, connect('h.test:80'), 'deny protocol-not-allowed'],
    ['by port: 443 is tls', byPort, forward('h.test:443'), 'deny protocol-not-allowed'],
    ['by port: 22 is ssh', byPort, connect('h.test:22'), 'allow allowed'],
    ['port before protocol', tls, forward('h.test:8080'), 'deny port-not-allowed'],
  ]);

  test.each([
    ['h.test:443', 'tls'],
    ['h.test:22', 'ssh'],
  ])('the decision names the protocol to check: %s is %s', (target, protocol) => {
    expect(policy(byPort).decide(connect(target))).toMatchObject({ verdict: 'allow', protocol });
  });
});

describe('deny wins over everything', () => {
  const cases: Case[] = [
    [
      'a wildcard deny over an exact allow',
      [rule('api.test'), deny('*.test')],
      connect('api.test:443'),
      'deny host-denied',
    ],
    ['a later deny', [rule('api.test'), deny('api.test')], connect('api.test:443'), 'deny host-denied'],
    ['an earlier deny', [deny('api.test'), rule('api.test')], connect('api.test:443'), 'deny host-denied'],
    ['whatever the spelling', [rule('*.test'), deny('gist.test')], connect('GIST.test.:443'), 'deny host-denied'],
    ['its neighbours pass', [rule('*.test'), deny('gist.test')], connect('gists.test:443'), 'allow allowed'],
    [
      'names below an exact deny pass',
      [rule('*.test'), deny('gist.test')],
      connect('a.gist.test:443'),
      'allow allowed',
    ],
    [
      'an expired deny is inert',
      [rule('api.test'), deny('api.test', { expires: NOW - 1 })],
      connect('api.test:443'),
      'allow allowed',
    ],
    [
      'a deny for others',
      [rule('api.test'), deny('api.test', { for: { pipeline: ['x'] } })],
      connect('api.test:443', { identity: WEB }),
      'allow allowed',
    ],
    [
      'a deny for this one',
      [rule('api.test'), deny('api.test', { for: { pipeline: ['web'] } })],
      connect('api.test:443', { identity: WEB }),
      'deny host-denied',
    ],
    [
      'for every protocol',
      [rule('h.test', { ports: [80] }), deny('h.test', { protocol: 'tls' })],
      forward('h.test:80'),
      'deny host-denied',
    ],
    [
      'its mode does not soften it',
      [rule('h.test'), deny('h.test', { mode: 'observe' })],
      connect('h.test:443'),
      'deny host-denied',
    ],
    ['an address', [rule('10.0.0.1'), deny('10.0.0.1')], connect('10.0.0.1:443'), 'deny host-denied'],
  ];
  table(cases);

  test.each(cases.filter(([, , , expected]) => expected === 'deny host-denied'))(
    'in observe mode too: %s',
    (_why, rules, request) => {
      expect(answer(policy(rules, { mode: 'observe' }).decide(request))).toBe('deny host-denied');
    },
  );

  test('the rule of the refusal is the deny rule', () => {
    const decision = policy([rule('*.test'), deny('gist.test', { id: 'p.yaml:9' })]).decide(connect('gist.test:443'));
    expect(decision).toMatchObject({ rule: { id: 'p.yaml:9', effect: 'deny', pattern: 'gist.test' } });
  });
});

describe('the winner: filter, then the most specific, then file order', () => {
  const winner = (rules: readonly RuleSource[], request: PolicyRequest): string | undefined => {
    const decision = policy(rules).decide(request);
    return decision.verdict === 'allow' ? decision.rule.id : undefined;
  };
  const wide = rule('*.test', { id: 'wide' });
  const deep = rule('*.a.test', { id: 'deep' });
  const exact = rule('x.a.test', { id: 'exact' });

  test.each([
    ['exact over wildcards', [wide, deep, exact], 'exact'],
    ['deeper over shallower', [wide, deep], 'deep'],
    ['whatever the order', [deep, wide], 'deep'],
    ['file order among equals', [rule('x.a.test', { id: 'first' }), rule('x.a.test', { id: 'second' })], 'first'],
    ['a port that does not fit drops out', [wide, rule('x.a.test', { id: 'other', ports: [22] })], 'wide'],
    ['a protocol that does not fit', [wide, rule('x.a.test', { id: 'other', protocol: 'http' })], 'wide'],
    ['an expired one', [wide, rule('x.a.test', { id: 'other', expires: NOW - 1 })], 'wide'],
    ['one for others', [wide, rule('x.a.test', { id: 'other', for: { pipeline: ['x'] } })], 'wide'],
    ['one for others, first of two', [rule('x.a.test', { for: { pipeline: ['x'] } }), exact], 'exact'],
  ])('%s', (_why, rules, id) => {
    expect(winner(rules, connect('x.a.test:443'))).toBe(id);
  });

  test('only the winner gives its addresses', () => {
    const open = policy([rule('*.test', { addresses: [cidr('10.0.0.0/8')] }), rule('x.test')]);
    const decision = open.decide(connect('x.test:443'));
    expect(open.checkAddress(decision, connect('x.test:443').authority, '10.0.0.1')).toMatchObject({
      ok: false,
      reason: 'address-prohibited',
    });
  });
});

describe('expiry: inclusive, and a matter of `now`', () => {
  const expires = NOW;
  table([
    ['the last instant', [rule('api.test', { expires })], connect('api.test:443', { now: NOW }), 'allow allowed'],
    [
      'one millisecond later',
      [rule('api.test', { expires })],
      connect('api.test:443', { now: NOW + 1 }),
      'deny rule-expired',
    ],
    [
      'expired, and on another port',
      [rule('api.test', { expires })],
      connect('api.test:22', { now: NOW + 1 }),
      'deny host-not-allowed',
    ],
  ]);
});

describe('for: proven attributes only', () => {
  const only = [rule('api.test', { for: { pipeline: ['web', 'deploy-*'] } })];
  const both = [...only, rule('*.test')];
  table([
    ['proven', only, connect('api.test:443', { identity: WEB }), 'allow allowed'],
    [
      'another pipeline',
      only,
      connect('api.test:443', { identity: proven({ pipeline: 'x' }) }),
      'deny identity-not-allowed',
    ],
    ['nobody is asked for credentials', only, connect('api.test:443'), 'challenge credentials-required'],
    [
      'a claim proves nothing, and is not asked for again',
      only,
      connect('api.test:443', { identity: claimed({ pipeline: 'web' }) }),
      'deny identity-not-allowed',
    ],
    ['no challenge where another rule allows', both, connect('api.test:443'), 'allow allowed'],
    ['no challenge on another port', only, connect('api.test:22'), 'deny host-not-allowed'],
    [
      'nor for an expired rule',
      [rule('api.test', { for: { pipeline: ['web'] }, expires: NOW - 1 })],
      connect('api.test:443'),
      'deny host-not-allowed',
    ],
    [
      'an invisible rule does not say its port',
      only,
      connect('api.test:22', { identity: proven({ pipeline: 'x' }) }),
      'deny host-not-allowed',
    ],
    [
      'attributes smuggled into a claimed identity',
      only,
      connect('api.test:443', { identity: { kind: 'claimed', attributes: { pipeline: 'web' }, claimed: {} } }),
      'deny identity-not-allowed',
    ],
    ['a deny comes before the challenge', [...only, deny('api.test')], connect('api.test:443'), 'deny host-denied'],
  ]);

  test('the challenge names the rule', () => {
    expect(policy(only).decide(connect('api.test:443'))).toMatchObject({ rule: { pattern: 'api.test' } });
  });
});

describe('IP literals only where listed', () => {
  table([
    ['not listed', [rule('*.test')], connect('93.184.216.34:443'), 'deny ip-literal-not-allowed'],
    ['loopback', [rule('*.test')], connect('127.0.0.1:443'), 'deny ip-literal-not-allowed'],
    ['IPv6', [rule('*.test')], connect('[::1]:443'), 'deny ip-literal-not-allowed'],
    ['mapped', [rule('127.0.0.1')], connect('[::ffff:127.0.0.1]:443'), 'deny ip-literal-not-allowed'],
    ['listed', [rule('93.184.216.34')], connect('93.184.216.34:443'), 'allow allowed'],
    ['listed IPv6 in another spelling', [rule('[2001:DB8::1]')], connect('[2001:db8:0:0::1]:443'), 'allow allowed'],
    ['its neighbour', [rule('93.184.216.34')], connect('93.184.216.35:443'), 'deny ip-literal-not-allowed'],
    ['another port', [rule('93.184.216.34')], connect('93.184.216.34:22'), 'deny port-not-allowed'],
  ]);
});

describe('localhost is this machine, unless exactly listed', () => {
  table([
    ['not listed', [rule('*.test')], connect('localhost:443'), 'deny host-not-allowed'],
    ['listed', [rule('localhost')], connect('LOCALHOST.:443'), 'allow allowed'],
    ['below it, listed', [rule('build.localhost')], connect('build.localhost:443'), 'allow allowed'],
    [
      'a wildcard never covers it',
      [rule('build.localhost', { pattern: { kind: 'wildcard', host: 'localhost', text: '*.localhost' } })],
      connect('build.localhost:443'),
      'deny host-not-allowed',
    ],
  ]);
});

describe('instance metadata: only for the rule that is opted in, and only its paths', () => {
  const token = { method: 'PUT', path: '/latest/api/token', exact: true };
  const tags = { method: 'GET', path: '/latest/meta-data/tags' };
  const opted = (paths: RuleSource['paths']): RuleSource =>
    rule('169.254.169.254', { ports: [80], metadata: true, paths });
  const google = rule('metadata.google.internal', { ports: [80], metadata: true, paths: [tags] });
  const split = [opted([token]), opted([tags])];
  const get = (path: string, method = 'GET'): PolicyRequest => ({ ...forward('169.254.169.254:80', path), method });
  table([
    ['by default', [], get('/'), 'deny metadata-prohibited'],
    ['by CONNECT', [], connect('169.254.169.254:80'), 'deny metadata-prohibited'],
    ['another address of the class', [], forward('169.254.170.2:80'), 'deny metadata-prohibited'],
    ['mapped', [], forward('[::ffff:169.254.169.254]:80'), 'deny metadata-prohibited'],
    ['NAT64', [], forward('[64:ff9b::a9fe:a9fe]:80'), 'deny metadata-prohibited'],
    [
      'by name',
      [rule('*.internal', { ports: [80] })],
      forward('metadata.google.internal:80'),
      'deny metadata-prohibited',
    ],
    ['the short name', [], forward('instance-data:80'), 'deny metadata-prohibited'],
    ['listed without the opt-in', [rule('169.254.169.254', { ports: [80] })], get('/'), 'deny metadata-prohibited'],
    [
      'listed for others',
      [rule('169.254.169.254', { ports: [80], for: { queue: ['x'] } })],
      get('/'),
      'deny metadata-prohibited',
    ],
    [
      'opted in for others: who are you?',
      [{ ...opted(null), for: { queue: ['x'] } }],
      get('/'),
      'challenge credentials-required',
    ],
    ['opted in', [opted([tags])], get('/latest/meta-data/tags/instance'), 'allow allowed'],
    ['the name, opted in', [google], forward('metadata.google.internal:80', '/latest/meta-data/tags'), 'allow allowed'],
    ['credentials', [opted([tags])], get('/latest/meta-data/iam/security-credentials/'), 'deny path-not-allowed'],
    ['another method', [opted([tags])], get('/latest/meta-data/tags', 'POST'), 'deny path-not-allowed'],
    ['two rules open two paths: first', split, get('/latest/api/token', 'PUT'), 'allow allowed'],
    ['two rules open two paths: second', split, get('/latest/meta-data/tags'), 'allow allowed'],
    ['and no third', split, get('/latest/user-data'), 'deny path-not-allowed'],
    ['a later rule without paths does not lift them', [opted([tags]), opted(null)], get('/x'), 'deny path-not-allowed'],
    [
      'a wildcard without paths does not lift them',
      [google, rule('*.google.internal', { ports: [80], metadata: true })],
      forward('metadata.google.internal:80', '/x'),
      'deny path-not-allowed',
    ],
    ['no path is no path', [opted([])], get('/'), 'deny path-not-allowed'],
    [
      'an opaque tunnel would carry any path',
      [{ ...opted([tags]), protocol: 'any' }],
      connect('169.254.169.254:80'),
      'deny metadata-prohibited',
    ],
  ]);

  test('the operator extends the class', () => {
    const extended = policy([rule('198.51.100.7')], { metadataAddresses: [cidr('198.51.100.7')] });
    expect(answer(extended.decide(connect('198.51.100.7:443')))).toBe('deny metadata-prohibited');
  });

  test('observe lifts neither metadata nor paths', () => {
    const observe = policy([opted([tags])], { mode: 'observe' });
    expect(answer(observe.decide(get('/x')))).toBe('deny path-not-allowed');
    expect(answer(observe.decide(forward('metadata.google.internal:80')))).toBe('deny metadata-prohibited');
    expect(answer(observe.decide(forward('169.254.170.2:80')))).toBe('deny metadata-prohibited');
  });
});

describe('observe lifts what is not on the allowlist, and nothing else', () => {
  const rules = [
    rule('api.test'),
    rule('plain.test', { ports: [80], protocol: 'http' }),
    rule('old.test', { expires: NOW - DAY }),
    rule('mine.test', { for: { pipeline: ['deploy'] } }),
  ];
  const observed: [why: string, request: PolicyRequest, reason: string][] = [
    ['host', connect('other.test:443'), 'host-not-allowed'],
    ['port', connect('api.test:22'), 'port-not-allowed'],
    ['protocol', connect('plain.test:80'), 'protocol-not-allowed'],
    ['expiry', connect('old.test:443'), 'rule-expired'],
    ['identity', connect('mine.test:443', { identity: WEB }), 'identity-not-allowed'],
    ['a challenge', connect('mine.test:443'), 'credentials-required'],
    ['a public address', connect('93.184.216.34:443'), 'ip-literal-not-allowed'],
  ];
  test.each(observed)('%s', (_why, request, reason) => {
    const decision = policy(rules, { mode: 'observe' }).decide(request);
    // No rule stands behind it: an observed challenge must not lend the addresses of the rule it did not prove.
    expect(decision).toMatchObject({ verdict: 'observe', reason, rule: null, protocol: 'any', mode: 'observe' });
  });

  test.each([
    ['what is allowed stays allowed', connect('api.test:443'), 'allow allowed'],
    ['a private literal', connect('10.0.0.1:443'), 'deny ip-literal-not-allowed'],
    ['a loopback literal', connect('[::1]:443'), 'deny ip-literal-not-allowed'],
    ['a public literal in disguise', connect('[::ffff:93.184.216.34]:443'), 'deny ip-literal-not-allowed'],
    ['a public literal behind NAT64', connect('[64:ff9b::5db8:d822]:443'), 'deny ip-literal-not-allowed'],
    ['localhost', connect('localhost:443'), 'deny host-not-allowed'],
    ['below localhost', connect('a.localhost:443'), 'deny host-not-allowed'],
  ])('%s', (_why, request, expected) => {
    expect(answer(policy(rules, { mode: 'observe' }).decide(request))).toBe(expected);
  });

  test('a rule on trial passes what it matches as observed, with its own addresses', () => {
    const trial = policy([rule('new.test', { mode: 'observe', addresses: [cidr('10.0.0.0/8')] })]);
    const decision = trial.decide(connect('new.test:443'));
    expect(decision).toMatchObject({
      verdict: 'observe',
      reason: 'host-not-allowed',
      protocol: 'tls',
      rule: { pattern: 'new.test' },
    });
    expect(trial.checkAddress(decision, connect('new.test:443').authority, '10.0.0.1')).toEqual({
      ok: true,
      observed: false,
    });
    expect(answer(trial.decide(connect('else.test:443')))).toBe('deny host-not-allowed');
  });

  test('modes: rule before scope before global, the first scope that fits', () => {
    const scoped = policy([rule('api.test'), rule('strict.test', { mode: 'enforce' })], {
      mode: 'observe',
      modes: [
        { for: { queue: ['canary'] }, mode: 'enforce' },
        { for: { queue: ['*'] }, mode: 'observe' },
      ],
    });
    const canary = proven({ queue: 'canary' });
    expect(scoped.modeFor(canary, null)).toBe('enforce');
    expect(scoped.modeFor(proven({ queue: 'linux' }), null)).toBe('observe');
    expect(scoped.modeFor(claimed({ queue: 'canary' }), null)).toBe('observe');
    const smuggled = { ...claimed({}), attributes: { queue: 'canary' } };
    expect(scoped.modeFor(smuggled, null)).toBe('observe');
    expect(scoped.modeFor(canary, { mode: 'observe' })).toBe('observe');
    expect(answer(scoped.decide(connect('other.test:443', { identity: canary })))).toBe('deny host-not-allowed');
    expect(answer(scoped.decide(connect('other.test:443')))).toBe('observe host-not-allowed');
    expect(scoped.decide(connect('strict.test:443'))).toMatchObject({ verdict: 'allow', mode: 'enforce' });
    expect(scoped.decide(connect('api.test:443'))).toMatchObject({ verdict: 'allow', mode: 'observe' });
  });
});

test('rules() gives every rule in file order, with what was written', () => {
  const written = rule('*.acme.dev', {
    ports: [8443],
    protocol: 'any',
    addresses: [cidr('10.0.0.0/8')],
    mode: 'observe',
    for: { pipeline: ['deploy-*'] },
    expires: NOW,
    group: 'acme',
    need: 'required',
    reason: 'signing \u2013 "quoted"',
    owner: 'platform',
    id: 'acme-all',
    origin: 'policy.yaml:7',
  });
  const views = [...policy([written, deny('[::1]'), rule('b.test')]).rules()];
  expect(views.map((view) => `${view.index} ${view.effect} ${view.pattern}`)).toEqual([
    '0 allow *.acme.dev',
    '1 deny [::1]',
    '2 allow b.test',
  ]);
  const { effect, ports, protocol, addresses, mode, group, need, reason, owner, id, origin, expires } = written;
  expect(views[0]).toMatchObject({
    effect,
    ports,
    protocol,
    addresses,
    mode,
    group,
    need,
    reason,
    owner,
    id,
    origin,
    expires,
  });
  expect(views[0]).toMatchObject({ for: written.for, kind: 'wildcard', metadata: false, paths: null });
});
