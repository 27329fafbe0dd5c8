// Decisions below the host: hostile spellings of paths, queries and fields against lines that people would write.
import { describe, expect, it } from 'vitest';
import { compilePolicy, policyTransfer } from '../../src/policy/compile.ts';
import { Policy } from '../../src/policy/decide.ts';
import { decideRequest, type Inspection, inspectedNames } from '../../src/policy/inspect.ts';
import { AMBIGUOUS, ask, DENIED, inspection, NOT_ALLOWED } from './inspect-support.ts';
import { connect, rule, source } from './support.ts';

describe('paths', () => {
  const acme = inspection([
    { path: '/acme/**' },
    { path: '/one/*' },
    { path: '/rel-*.tgz' },
    { path: '/api/acme%2fwidget/**' },
  ]);

  it.each([
    ['/acme', 'allow'],
    ['/acme/', 'allow'],
    ['/acme/a/b/c', 'allow'],
    ['/acme/a%20b/%C3%A9', 'allow'],
    ['/acme/100%25', 'allow'],
    ['/acme?x=/../y', 'allow'],
    ['/acmeevil', NOT_ALLOWED],
    ['/acmE/x', NOT_ALLOWED],
    ['/%61cme/x', NOT_ALLOWED],
    ['/', NOT_ALLOWED],
    ['/one/two', 'allow'],
    ['/one/', NOT_ALLOWED],
    ['/one/two/', NOT_ALLOWED],
    ['/one/two/three', NOT_ALLOWED],
    ['/rel-1.2.tgz', 'allow'],
    ['/rel-1.2.tgz.exe', NOT_ALLOWED],
    ['/api/acme%2fwidget/x', 'allow'],
    ['/api/acme%2Fwidget/x', 'allow'],
    ['/api/acme%2Fgadget/x', NOT_ALLOWED],
    // A slash more under ** changes nothing.
    ['/acme/feature%2fx', 'allow'],
    ['/acme/feature%2F..%2F..%2Fevil', AMBIGUOUS],
    ['/acme/%2Fx', AMBIGUOUS],
    ['/one/two%2fthree', AMBIGUOUS],
    ['/rel-1%2fx.tgz', AMBIGUOUS],
    // What an origin may normalise.
    ['/acme/../evil', AMBIGUOUS],
    ['/acme/./x', AMBIGUOUS],
    ['/acme//x', AMBIGUOUS],
    ['//acme/x', NOT_ALLOWED],
    ['/acme/..', AMBIGUOUS],
    ['/acme/..;/evil', AMBIGUOUS],
    ['/acme/x;v=1', AMBIGUOUS],
    ['/acme/%2e%2e/evil', AMBIGUOUS],
    ['/acme/.%2e/evil', AMBIGUOUS],
    ['/acme/%252e%252e/evil', AMBIGUOUS],
    ['/acme/%25%32%65', AMBIGUOUS],
    ['/acme/%2%65%2e', AMBIGUOUS],
    ['/acme/%', AMBIGUOUS],
    ['/acme/%zz', AMBIGUOUS],
    ['/acme/\\..\\evil', AMBIGUOUS],
    ['/acme/..%5cevil', AMBIGUOUS],
    ['/acme/x%00.png', AMBIGUOUS],
    ['/acme/x\u0000', AMBIGUOUS],
    ['/acme/x%0d%0ay', AMBIGUOUS],
    ['/acme/x y', AMBIGUOUS],
    ['/acme/\u00e9', AMBIGUOUS],
    ['/acme/x#/evil', AMBIGUOUS],
    ['/acme/x%3f/../evil', AMBIGUOUS],
    // Overlong UTF-8 of / and ., and characters that some fold to them.
    ['/acme/%c0%af..%c0%afevil', AMBIGUOUS],
    ['/acme/%e0%80%ae%e0%80%ae/evil', AMBIGUOUS],
    ['/acme/%ef%bc%8f', AMBIGUOUS],
    ['/acme/%e2%80%a5/evil', AMBIGUOUS],
    ['/acme/%e2%88%95', AMBIGUOUS],
    ['*', AMBIGUOUS],
    ['https://git.example/acme/x', AMBIGUOUS],
    ['', AMBIGUOUS],
  ])('%s: %s', (target, verdict) => expect(ask(acme, `GET ${target}`)).toBe(verdict));

  it('is refused as ambiguous beyond limits.inspected_target_bytes, where the path decides', () => {
    const limits = { inspected_target_bytes: 10 };
    const request = (target: string) => ({ method: 'GET', target, host: 'git.example', headers: [] });
    expect(decideRequest(acme, request('/acme/5678'), limits).verdict).toBe('allow');
    expect(decideRequest(acme, request('/acme/56789'), limits)).toMatchObject({ reason: AMBIGUOUS });
    expect(decideRequest(acme, request('/acme?4567x'), limits)).toMatchObject({ reason: AMBIGUOUS });
    expect(decideRequest(inspection([{}]), request('/acme/56789'), limits).verdict).toBe('allow');
  });

  it('has no doubt where every path is allowed, and none is denied', () => {
    const all = inspection([{ path: '/**' }]);
    for (const target of ['/a/../b', '/%2e', '//', '/@scope%2fname', '/x;y'])
      expect(ask(all, `GET ${target}`)).toBe('allow');
    expect(ask(all, 'POST /a/../b')).toBe(NOT_ALLOWED);
    const some = inspection([{ path: '/**' }], [{ path: '/private/**' }]);
    expect(ask(some, 'GET /x/../private/y')).toBe(AMBIGUOUS);
    expect(ask(some, 'GET /x%2f..%2fprivate')).toBe(AMBIGUOUS);
    expect(ask(some, 'GET /public')).toBe('allow');
  });

  it('takes a star in the middle of a pattern', () => {
    const deep = inspection([{ path: '/**/releases/*/download/**' }]);
    expect(ask(deep, 'GET /a/b/releases/v1/download/x')).toBe('allow');
    expect(ask(deep, 'GET /releases/v1/download')).toBe('allow');
    expect(ask(deep, 'GET /a/releases/download/x')).toBe(NOT_ALLOWED);
    expect(ask(deep, `GET ${'/releases/v/download/..'.repeat(40)}`)).toBe(AMBIGUOUS);
  });
});

describe('a deny', () => {
  const some = inspection(
    [{ path: '/acme/**', methods: ['GET', 'POST'] }],
    [
      { path: '/acme/secret/**' },
      { path: '/acme/locked', methods: ['POST'] },
      { query: { acl: ['*'] } },
      { headers: { 'x-amz-acl': ['public-*'] } },
    ],
  );

  it.each([
    ['GET /acme/secret', DENIED],
    ['GET /acme/secret/x', DENIED],
    ['GET /acme/SECRET/x', DENIED],
    ['GET /acme/%73ecret/x', DENIED],
    ['GET /acme/%73%65%63%72%65%74', DENIED],
    ['GET /acme/%ef%bd%93ecret', DENIED],
    ['GET /acme/a%2fb', AMBIGUOUS],
    ['GET /acme/secrets', 'allow'],
    ['POST /acme/locked', DENIED],
    ['POST /acme/locked/', DENIED],
    ['GET /acme/locked', 'allow'],
    ['GET /acme/x?acl', DENIED],
    ['GET /acme/x?a=1&ACL=', DENIED],
    ['GET /acme/x?%61cl', DENIED],
    ['GET /acme/x?acl[]=1', DENIED],
    ['GET /acme/x?a;acl', AMBIGUOUS],
    ['GET /acme/x?a=%zz', AMBIGUOUS],
    ['GET /acme/x?acls', 'allow'],
  ])('%s: %s', (what, verdict) => expect(ask(some, what)).toBe(verdict));

  it('looks at every field of the name, in every spelling', () => {
    const put = (...headers: string[]): string => ask(some, 'POST /acme/x', { headers });
    expect(put('X-Amz-Acl', 'private')).toBe('allow');
    expect(put('X-Amz-Acl', 'public-read')).toBe(DENIED);
    expect(put('x-amz-acl', 'private', 'X-AMZ-ACL', 'PUBLIC-READ')).toBe(DENIED);
    expect(put('x_amz_acl', 'public-read')).toBe(DENIED);
  });
});

describe('conditions', () => {
  const by = inspection([
    { path: '/info', query: { service: ['git-*'], v: ['1', '2'] } },
    { path: '/bare', query: 'none' },
  ]);

  it.each([
    ['/info?service=git-x&v=1', 'allow'],
    ['/info?v=2&other=1&service=git%2dx', 'allow'],
    ['/info', NOT_ALLOWED],
    ['/info?service=git-x', NOT_ALLOWED],
    ['/info?service=svn&v=1', NOT_ALLOWED],
    ['/info?service=git-x&service=svn&v=1', AMBIGUOUS],
    ['/info?service=git-x&service=git-x&v=1', AMBIGUOUS],
    ['/info?service=git-x&Service=svn&v=1', AMBIGUOUS],
    ['/info?service=git-x&service[]=svn&v=1', AMBIGUOUS],
    ['/info?service=git-x&+service=svn&v=1', AMBIGUOUS],
    ['/info?service=git-x&%73ervice=svn&v=1', AMBIGUOUS],
    ['/info?Service=git-x&v=1', AMBIGUOUS],
    ['/info?service=git-x;v=1', AMBIGUOUS],
    ['/info?service=git-x&v=1&x=%00', AMBIGUOUS],
    ['/info?service=git-x&v=1&x=%c0%af', AMBIGUOUS],
    ['/bare', 'allow'],
    ['/bare?', 'allow'],
    ['/bare?x', NOT_ALLOWED],
  ])('of the query: %s: %s', (target, verdict) => expect(ask(by, `GET ${target}`)).toBe(verdict));

  it('of header fields: one, in the spelling of the line', () => {
    const json = inspection([{ methods: ['POST'], headers: { 'content-type': ['application/json*'] } }]);
    const post = (...headers: string[]): string => ask(json, 'POST /x', { headers });
    expect(post('Content-Type', 'application/json; charset=utf-8')).toBe('allow');
    expect(post('Content-Type', 'text/xml')).toBe(NOT_ALLOWED);
    expect(post()).toBe(NOT_ALLOWED);
    expect(post('Content-Type', 'application/json', 'content-type', 'text/xml')).toBe(AMBIGUOUS);
    expect(post('Content-Type', 'application/json', 'Content_Type', 'text/xml')).toBe(AMBIGUOUS);
    expect(post('Content_Type', 'application/json')).toBe(AMBIGUOUS);
  });

  it('hold for the method that a header field or a key names, too', () => {
    const read = inspection([{ path: '/x', methods: ['GET', 'POST'] }]);
    expect(ask(read, 'POST /x')).toBe('allow');
    expect(ask(read, 'POST /x', { headers: ['X-HTTP-Method-Override', 'delete'] })).toBe(NOT_ALLOWED);
    expect(ask(read, 'POST /x', { headers: ['X_HTTP_Method', 'PUT'] })).toBe(NOT_ALLOWED);
    expect(ask(read, 'POST /x', { headers: ['X-Method-Override', 'GET'] })).toBe('allow');
    expect(ask(read, 'POST /x?_method=DELETE')).toBe(NOT_ALLOWED);
  });

  it.each([
    ['_%6dethod=DELETE', NOT_ALLOWED],
    ['_METHOD=DELETE', NOT_ALLOWED],
    ['%5fMeth%6Fd=delete', NOT_ALLOWED],
    ['.method[]=DELETE', NOT_ALLOWED],
    ['_method=POST&_method=DELETE', NOT_ALLOWED],
    ['_method=DELETE&x=%zz', AMBIGUOUS],
    ['_%6Dethod=DELETE&x=%ff', AMBIGUOUS],
    ['a;_method=DELETE', AMBIGUOUS],
    ['a;_%4dETHOD=DELETE', AMBIGUOUS],
    ['_method=post', 'allow'],
    ['method=DELETE', 'allow'],
    ['a;b=%zz', 'allow'],
  ])('hold for the method that the query names in any spelling: ?%s', (query, answer) => {
    const post = inspection([{ path: '/acme/**', methods: ['POST'] }]);
    expect(ask(post, `POST /acme/x?${query}`)).toBe(answer);
  });

  it('of a deny by method hold whatever its case', () => {
    const some = inspection([{ methods: null }], [{ path: '/x', methods: ['DELETE'] }, { path: '/y' }]);
    for (const method of ['DELETE', 'delete', 'Delete']) expect(ask(some, `${method} /x`)).toBe(DENIED);
    for (const method of ['GET', 'get']) expect(ask(some, `${method} /y`)).toBe(DENIED);
    expect(ask(some, 'get /x')).toBe('allow');
  });

  it('cannot be led past by a header field that names another path', () => {
    const some = inspection([{ path: '/x/**' }]);
    expect(ask(some, 'GET /x', { headers: ['X-Original-URL', '/admin'] })).toBe(AMBIGUOUS);
    expect(ask(some, 'GET /x', { headers: ['x_rewrite_url', '/admin'] })).toBe(AMBIGUOUS);
    expect(ask(inspection([{}]), 'GET /x', { headers: ['X-Original-URL', '/admin'] })).toBe('allow');
  });

  it('of methods: any is neither a tunnel nor an echo', () => {
    const any = inspection([{ methods: null }]);
    for (const method of ['GET', 'PROPFIND', 'get']) expect(ask(any, `${method} /`)).toBe('allow');
    for (const method of ['CONNECT', 'TRACE', 'connect', 'Trace']) expect(ask(any, `${method} /`)).toBe(NOT_ALLOWED);
    expect(ask(inspection([{ methods: ['GET'] }]), 'get /')).toBe(NOT_ALLOWED);
  });
});

describe('buckets', () => {
  const own = (endpoint = ''): Inspection => inspection([{ buckets: ['acme-*'], path: '/**' }], [], { endpoint });

  it.each([
    ['acme-a.s3.us-west-2.amazonaws.com', '/x', 'allow'],
    ['acme-a.s3.us-west-2.amazonaws.com', '/x/../y', 'allow'],
    ['acme-a.s3.dualstack.us-west-2.amazonaws.com', '/x', 'allow'],
    ['acme-a.s3-us-west-2.amazonaws.com', '/x', 'allow'],
    ['acme-a.s3.amazonaws.com', '/', 'allow'],
    ['acme-a.s3-accelerate.amazonaws.com', '/x', 'allow'],
    ['evil.s3.us-west-2.amazonaws.com', '/acme-a/x', NOT_ALLOWED],
    ['evil.acme-a.s3.us-west-2.amazonaws.com', '/x', NOT_ALLOWED],
    ['acme-a.evil.s3.us-west-2.amazonaws.com', '/x', 'allow'],
    ['acme-a.execute-api.us-west-2.amazonaws.com', '/acme-a/x', NOT_ALLOWED],
    ['s3.us-west-2.amazonaws.com', '/acme-a', 'allow'],
    ['s3.us-west-2.amazonaws.com', '/acme-a/x/y', 'allow'],
    ['s3.amazonaws.com', '/acme-a/x', 'allow'],
    ['s3.us-west-2.amazonaws.com', '/', NOT_ALLOWED],
    ['s3.us-west-2.amazonaws.com', '/evil/acme-a', NOT_ALLOWED],
    ['s3.us-west-2.amazonaws.com', '/acme-a/../evil/x', AMBIGUOUS],
    ['s3.us-west-2.amazonaws.com', '/acme-a/%2e%2e/evil/x', AMBIGUOUS],
    ['s3.us-west-2.amazonaws.com', '/acme-a%2f..%2fevil/x', NOT_ALLOWED],
    ['s3.us-west-2.amazonaws.com', '//evil/acme-a', NOT_ALLOWED],
    ['other.example', '/acme-a/x', NOT_ALLOWED],
  ])('%s%s: %s', (host, path, verdict) => expect(ask(own(), `GET ${path}`, { host })).toBe(verdict));

  it('of an endpoint that is not of AWS stand below it, or first in its path', () => {
    const minio = own('minio.corp.example');
    expect(ask(minio, 'GET /acme-a/x', { host: 'minio.corp.example' })).toBe('allow');
    expect(ask(minio, 'GET /evil/x', { host: 'minio.corp.example' })).toBe(NOT_ALLOWED);
    expect(ask(minio, 'GET /x', { host: 'acme-a.minio.corp.example' })).toBe('allow');
    expect(ask(minio, 'GET /acme-a/x', { host: 'evil.minio.corp.example' })).toBe(NOT_ALLOWED);
    expect(ask(minio, 'GET /acme-a/x', { host: 'acme-minio.corp.example' })).toBe(NOT_ALLOWED);
  });
});

describe('a refusal says', () => {
  const some = inspection(
    [{ path: '/acme/**' }, { path: '/info', query: { service: ['git-upload-pack'] } }],
    [{ path: '/acme/no' }],
  );
  const near = (what: string) => {
    const [method = '', target = ''] = what.split(' ');
    const answer = decideRequest(some, { method, target, host: 'git.example', headers: [] });
    return answer.verdict === 'deny' ? answer.nearest : null;
  };

  it.each([
    ['POST /acme/x', 'GET /acme/** at policy.yaml:1 does not let POST through', '{ methods: [POST], path: "/acme/x" }'],
    [
      'GET /evil/x?token=s3cret',
      '/evil/x is not under GET /acme/** at policy.yaml:1',
      '{ methods: [GET], path: "/evil/x" }',
    ],
    [
      'GET /info?service=x',
      'GET /info at policy.yaml:1 wants the key service to be git-upload-pack',
      '{ methods: [GET], path: "/info" }',
    ],
    ['GET /acme/no', 'it is denied by any /acme/no at policy.yaml:1; a deny always wins', ''],
    ['GET /acme/../x', 'it has a dot segment (..), which origins read differently: send it plainly', ''],
    [
      'GET /o/r.git/info/refs?service=git-receive-pack',
      '/o/r.git/info/refs is not under GET /acme/** at policy.yaml:1',
      'git: { push: ["o/r"] }',
    ],
    [
      'GET /o/r/info/refs?service=git-upload-pack',
      '/o/r/info/refs is not under GET /acme/** at policy.yaml:1',
      'git: { fetch: ["o/r"] }',
    ],
    [
      'POST /o/r/git-receive-pack',
      '/o/r/git-receive-pack is not under GET /acme/** at policy.yaml:1',
      'git: { push: ["o/r"] }',
    ],
  ])('%s: %s', (what, why, fix) => expect(near(what)).toMatchObject({ why, fix }));

  it('no more of a long path than it must', () => {
    expect(near(`GET /${'x'.repeat(5_000)}`)?.why.length).toBeLessThan(250);
    expect(near(`GET /${'x'.repeat(5_000)}`)?.fix).toBe('');
  });
});

describe('a compiled policy', () => {
  const inspected = inspection([{ path: '/acme/**' }]);

  it('carries the inspection to another thread, and gives it with the decision of that rule alone', () => {
    const rules = [
      rule('github.com', { inspect: inspected }),
      rule('*.acme.dev', { inspect: inspected }),
      rule('example.org'),
    ];
    const made = compilePolicy(source(rules));
    const moved = structuredClone(made, { transfer: policyTransfer(made) });
    const policy = new Policy(moved);
    const inspectOf = (target: string) => {
      const decision = policy.decide(connect(target));
      return decision.verdict === 'allow' ? decision.inspect : decision.verdict;
    };
    expect(inspectOf('github.com:443')).toEqual(inspected);
    expect(inspectOf('a.acme.dev:443')).toEqual(inspected);
    expect(inspectOf('example.org:443')).toBeNull();
    expect(inspectOf('other.org:443')).toBe('deny');
    expect(inspectedNames(moved)).toEqual(['github.com', '*.acme.dev']);
    expect(moved.inspections).toHaveLength(2);
  });

  it('keeps it where the rule is on trial, and has none where nothing matched', () => {
    const trial = new Policy(
      compilePolicy(source([rule('github.com', { inspect: inspected, mode: 'observe' })], { mode: 'observe' })),
    );
    expect(trial.decide(connect('github.com:443'))).toMatchObject({ verdict: 'observe', inspect: inspected });
    expect(trial.decide(connect('other.org:443'))).toMatchObject({ verdict: 'observe', inspect: null });
  });
});
