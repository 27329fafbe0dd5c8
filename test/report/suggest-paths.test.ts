// Refused paths → lines for the rule of their host, and that these lines let through what was refused.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadConfigHere } from '../../src/config/load-here.ts';
import type { RuleSource } from '../../src/policy/compile.ts';
import { decideRequest } from '../../src/policy/inspect.ts';
import { type InspectedRule, type RefusedPath, suggestPaths } from '../../src/report/suggest-paths.ts';
import { buildSuggestion } from '../../src/report/suggestion.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import { decidedRecord } from '../support/records.ts';
import { tempDir, writePolicy } from '../support/temp.ts';
import { NOON, ScratchUsage } from '../support/usage.ts';

function rulesOf(lines: unknown[], more: object = {}): InspectedRule[] {
  const rule = { host: '*.example', inspect: true, allow: lines, ...more };
  const file = writePolicy(`${tempDir('paths')}/p.yaml`, {
    version: 1,
    inspection: { ca: { cert: 'a', key: 'b' } },
    allow: [rule],
  });
  return loadConfigHere({ file, now: 0 }).source.rules.flatMap(({ pattern, origin, inspect }: RuleSource) =>
    inspect === null ? [] : [{ pattern, origin, inspect }],
  );
}

const refused = (what: string, over: Partial<RefusedPath> = {}): RefusedPath => {
  const [method = '', path = ''] = what.split(' ');
  return {
    host: 'git.example',
    port: 443,
    method,
    path,
    reason: 'request-not-allowed',
    requests: 1,
    fix: '',
    pipelines: ['web'],
    ...over,
  };
};
const lines = (rows: readonly RefusedPath[], rules = rulesOf([{ path: '/acme/**' }])): string[] =>
  suggestPaths(rows, rules).map(({ line }) => line);

describe('refused paths become', () => {
  it.each<[string, string[], string[]]>([
    ['a line each', ['GET /a/b', 'HEAD /a/b', 'POST /c'], ['{ path: "/a/b" }', '{ methods: [POST], path: "/c" }']],
    [
      'one line of several methods',
      ['GET /a', 'POST /a', 'DELETE /a'],
      ['{ methods: [DELETE, GET, POST], path: "/a" }'],
    ],
    [
      'stars for ids',
      ['GET /r/1/x', 'GET /r/23/x', 'GET /s/0a1b2c3d4e', 'GET /v/v1.2.3'],
      ['{ path: "/r/*/x" }', '{ path: "/s/*" }', '{ path: "/v/*" }'],
    ],
    [
      'one pattern for many',
      ['GET /w/a', 'GET /w/b', 'POST /w/c', 'GET /w/d/e'],
      ['{ methods: [GET, POST], path: "/w/**" }'],
    ],
    ['nothing where they are allowed by now', ['GET /acme/x'], []],
    ['nothing where a part is not known', ['GET /x/…', 'GET (overflow)', 'GET /x/*'], []],
  ])('%s', (_, given, wanted) => expect(lines(given.map((what) => refused(what)))).toEqual(wanted));

  it('a line of git where Git asked', () => {
    const fix = 'git: { push: ["acme/x"] }';
    expect(
      lines(
        [refused('POST /acme/x/git-receive-pack', { fix }), refused('GET /acme/x/info/refs', { fix, requests: 4 })],
        rulesOf([{ path: '/other' }]),
      ),
    ).toEqual([fix]);
  });

  it('nothing where a policy file could not say it', () => {
    const hostile = [
      'GET /a//b',
      'GET /a/../b',
      'GET /a/%2e%2e',
      'GET /a;b',
      'GET /a\\b',
      'GET /a%00',
      `GET /${'x'.repeat(1_024)}`,
    ];
    expect(lines([...hostile, 'get /a', 'GET_ /b', '_ /c', 'GET /fine'].map((what) => refused(what)))).toEqual([
      '{ path: "/fine" }',
    ]);
    const gits = ['acme/x.git', 'acme//x', '/acme', 'a"] }, s3: { buckets: ["*', 'a\\"', 'acme/..'].map((repository) =>
      refused('POST /acme/x/git-upload-pack', { fix: `git: { fetch: ["${repository}"] }` }),
    );
    expect(lines(gits)).toEqual([]);
  });

  it('nothing where Git may ask for it by now', () => {
    const [fetch, push] = ['git: { fetch: ["acme/x"] }', 'git: { push: ["acme/x"] }'];
    const rules = rulesOf([{ path: '/other' }], { git: { fetch: ['acme/*'] } });
    const path = 'GET /acme/x/info/refs';
    expect(lines([refused(path, { fix: fetch })], rules)).toEqual([]);
    expect(lines([refused(path, { fix: push })], rules)).toEqual([push]);
  });

  it('nothing where a deny names them, nobody can read them, or no rule inspects the host', () => {
    expect(
      lines([refused('GET /x', { reason: 'request-denied' }), refused('GET /y', { reason: 'request-ambiguous' })]),
    ).toEqual([]);
    expect(lines([refused('GET /x', { host: 'other.test' })])).toEqual([]);
  });

  it('lines with their rule, how often and by whom', () => {
    const found = suggestPaths(
      [refused('GET /x', { requests: 3 }), refused('HEAD /x', { pipelines: ['api'] })],
      rulesOf([{ path: '/y' }]),
    );
    expect(found).toMatchObject([
      { host: 'git.example', requests: 4, pipelines: ['api', 'web'], line: '{ path: "/x" }' },
    ]);
    expect(found[0]?.origin).toMatch(/p\.yaml:\d+$/);
  });

  it('what lets through all that they were made of', () => {
    const rows = [
      'GET /a/1/b',
      'POST /a/2/b',
      'GET /w/a',
      'GET /w/b',
      'GET /w/c',
      'PUT /w/d/e/',
      'HEAD /z/',
      'GET /',
    ].map((what) => refused(what));
    const made = lines(rows, rulesOf([{ path: '/nothing' }]));
    const [rule] = rulesOf(
      made.map((line) =>
        Object.fromEntries(
          [...line.matchAll(/(methods|path): (\[[^\]]*\]|"[^"]*")/g)].map(([, key, value = '']) => [
            key,
            value.startsWith('[') ? value.slice(1, -1).split(', ') : JSON.parse(value),
          ]),
        ),
      ),
    );
    for (const { method, path: target } of rows) {
      const answer = rule && decideRequest(rule.inspect, { method, target, host: 'git.example', headers: [] });
      expect(`${method} ${target} ${answer?.verdict}`).toBe(`${method} ${target} allow`);
    }
  });
});

it('suggest says them with the rule, from the records, and leaves the file as it is', async () => {
  const world = new ScratchUsage();
  const file = writePolicy(`${world.directory}/p.yaml`, {
    version: 1,
    inspection: { ca: { cert: 'a', key: 'b' } },
    allow: [{ host: 'github.com', inspect: true, read_only: true }],
    audit: { file: world.file },
  });
  const denied = { verdict: 'deny', reason: 'request-not-allowed', outcome: 'request-not-allowed' } as const;
  const identity = { kind: 'job', attributes: { pipeline: 'web', job: 'j' }, claimed: {} } as const;
  world.log.decided(decidedRecord({ id: 'i', tunnel: 't', method: 'POST', path: '/acme/x', identity, ...denied }));
  await projectOnce(world.options());
  const store = await openStore(world.store, 'read');
  const [text, loaded, now] = [readFileSync(file, 'utf8'), loadConfigHere({ file, now: 0 }), NOON().getTime()];
  const input = {
    file,
    text,
    loaded,
    from: 0,
    to: now,
    now,
    pipeline: null,
    jobsMin: 1,
    scoped: false,
    unusedDays: 30,
  };
  const { below, remarks, diff } = await buildSuggestion(store, input);
  await store.close();
  expect(below).toMatchObject([{ host: 'github.com', line: '{ methods: [POST], path: "/acme/x" }', requests: 1 }]);
  expect(remarks).toContain('  - { methods: [POST], path: "/acme/x" }  # 1 request of web');
  expect(diff).toBe('');
});
