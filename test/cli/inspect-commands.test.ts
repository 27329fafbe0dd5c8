// explain, policy and check of rules below the host: what an operator asks before anything is decrypted.
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempDir } from '../support/temp.ts';
import { policyFile, type, typeJson } from './console.ts';

const CA = { ca: { cert: 'ca.pem', key: 'ca.key' } };
const RULE = {
  host: 'git.example',
  inspect: true,
  git: { fetch: '**', push: ['acme/*'] },
  allow: [{ path: '/acme/**' }, { path: '/api', methods: ['POST'], headers: { 'content-type': 'application/json' } }],
  deny: [{ path: '/acme/secret/**' }],
  max_upload_mb: 5,
};
const { file } = policyFile({ inspection: CA, allow: [RULE] });
const explain = (...args: string[]) => type(['explain', ...args, '--config', file]);

describe('explain of an https:// URL', () => {
  it.each([
    [
      'https://git.example/acme/x',
      'GET',
      0,
      ['allow GET https://git.example:443/acme/x', 'line     GET, HEAD /acme/** at'],
    ],
    [
      'https://git.example/acme/x',
      'POST',
      1,
      [
        'deny POST',
        'request-not-allowed',
        'does not let POST through',
        'fix      under the rule: - { methods: [POST], path: "/acme/x" }',
      ],
    ],
    [
      'https://git.example/evil/x.git/git-receive-pack',
      'POST',
      1,
      ['fix      under the rule: - git: { push: ["evil/x"] }'],
    ],
    ['https://git.example/evil/x.git/info/refs?service=git-upload-pack', 'GET', 0, ['line     git fetch **']],
    ['https://git.example/acme/secret/x', 'GET', 1, ['request-denied', 'line     any method /acme/secret/** at']],
    ['https://git.example/acme/../x', 'GET', 1, ['request-ambiguous', 'a dot segment (..)']],
    // Fields that a line wants are taken as there.
    ['https://git.example/api', 'POST', 0, ['line     POST /api with content-type']],
    ['https://other.example/acme', 'GET', 1, ['deny CONNECT other.example:443', 'host-not-allowed']],
  ])('%s by %s: %i', async (url, method, code, words) => {
    const { code: exit, out } = await explain(url, '--method', method);
    expect(exit).toBe(code);
    for (const word of words) expect(out).toContain(word);
  });

  it('as JSON: the line, the nearest and no value of the query', async () => {
    const args = ['explain', 'https://git.example/evil?token=s3cret', '--config', file];
    const { code, json } = await typeJson(args);
    expect(code).toBe(1);
    expect(json).toMatchObject({
      ...{ host: 'git.example', port: 443, kind: 'connect', method: 'GET', path: '/evil?token=…' },
      ...{ verdict: 'deny', reason: 'request-not-allowed', status: 403, inspected: true, line: null },
      nearest: { pattern: 'GET, HEAD /acme/**', fix: '{ methods: [GET], path: "/evil" }' },
      hint: 'Add under the rule of git.example: { methods: [GET], path: "/evil" }',
    });
    expect(JSON.stringify(json)).not.toContain('s3cret');
    const tunnel = await typeJson(['explain', 'git.example', '--config', file]);
    expect(tunnel.json).toMatchObject({ verdict: 'allow', inspected: true, line: null });
  });

  it('in observe mode: what no line lets through passes, what is denied or ambiguous does not', async () => {
    const observed = policyFile({ mode: 'observe', inspection: CA, allow: [RULE] }).file;
    const of = (url: string) => type(['explain', url, '--config', observed]);
    const lifted = await of('https://git.example/evil');
    expect([lifted.code, lifted.out.split('\n')[0]]).toEqual([0, 'would deny GET https://git.example:443/evil']);
    expect(lifted.out).toContain('recorded as would-deny');
    for (const path of ['/acme/secret', '/acme/../x']) expect((await of(`https://git.example${path}`)).code).toBe(1);
  });
});

describe('policy', () => {
  it('prints what may pass below a host', async () => {
    const { out } = await type(['policy', '--config', file]);
    expect(out.replaceAll(/\s+/g, ' ')).toContain(
      'inspected: GET, HEAD /acme/**; POST /api with content-type; git fetch **; git push acme/*',
    );
    const { json } = await typeJson(['policy', '--config', file]);
    expect(json).toMatchObject({
      rules: [
        {
          inspect: {
            allow: [
              { text: 'GET, HEAD /acme/**' },
              { text: 'POST /api with content-type' },
              { text: 'git fetch **' },
              { text: 'git push acme/*' },
            ],
            deny: [{ text: 'any method /acme/secret/**' }],
            max_upload_bytes: 5_000_000,
            max_response_bytes: null,
            websocket: false,
          },
        },
      ],
    });
  });
});

describe('check', () => {
  const against = async (before: object, after: object) => {
    const [old, now] = [tempDir('before'), tempDir('after')];
    const head = { version: 1, inspection: CA };
    writeFileSync(join(old, 'sallyport.yaml'), JSON.stringify({ ...head, allow: [before] }));
    writeFileSync(join(now, 'sallyport.yaml'), JSON.stringify({ ...head, allow: [after] }));
    const { json } = await typeJson(['check', join(now, 'sallyport.yaml'), '--against', old]);
    const [change] = (json as { against: { changes: { gains: object[]; loses: object[] }[] } }).against.changes;
    return change === undefined ? 'nothing' : [change.gains.length, change.loses.length];
  };
  const narrow = { host: 'git.example', inspect: true, allow: [{ path: '/acme/**' }] };
  const wide = { ...narrow, allow: [{ path: '/**' }] };
  const open = { host: 'git.example' };

  it('says against another policy who gains and who loses below a host', async () => {
    expect(await against(narrow, narrow)).toBe('nothing');
    expect(await against(narrow, { ...narrow, reason: 'x', allow: [{ path: '/acme/**', methods: ['GET'] }] })).toBe(
      'nothing',
    );
    expect(await against(narrow, wide)).toEqual([1, 0]);
    expect(await against(wide, narrow)).toEqual([0, 1]);
    expect(await against(wide, open)).toEqual([1, 0]);
    expect(await against(open, narrow)).toEqual([0, 1]);
    expect(await against(narrow, { ...narrow, allow: [{ path: '/acme/x', methods: ['POST'] }] })).toEqual([1, 1]);
    expect(await against(narrow, { ...narrow, max_upload_mb: 1 })).toEqual([0, 1]);
    expect(await against(narrow, { ...narrow, deny: [{ path: '/acme/x' }] })).toEqual([0, 1]);
    expect(await against(narrow, { ...narrow, websocket: true })).toEqual([1, 0]);
  });

  it('shows what is inside in the words of the file', async () => {
    const [old, now] = [tempDir('before'), tempDir('after')];
    for (const [folder, rule] of [
      [old, open],
      [now, narrow],
    ] as const)
      writeFileSync(join(folder, 'sallyport.yaml'), JSON.stringify({ version: 1, inspection: CA, allow: [rule] }));
    const shown = (file: string, other: string) => type(['check', join(file, 'sallyport.yaml'), '--against', other]);
    expect((await shown(now, old)).out).toContain('- git.example:443 (tls)');
    expect((await shown(old, now)).out).toContain('+ git.example:443 (tls)');
    writeFileSync(join(old, 'sallyport.yaml'), JSON.stringify({ version: 1, inspection: CA, allow: ['x.example'] }));
    expect((await shown(now, old)).out).toContain('+ git.example:443 (tls, inspected: GET, HEAD /acme/**)');
  });
});

describe('bundle make', () => {
  it('takes rules below a host without a CA, which each node has; a node without one does not', async () => {
    const [folder, out] = [tempDir('shared'), join(tempDir('out'), 'bundle')];
    writeFileSync(join(folder, 'sallyport.yaml'), JSON.stringify({ version: 1, allow: [RULE] }));
    const key = join(tempDir('key'), 'policy.key');
    writeFileSync(key, generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const made = await type(['bundle', 'make', folder, '--key', key, '--out', out]);
    expect([made.code, made.err]).toEqual([0, '']);
    const node = (more: object) => {
      const file = join(tempDir('node'), 'node.yaml');
      writeFileSync(file, JSON.stringify({ version: 1, policy: { source: folder }, ...more }));
      return type(['check', file]);
    };
    expect((await node({ inspection: CA })).code).toBe(0);
    const without = await node({});
    expect(without.code).toBe(1);
    expect(without.out + without.err).toContain('sallyport ca init');
  });
});
