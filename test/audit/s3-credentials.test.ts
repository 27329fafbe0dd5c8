// Who we are to a store: files, variables, and those who give credentials for a while; all of them on this machine.
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CredentialSource, type Environment } from '../../src/audit/s3-credentials.ts';
import { xmlText, xmlTexts } from '../../src/audit/s3-xml.ts';
import { tempDir } from '../support/temp.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');

let server: http.Server;
let asked: { path: string; body: string; authorization: string | undefined }[];
let answer: (body: string) => { readonly status: number; readonly text: string };
let now: number;

beforeEach(async () => {
  now = NOW;
  asked = [];
  server = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    asked.push({ path: request.url ?? '', body, authorization: request.headers.authorization });
    const { status, text } = answer(body);
    response.writeHead(status).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

const origin = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const source = (env: Environment, credentials: { file: string; profile: string } | null = null): CredentialSource =>
  new CredentialSource({
    place: { region: 'eu-central-1', credentials },
    env,
    road: { timeoutMs: 5_000 },
    now: () => now,
  });
function file(text: string): string {
  const path = join(tempDir('credentials'), 'file');
  writeFileSync(path, text);
  return path;
}
const inAnHour = (): string => new Date(now + 3_600_000).toISOString();

describe('a file', () => {
  const text =
    '# ours\n[default]\naws_access_key_id = A\naws_secret_access_key=b=c/+ \n\n[ ship ]\r\naws_access_key_id=B\naws_secret_access_key = s\naws_session_token = t\n';

  it('has profiles, and is read each time', async () => {
    const path = file(text);
    expect(await source({}, { file: path, profile: 'default' }).get()).toEqual({
      ...{ accessKeyId: 'A', secretAccessKey: 'b=c/+', sessionToken: null, expires: null },
    });
    const ship = source({ AWS_ACCESS_KEY_ID: 'not asked' }, { file: path, profile: 'ship' });
    expect(await ship.get()).toMatchObject({ accessKeyId: 'B', sessionToken: 't' });
    writeFileSync(path, text.replace('=B', '=C'));
    expect(await ship.get()).toMatchObject({ accessKeyId: 'C' });
  });

  it.each([
    [() => file(text), 'other', /under \[other\]/],
    [() => file('[default]\naws_access_key_id = A\n'), 'default', /under \[default\]/],
    [() => '/nowhere/credentials', 'default', /ENOENT/],
  ])('that has none of it is named (%#)', async (path, profile, why) => {
    await expect(source({}, { file: path(), profile }).get()).rejects.toMatchObject({
      code: 'ship-credentials',
      message: expect.stringMatching(why),
    });
  });
});

describe('the token of a workload', () => {
  const env = (over: Environment = {}): Environment => ({
    AWS_WEB_IDENTITY_TOKEN_FILE: file('the.token\n'),
    AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/ship',
    AWS_ENDPOINT_URL_STS: origin(),
    ...over,
  });
  const given = (id: string, expires: string): string =>
    `<R><Credentials><AccessKeyId>${id}</AccessKeyId><SecretAccessKey>s&amp;s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>${expires}</Expiration></Credentials></R>`;

  it('becomes credentials, which are kept until shortly before they end', async () => {
    let count = 0;
    answer = () => ({ status: 200, text: given(`A${++count}`, inAnHour()) });
    const from = source(env());
    expect(await from.get()).toEqual({
      ...{ accessKeyId: 'A1', secretAccessKey: 's&s', sessionToken: 't', expires: NOW + 3_600_000 },
    });
    expect(Object.fromEntries(new URLSearchParams(asked[0]?.body))).toEqual({
      ...{ Action: 'AssumeRoleWithWebIdentity', Version: '2011-06-15', RoleSessionName: 'sallyport' },
      ...{ RoleArn: 'arn:aws:iam::123456789012:role/ship', WebIdentityToken: 'the.token' },
    });
    now += 3_299_999;
    expect(await from.get()).toMatchObject({ accessKeyId: 'A1' });
    now += 1;
    expect(await from.get()).toMatchObject({ accessKeyId: 'A2' });
    from.forget();
    expect(await from.get()).toMatchObject({ accessKeyId: 'A3' });
  });

  it.each<[string, Environment, { status: number; text: string }, RegExp]>([
    [
      'a refusal',
      {},
      { status: 403, text: '<E><Code>AccessDenied</Code></E>' },
      /gives none for arn:\S+: 403 AccessDenied$/,
    ],
    [
      'a refusal that writes what it likes',
      {},
      { status: 403, text: '<E><Code>&#x1B;[2J the.token</Code></E>' },
      /gives none for arn:\S+: 403$/,
    ],
    ['half of an answer', {}, { status: 200, text: given('A', '').slice(0, 90) }, /are no credentials/],
    ['no end', {}, { status: 200, text: given('A', 'soon') }, /are no credentials/],
    ['no role', { AWS_ROLE_ARN: undefined }, { status: 200, text: '' }, /AWS_ROLE_ARN is not/],
    ['no token', { AWS_WEB_IDENTITY_TOKEN_FILE: '/nowhere/token' }, { status: 200, text: '' }, /ENOENT/],
    ['plain HTTP', { AWS_ENDPOINT_URL_STS: 'http://192.0.2.1' }, { status: 200, text: '' }, /is no https/],
  ])('is of no use with %s', async (_what, over, told, why) => {
    answer = () => told;
    const error = await source(env(over))
      .get()
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'ship-credentials', message: expect.stringMatching(why) });
    expect(String(error)).not.toContain('the.token');
  });
});

describe("a container's agent", () => {
  const env = (over: Environment = {}): Environment => ({
    AWS_CONTAINER_CREDENTIALS_FULL_URI: `${origin()}/v1/credentials`,
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file('pod token\n'),
    ...over,
  });
  const given = (): { status: number; text: string } => ({
    status: 200,
    text: JSON.stringify({ AccessKeyId: 'A', SecretAccessKey: 's', Token: 't', Expiration: inAnHour() }),
  });

  it('is asked with its token, once', async () => {
    answer = given;
    const from = source(env());
    expect(await from.get()).toMatchObject({ accessKeyId: 'A', sessionToken: 't', expires: NOW + 3_600_000 });
    await from.get();
    expect(asked).toEqual([{ path: '/v1/credentials', body: '', authorization: 'pod token' }]);
  });

  it.each<[string, Environment, () => { status: number; text: string }, RegExp]>([
    ['elsewhere', { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://192.0.2.1/x' }, given, /neither https:\/\/ nor/],
    [
      'where instance metadata is',
      { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://169.254.169.254/x' },
      given,
      /neither/,
    ],
    ['nowhere', { AWS_CONTAINER_CREDENTIALS_FULL_URI: 'x' }, given, /neither/],
    ['refusing', {}, () => ({ status: 401, text: '' }), /gives none: 401/],
    ['confused', {}, () => ({ status: 200, text: '[]' }), /are no credentials/],
    ['talking', {}, () => ({ status: 200, text: 'hello' }), /are no credentials/],
    [
      'split',
      { AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: undefined, AWS_CONTAINER_AUTHORIZATION_TOKEN: 'a\r\nb: c' },
      given,
      /is no header/,
    ],
  ])('is not believed %s', async (_what, over, told, why) => {
    answer = told;
    await expect(source(env(over)).get()).rejects.toMatchObject({
      code: 'ship-credentials',
      message: expect.stringMatching(why),
    });
  });

  it('that is not there is named', async () => {
    const from = source(env());
    await new Promise((resolve) => server.close(resolve));
    await expect(from.get()).rejects.toMatchObject({ message: expect.stringContaining('cannot be asked for them') });
  });
});

it('reads flat elements, their entities once, and nothing that is not whole', () => {
  expect(
    xmlTexts('<a><Key>x</Key><Key></Key><Key>a&amp;lt;&#98;&#x63;&quot;&apos;&gt;&nope;</Key></a>', 'Key'),
  ).toEqual([...['x', '', 'a&lt;bc"\'>&nope;']]);
  expect(xmlTexts('<Key><b/></Key><Key>y</Key><Key>z', 'Key')).toEqual(['y']);
  expect(xmlText('<Keys>x</Keys>', 'Key')).toBeNull();
  expect(xmlText('<Key>&#x110000;</Key>', 'Key')).toBe('&#x110000;');
  expect(xmlText('<Key>a&#xD800;b&#xD83D;&#xDE00;</Key>', 'Key')).toBe('a\ufffdb\u{1f600}');
  // Each open one would be searched for its end, up to the end of all.
  expect(xmlTexts(`${'<Key>'.repeat(2_000_000)}x</Key>`, 'Key')).toEqual(['x']);
  expect(xmlTexts(`${'<Key>x'.repeat(2_000_000)}`, 'Key')).toEqual([]);
});
