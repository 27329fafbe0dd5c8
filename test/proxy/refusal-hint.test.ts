// What a refused client is told to ask `sallyport explain` for is what it asked the proxy for.
import { describe, expect, it } from 'vitest';
import { parseHttpTarget } from '../../src/policy/authority.ts';
import { refusalResponse } from '../../src/proxy/respond.ts';
import { allowing, startRig } from './support.ts';

const refused = { code: 'host-not-allowed', id: 'r1' } as const;

it.each([
  [{ host: 'denied.example', port: 443 }, 'denied.example:443'],
  [{ host: '2001:db8::1', port: 443 }, '[2001:db8::1]:443'],
  [{ host: 'denied.example', port: 80, kind: 'connect' as const }, 'denied.example:80'],
  [{ host: 'denied.example', port: 80, kind: 'forward' as const }, 'http://denied.example:80/'],
  [{ host: '2001:db8::1', port: 8080, kind: 'forward' as const }, 'http://[2001:db8::1]:8080/'],
])('%j', (asked, text) => {
  expect(refusalResponse({ ...refused, ...asked }).body).toContain(`hint: Run \`sallyport explain ${text}\` to see`);
  if (text.startsWith('http')) expect(parseHttpTarget(text)).toMatchObject({ ok: true });
});

it('says so of a plain HTTP request and of a CONNECT to the same port', async () => {
  const rig = await startRig({ policy: allowing('a.example', 443) });
  const plain = await rig.send(
    'GET http://denied.example/ HTTP/1.1\r\nHost: denied.example\r\nConnection: close\r\n\r\n',
  );
  expect((await plain.readAll()).toString()).toContain('sallyport explain http://denied.example:80/`');
  const tunnel = await rig.send('CONNECT denied.example:80 HTTP/1.1\r\nHost: denied.example:80\r\n\r\n');
  expect((await tunnel.readAll()).toString()).toContain('sallyport explain denied.example:80`');
});

describe('texts of the operator', () => {
  const body = (owner: string, over = {}) =>
    refusalResponse({
      ...refused,
      host: 'denied.example',
      port: 443,
      pipeline: '{job}',
      job: 'deploy & run',
      help: { owner, contact: null, requestUrl: null },
      ...over,
    }).body;

  it.each([
    ['ask {pipeline} about {host}:{port}', 'ask {job} about denied.example:443'],
    ['{{job}} {JOB} { job } {', '{deploy & run} {JOB} { job } {'],
    ['{unclosed {job}', '{unclosed deploy & run'],
    ['', undefined],
  ])('%j', (owner, filled) => {
    expect(/^owner: (.*)$/m.exec(body(owner))?.[1]).toBe(filled);
  });

  it('of a link are encoded where they are filled in', () => {
    const requestUrl = 'https://ask.example/{host}?job={job}&on={pipeline}#{x}';
    const text = body('', { help: { owner: null, contact: null, requestUrl } });
    expect(text).toContain('request_url: https://ask.example/denied.example?job=deploy%20%26%20run&on=%7Bjob%7D#{x}\n');
  });

  it('a line of the policy is shown as it stands', () => {
    const nearest = { pattern: 'a.example', rule: null, why: 'another port', fix: '{host: a.example, for: "{job}"}' };
    expect(body('x', { nearest })).toContain('hint: Ask for this line under allow: {host: a.example, for: "{job}"}\n');
  });
});
