// Rules below the host, from the text of a policy file to decisions: what each key means, and what is refused with its place.
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decideRequest } from '../../src/policy/inspect.ts';
import { connect, inFolderOfItsOwn, loadText } from './support.ts';

inFolderOfItsOwn();

const CA = 'inspection: { ca: { cert: ca.pem, key: ca.key, passphrase_file: ca.pass } }\n';

/** A policy of one rule, whose further lines are these. */
function ruleText(...lines: string[]): string {
  return `version: 1\n${CA}allow:\n  - host: git.example\n    inspect: true\n${lines.map((line) => `    ${line}\n`).join('')}`;
}

/** `allow LINE`, or `reason`. */
function ask(text: string, what: string, host = 'git.example', headers: readonly string[] = []): string {
  const outcome = loadText(text);
  const decision = connect(outcome, `${host}:443`);
  if (decision.verdict !== 'allow') return decision.reason;
  if (decision.inspect === null) return 'not inspected';
  const [method = '', target = ''] = what.split(' ');
  const answer = decideRequest(decision.inspect, { method, target, host, headers });
  return answer.verdict === 'allow' ? `allow ${answer.entry.text}` : answer.reason;
}

const NOT_ALLOWED = 'request-not-allowed';

describe('lines', () => {
  const text = ruleText(
    'allow:',
    '  - path: /acme/**',
    '  - { path: /api/*, methods: [POST, GET], query: { v: ["1", "2"] }, headers: { accept: "*/json" } }',
    '  - { path: /any, methods: any, query: none }',
    'deny:',
    '  - path: /acme/secret/**',
    '  - { methods: [POST], headers: { x-danger: "*" } }',
  );

  it.each([
    ['GET /acme/x', 'allow GET, HEAD /acme/**'],
    ['HEAD /acme/x', 'allow GET, HEAD /acme/**'],
    ['POST /acme/x', NOT_ALLOWED],
    ['GET /acme/secret/x', 'request-denied'],
    ['DELETE /any', 'allow any method /any without a query'],
    ['DELETE /any?x', NOT_ALLOWED],
  ])('%s: %s', (what, answer) => expect(ask(text, what)).toBe(answer));

  it('with a query and header fields want both', () => {
    const json = ['Accept', 'application/json'];
    expect(ask(text, 'POST /api/x?v=2', 'git.example', json)).toBe('allow POST, GET, HEAD /api/*?v=… with accept');
    expect(ask(text, 'POST /api/x?v=3', 'git.example', json)).toBe(NOT_ALLOWED);
    expect(ask(text, 'POST /api/x?v=2')).toBe(NOT_ALLOWED);
    expect(ask(text, 'POST /api/x?v=2', 'git.example', [...json, 'X-Danger', 'yes'])).toBe('request-denied');
  });

  it('stand where they stand, and the other keys are what they say', () => {
    const { loaded } = loadText(
      `${ruleText('allow: [{ path: /a }]', 'max_upload_mb: 1.5', 'max_response_mb: 2000', 'upstream_ca: corp.pem')}    ports: [8443]\n`,
    );
    const [rule] = loaded?.source.rules ?? [];
    expect(rule).toMatchObject({ protocol: 'tls', ports: [8443] });
    expect(rule?.inspect).toMatchObject({
      maxUploadBytes: 1_500_000,
      maxResponseBytes: 2_000_000_000,
      websocket: false,
      upstreamCa: 'corp.pem',
    });
    const open = loadText(ruleText('allow: [{ path: /a }]', 'websocket: true')).loaded?.source.rules[0];
    expect(open?.inspect).toMatchObject({ websocket: true, maxUploadBytes: null });
    expect(rule?.inspect?.allow).toMatchObject([{ origin: 'policy.yaml:6', methods: ['GET', 'HEAD'], path: ['a'] }]);
    expect(loaded?.settings.inspection).toEqual({ ca: { cert: 'ca.pem', key: 'ca.key', passphraseFile: 'ca.pass' } });
  });

  it('decide, so they are in the digest; where they stand is not', () => {
    const digest = (text: string) => loadText(text).loaded?.policy.digest;
    const one = digest(ruleText('allow: [{ path: /a }]'));
    expect(digest(ruleText('# a comment', 'allow: [{ path: /a }]'))).toBe(one);
    expect(digest(ruleText('allow: [{ path: /b }]'))).not.toBe(one);
    expect(digest(ruleText('allow: [{ path: /a }]', 'max_upload_mb: 1'))).not.toBe(one);
    expect(digest(ruleText('allow: [{ path: /a }]', 'deny: [{ path: /a/b }]'))).not.toBe(one);
  });

  it('are nothing without inspect', () => {
    expect(ask('version: 1\nallow: [git.example]\n', 'GET /')).toBe('not inspected');
    expect(ask('version: 1\nallow: [{ host: git.example, inspect: false }]\n', 'GET /')).toBe('not inspected');
  });
});

describe('git', () => {
  const text = ruleText(
    'git:',
    '  fetch: [acme/*, other/lib, deep/**]',
    '  push: [acme/widget]',
    '  lfs: [acme/widget]',
  );
  const refs = (repository: string, service: string): string =>
    `GET /${repository}/info/refs?service=git-${service}-pack`;

  it.each([
    [refs('acme/widget', 'upload'), 'allow git fetch acme/*'],
    [refs('acme/widget.git', 'upload'), 'allow git fetch acme/*'],
    ['POST /acme/widget.git/git-upload-pack', 'allow git fetch acme/*'],
    [refs('other/lib.git', 'upload'), 'allow git fetch other/lib'],
    [refs('other/lib', 'upload'), 'allow git fetch other/lib'],
    [refs('deep/a/b/c', 'upload'), 'allow git fetch deep/**'],
    [refs('acme/widget.git', 'receive'), 'allow git push acme/widget'],
    ['POST /acme/widget/git-receive-pack', 'allow git push acme/widget'],
    ['POST /acme/widget.git/info/lfs/objects/batch', 'allow git lfs acme/widget'],
    ['GET /acme/widget.git/info/lfs/locks', 'allow git lfs acme/widget'],
    ['POST /acme/widget.git/info/lfs/locks/verify', 'allow git lfs acme/widget'],
    [refs('acme/gadget', 'receive'), NOT_ALLOWED],
    ['POST /acme/gadget/git-receive-pack', NOT_ALLOWED],
    [refs('evil/lib', 'upload'), NOT_ALLOWED],
    [refs('acme/a/b', 'upload'), NOT_ALLOWED],
    ['POST /acme/gadget/info/lfs/objects/batch', NOT_ALLOWED],
    [`${refs('acme/gadget', 'upload')}&service=git-receive-pack`, 'request-ambiguous'],
    [refs('acme/..', 'upload'), 'request-ambiguous'],
    [refs('deep/../evil', 'upload'), 'request-ambiguous'],
    ['GET /acme/widget/info/refs', NOT_ALLOWED],
    ['GET /acme/widget/HEAD', NOT_ALLOWED],
    ['GET /acme/widget', NOT_ALLOWED],
  ])('%s: %s', (what, answer) => expect(ask(text, what)).toBe(answer));

  it('fetches everything, and pushes to one', () => {
    const all = ruleText('git: { fetch: "**", push: [acme/widget] }');
    expect(ask(all, refs('any/body', 'upload'))).toBe('allow git fetch **');
    expect(ask(all, refs('any/body', 'receive'))).toBe(NOT_ALLOWED);
  });
});

describe('registries and S3', () => {
  it('read only: every path, GET and HEAD alone', () => {
    const text = ruleText('read_only: true');
    expect(ask(text, 'GET /@scope%2fname')).toBe('allow GET, HEAD /**');
    expect(ask(text, 'HEAD /simple/')).toBe('allow GET, HEAD /**');
    for (const what of ['PUT /name', 'POST /-/npm/v1/security/audits', 'DELETE /x'])
      expect(ask(text, what)).toBe(NOT_ALLOWED);
  });

  const group = (more: string): string =>
    `version: 1\n${CA}allow:\n  - { group: amazon-s3, with: { region: us-west-2 }, inspect: true, s3: { buckets: [acme-cache, "acme-ci-*"]${more} } }\n`;
  const [own, path] = ['acme-cache.s3.us-west-2.amazonaws.com', 's3.us-west-2.amazonaws.com'];

  it('a group is inspected as a whole', () => {
    const read = group('');
    expect(ask(read, 'GET /x?versionId=1', own)).toBe('allow S3 read acme-cache, acme-ci-*');
    expect(ask(read, 'GET /acme-ci-1/x', path)).toBe('allow S3 read acme-cache, acme-ci-*');
    expect(ask(read, 'PUT /x', own)).toBe(NOT_ALLOWED);
    expect(ask(read, 'GET /evil/x', path)).toBe(NOT_ALLOWED);
    expect(ask(read, 'GET /x', 'evil.s3.us-west-2.amazonaws.com')).toBe(NOT_ALLOWED);
  });

  it('objects may be written, and neither buckets nor access lists changed', () => {
    const write = group(', write: true');
    const put = (what: string, host: string, ...headers: string[]): string =>
      ask(write, what, host, headers).split(' ')[0] ?? '';
    expect(put('PUT /x', own)).toBe('allow');
    expect(put('PUT /acme-cache/x/y?partNumber=1&uploadId=2', path)).toBe('allow');
    expect(put('POST /x?uploads', own)).toBe('allow');
    expect(put('DELETE /x', own)).toBe('allow');
    expect(put('POST /?delete', own)).toBe('allow');
    expect(put('POST /acme-cache?delete', path)).toBe('allow');
    expect(put('PUT /', own)).toBe(NOT_ALLOWED);
    expect(put('PUT /?policy', own)).toBe(NOT_ALLOWED);
    expect(put('PUT /acme-cache?policy', path)).toBe(NOT_ALLOWED);
    expect(put('PUT /acme-cache/?policy', path)).toBe(NOT_ALLOWED);
    expect(put('DELETE /acme-cache', path)).toBe(NOT_ALLOWED);
    expect(put('PUT /x?acl', own)).toBe('request-denied');
    expect(put('PUT /x', own, 'x-amz-acl', 'public-read')).toBe('request-denied');
    expect(put('PUT /x', own, 'x-amz-grant-read', 'uri=x')).toBe('request-denied');
    expect(put('PUT /x', own, 'x-amz-acl', 'private')).toBe('allow');
    expect(put('PUT /evil/x', path)).toBe(NOT_ALLOWED);
  });

  it('an endpoint of one’s own is what the rule names', () => {
    const text = `version: 1\n${CA}allow:\n  - { host: "*.minio.example", inspect: true, s3: { buckets: [a] } }\n  - { host: minio.example, inspect: true, s3: { buckets: [a] } }\n`;
    expect(ask(text, 'GET /x', 'a.minio.example')).toBe('allow S3 read a');
    expect(ask(text, 'GET /a/x', 'b.minio.example')).toBe(NOT_ALLOWED);
    expect(ask(text, 'GET /a/x', 'minio.example')).toBe('allow S3 read a');
    expect(ask(text, 'GET /b/x', 'minio.example')).toBe(NOT_ALLOWED);
  });
});

describe('what is wrong is told at its place', () => {
  const one = (rule: string): string => `version: 1\n${CA}allow:\n  - ${rule}\n`;

  it.each([
    [
      'version: 1\nallow:\n  - { host: a.example, inspect: true, read_only: true }\n',
      '3:33 config-missing-key: the rule is inspected, and inspection.ca names no CA that signs for its host',
    ],
    [
      one('{ host: a.example, inspect: true }'),
      '4:33 config-missing-key: the rule is inspected and lets no request through',
    ],
    [
      one('{ host: a.example, inspect: true, read_only: false }'),
      '4:33 config-missing-key: the rule is inspected and lets no request through',
    ],
    [
      one('{ host: a.example, read_only: true }'),
      '4:35 config-conflict: read_only says what may pass below the host, and the rule is not inspected',
    ],
    [
      one('{ host: a.example, inspect: true, read_only: true, protocol: any }'),
      '4:66 config-conflict: the rule is inspected, and protocol any is not TLS',
    ],
    [
      one('{ host: a.example, inspect: true, read_only: true, websocket: true, max_upload_mb: 1 }'),
      '4:88 config-conflict: max_upload_mb cannot be held for a WebSocket, and the rule has websocket: true',
    ],
    [
      one('{ host: a.example, inspect: true, read_only: true, max_response_mb: 1, websocket: true }'),
      '4:73 config-conflict: max_response_mb cannot be held for a WebSocket, and the rule has websocket: true',
    ],
    [
      one('{ host: 192.0.2.1, inspect: true, read_only: true }'),
      '4:33 config-conflict: 192.0.2.1 is an address, and an inspected host needs a name',
    ],
    [
      one('{ group: instance-metadata, i_understand: proxy-host-identity, inspect: true, read_only: true }'),
      '4:77 config-conflict: the rule is inspected, and ',
    ],
    [
      one('{ host: a.example, inspect: true, allow: [{ path: acme }] }'),
      '4:55 config-value: allow[0].allow[0].path: "acme" does not begin with a slash',
    ],
    [
      one('{ host: a.example, inspect: true, allow: [{ path: /a?b=c }] }'),
      '4:55 config-value: allow[0].allow[0].path: "/a?b=c" has a query',
    ],
    [
      one('{ host: a.example, inspect: true, allow: [{ path: /a/../b }] }'),
      '4:55 config-value: allow[0].allow[0].path: "/a/../b" has a dot segment (..), which origins read differently',
    ],
    [
      one('{ host: a.example, inspect: true, allow: [{ path: /a**/b }] }'),
      '4:55 config-value: allow[0].allow[0].path: "/a**/b": ** stands alone in its segment',
    ],
    [
      one('{ host: a.example, inspect: true, allow: [{ path: //a }] }'),
      '4:55 config-value: allow[0].allow[0].path: "//a" has an empty segment',
    ],
    [
      one('{ host: a.example, inspect: true, allow: [{ path: /a%2e }] }'),
      '4:55 config-value: allow[0].allow[0].path: "/a%2e" has an encoded dot (%2E), which origins read differently',
    ],
    [one('{ host: a.example, inspect: true, allow: [{ path: /a, methods: [get] }] }'), '4:69 config-value: '],
    [one('{ host: a.example, inspect: true, allow: [] }'), '4:46 config-value: '],
    [one('{ host: a.example, inspect: true, allow: [{ methods: [GET] }] }'), '4:47 config-missing-key: '],
    [one('{ host: a.example, inspect: true, allow: [{ path: /a, headers: { "a b": x } }] }'), '4:77 config-value: '],
    [one('{ host: a.example, inspect: true, git: { push: [https://a.example/acme/x] } }'), '4:53 config-value: '],
    [one('{ host: a.example, inspect: true, git: { push: "**" } }'), '4:52 config-value: '],
    [one('{ host: a.example, inspect: true, s3: { buckets: [Acme] } }'), '4:55 config-value: '],
    [one('{ host: a.example, inspect: true, read_only: true, max_upload_mb: 0 }'), '4:71 config-value: '],
    [one('{ host: a.example, inspect: true, read_only: true, paths: [/a] }'), '4:56 config-unknown-key: '],
    ['version: 1\ninspection: { ca: { cert: a.pem } }\nallow: [a.example]\n', '2:19 config-missing-key: '],
  ])('%s', (text, told) => {
    const { problems, error } = loadText(text);
    expect(error).not.toBeNull();
    expect(problems.map(({ at, code, message }) => `${at?.line}:${at?.column} ${code}: ${message}`)[0]).toContain(told);
  });

  it('names the command that makes a CA', () => {
    const { problems } = loadText('version: 1\nallow:\n  - { host: a.example, inspect: true, read_only: true }\n');
    expect(problems[0]?.hint).toContain('`sallyport ca init`');
  });
});

describe('findings', () => {
  const found = (...lines: string[]): string[] =>
    loadText(ruleText(...lines)).problems.map(({ code, message }) => `${code}: ${message}`);

  it('a line for everything is one, unless it is meant so', () => {
    expect(found('allow: [{ path: /**, methods: any }]')).toEqual([
      'lint-inspect-all: any method /** at policy.yaml:6 lets every request to git.example through: it is decrypted for nothing',
    ]);
    expect(found('allow: [{ path: /**, methods: any }]', 'accept: [inspect-all]', 'reason: sizes are bounded')).toEqual(
      [],
    );
    expect(found('read_only: true')).toEqual([]);
    expect(found('allow: [{ path: /**, methods: any, headers: { a: b } }]')).toEqual([]);
  });

  it('a line that a deny covers is one', () => {
    expect(found('allow: [{ path: /a/* }, { path: /b }]', 'deny: [{ path: /a/** }]')).toEqual([
      'lint-shadowed: GET, HEAD /a/* at policy.yaml:6 lets nothing through: any method /a/** at policy.yaml:7 denies all of it',
    ]);
    expect(found('allow: [{ path: /a/* }]', 'deny: [{ path: /a/**, methods: [POST] }]')).toEqual([]);
    expect(found('allow: [{ path: /a/** }]', 'deny: [{ path: /a/* }]')).toEqual([]);
    expect(found('git: { push: [acme/x] }', 'read_only: true', 'deny: [{ path: /** }]')).toHaveLength(2);
  });

  it('a star in the name of a bucket is one', () => {
    expect(found('s3: { buckets: ["acme-*"], write: true }')[0]).toMatch(
      /^lint-multi-tenant: S3 read acme-\* at .* anyone may make a bucket/,
    );
    expect(found('s3: { buckets: [acme] }')).toEqual([]);
  });
});

describe('a rule below its host survives', () => {
  it('the ceiling: layers may say no more than it, and name no files of the proxy', () => {
    const base = `version: 1\n${CA}allow: [github.com]\nlayers: { ceiling: ceiling.yaml, pipelines: [{ file: web.yaml, for: { pipeline: web } }] }\n`;
    const inside = (ceiling: string, grant: string, head = base): string => {
      writeFileSync('ceiling.yaml', `version: 1\nallow:\n  - ${ceiling}\n`);
      writeFileSync('web.yaml', `version: 1\nallow:\n  - ${grant}\n`);
      const outcome = loadText(head);
      const layer = outcome.loaded?.layers.find(({ file }) => file === 'web.yaml');
      return layer?.state === 'current' ? 'current' : (layer?.problems[0]?.message ?? 'none');
    };
    const rule = (lines: string): string => `{ host: git.example, inspect: true, ${lines} }`;
    const narrow = rule('allow: [{ path: /acme/** }], max_upload_mb: 5');
    expect(inside('git.example', narrow)).toBe('current');
    expect(inside(narrow, narrow)).toBe('current');
    expect(inside(narrow, rule('allow: [{ path: /acme/x }], max_upload_mb: 1'))).toBe('current');
    expect(inside(narrow, 'git.example')).toContain('and it is inspected');
    expect(inside(narrow, rule('allow: [{ path: /** }], max_upload_mb: 5'))).toContain(
      'it lets other requests through',
    );
    expect(inside(narrow, rule('allow: [{ path: /acme/** }]'))).toContain('it lets other requests through');
    expect(inside(narrow, rule('allow: [{ path: /acme/x, methods: [POST] }], max_upload_mb: 5'))).toContain(
      'outside the ceiling',
    );
    expect(inside(rule('git: { push: ["acme/*"] }'), rule('git: { push: [acme/x] }'))).toBe('current');
    expect(inside(rule('git: { push: ["acme/*"] }'), rule('git: { push: [evil/x] }'))).toContain('outside the ceiling');
    expect(inside('git.example', rule('read_only: true, upstream_ca: x.pem'))).toContain(
      'upstream_ca names a file of the proxy',
    );
    expect(inside('git.example', narrow, base.replace(CA, ''))).toContain('names no CA that signs');
    inside('git.example', narrow);
    const loaded = loadText(base);
    expect(connect(loaded, 'git.example:443', { pipeline: 'web' })).toMatchObject({
      verdict: 'allow',
      inspect: { maxUploadBytes: 5_000_000 },
    });
  });

  it('an earlier rule for the same host wins whole: the later one is told', () => {
    const text = `version: 1\n${CA}allow:\n  - git.example\n  - { host: git.example, inspect: true, read_only: true }\n`;
    expect(loadText(text).problems.map(({ code }) => code)).toEqual(['lint-shadowed']);
    expect(ask(text, 'GET /')).toBe('not inspected');
  });
});
