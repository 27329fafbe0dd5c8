// Section "Who asks" of docs/threat-model.md: nobody is whom he says he is. Every refusal here is of a name that would be let through for
// somebody else, so a mistake would arrive at the origin.
import { createSecretKey } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatUserLine } from '../../src/config/users-file.ts';
import { hashPassword } from '../../src/identity/password.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir } from '../support/temp.ts';
import { AUDIENCE, type TokenChanges, tokenIssuer, unsigned } from '../support/tokens.ts';
import { ALLOWED, type Case, connect, refused, row, useStage, works } from './stage.ts';

const dir = tempDir('threats-identity');
const [keys, users] = [join(dir, 'jwks.json'), join(dir, 'users')];
const issuer = tokenIssuer('k1');
const forger = tokenIssuer('k1');
writeFileSync(keys, issuer.jwks);
writeFileSync(
  users,
  `${formatUserLine({ name: 'ann', hash: await hashPassword('right'), attributes: { queue: 'q' } })}\n`,
);

const JOB = '0188a5c8-0000-4000-8000-00000000bbbb';
const OTHER = '0188a5c8-0000-4000-8000-00000000eeee';

const stage = useStage({
  policy: (on) => ({
    users: { file: users },
    oidc: { audience: AUDIENCE, organizations: ['acme'], jwks: { file: keys } },
    limits: { password_attempts_per_min: 1_000 },
    allow: [
      on.rule(ALLOWED),
      on.rule('web.test', { for: { pipeline: 'web' } }),
      on.rule('queue.test', { for: { queue: 'q' } }),
      on.rule('sallyport.invalid'),
    ],
  }),
  names: { 'web.test': ['127.0.0.1'], 'queue.test': ['127.0.0.1'], 'sallyport.invalid': ['127.0.0.1'] },
});

const basic = (text: string) => `Proxy-Authorization: Basic ${Buffer.from(text).toString('base64')}\r\n`;
const ask = (host: string, fields = '') => `CONNECT ${host}:{p} HTTP/1.1\r\nHost: ${host}:{p}\r\n${fields}\r\n`;
const asJob = (token: string, host = 'web.test') => ask(host, basic(`buildkite:${token}`));
const token = (changes: TokenChanges = {}) => issuer.token(changes);
const invalid = refused(407, 'credentials-invalid');

row('Q1 a wrong password and a user that does not exist are told apart by nobody', stage, [
  ['the right password', ask('queue.test', basic('ann:right')), works('queue.test')],
  ['a wrong one', ask('queue.test', basic('ann:wrong')), invalid],
  ['a part of the right one', ask('queue.test', basic('ann:righ')), invalid],
  ['the right one and more', ask('queue.test', basic('ann:right\u00a0')), invalid],
  ['a name in capitals', ask('queue.test', basic('ANN:right')), invalid],
  ['a name that does not exist', ask('queue.test', basic('eve:right')), invalid],
  ['a name of every object', ask('queue.test', basic('__proto__:right')), invalid],
  ['a host that is open to all, with a wrong password', ask(ALLOWED, basic('ann:wrong')), invalid],
]);

const wrongTokens: readonly Case[] = [
  ['the right one', asJob(await token({ claims: { jti: 'a' } })), works('web.test')],
  ['forged', asJob(await token({ key: forger.keys.privateKey })), refused(407, 'token-signature')],
  ['expired', asJob(await token({ at: Date.now() / 1_000 - 7_200 })), refused(407, 'token-expired')],
  ['not yet valid', asJob(await token({ at: Date.now() / 1_000 + 600 })), refused(407, 'token-not-yet-valid')],
  ['for another audience', asJob(await token({ claims: { aud: 'else' } })), refused(407, 'token-audience')],
  ['of another issuer', asJob(await token({ claims: { iss: 'https://x.test' } })), refused(407, 'token-issuer')],
  [
    'of another organization',
    asJob(await token({ claims: { organization_slug: 'evil' } })),
    refused(407, 'token-organization'),
  ],
  [
    'of another pipeline',
    asJob(await token({ claims: { pipeline_slug: 'other' } })),
    refused(403, 'identity-not-allowed'),
  ],
  ['for a host that is open to all', asJob('a.b.c', ALLOWED), refused(407, 'token-malformed')],
];
row('Q2 a token is refused for each of its faults, whatever the host', stage, wrongTokens);

const pem = issuer.keys.publicKey.export({ type: 'spki', format: 'pem' });
const shared = await token({ header: { alg: 'HS256' }, key: createSecretKey(Buffer.from(pem)) });
const jku = await token({ header: { jku: 'https://evil.test/keys', x5u: 'https://evil.test/c', kid: 'k2' } });
row('Q3 nobody but the issuer signs a token', stage, [
  ['no signature', asJob(unsigned(await token())), refused(407, 'token-algorithm')],
  ['no signature, in other letters', asJob(unsigned(await token(), 'nOnE')), refused(407, 'token-algorithm')],
  ['no signature, with the right algorithm', asJob(unsigned(await token(), 'RS256')), refused(407, 'token-signature')],
  ['the public key as a shared secret', asJob(shared), refused(407, 'token-algorithm')],
  ['keys of its own at a URL that it names', asJob(jku), refused(407, 'token-key-unknown')],
  [
    'another one of its accepted ways',
    asJob(await token({ header: { alg: 'RS512' } })),
    refused(407, 'token-algorithm'),
  ],
]);

row('Q4 a claim proves nothing, whatever it says', stage, [
  ['the pipeline', ask('web.test', basic('web:')), refused(403, 'identity-not-allowed')],
  ['pipeline and job', ask('web.test', basic(`web/${JOB}:`)), refused(403, 'identity-not-allowed')],
  ['the user of tokens', ask('web.test', basic('buildkite:')), refused(403, 'identity-not-allowed')],
  ['a user', ask('queue.test', basic('ann:')), refused(403, 'identity-not-allowed')],
  ['nothing', ask('web.test'), refused(407, 'credentials-required')],
  [
    'another field than the one for proxies',
    ask('web.test', `Authorization: Bearer ${await token()}\r\n`),
    refused(407, 'credentials-required'),
  ],
]);

const prohibited = refused(403, 'self-prohibited');
const off = (code: string, status = 401) => refused(status, code);
row('Q5 the name of the job API leads nowhere, though the policy lists it', stage, [
  ['a tunnel', connect('sallyport.invalid:80'), prohibited],
  ['a tunnel to the port of the rule', connect('sallyport.invalid:{p}'), prohibited],
  ['in capitals and with a dot', connect('SALLYPORT.INVALID.:443'), prohibited],
  ['a tunnel with the token of a job', ask('sallyport.invalid', basic(`buildkite:${await token()}`)), prohibited],
  ['another port', 'GET http://sallyport.invalid:{p}/v1/ HTTP/1.1\r\nHost: x\r\n\r\n', prohibited],
  [
    'no token',
    `GET http://sallyport.invalid/v1/jobs/${JOB}/report HTTP/1.1\r\nHost: x\r\n\r\n`,
    off('job-token-required'),
  ],
  [
    'the pages of the admin listener',
    'GET http://sallyport.invalid/metrics HTTP/1.1\r\nHost: x\r\n\r\n',
    off('job-path', 404),
  ],
  [
    'a WebSocket',
    `GET http://sallyport.invalid/v1/jobs/${JOB}/report HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    off('job-request', 400),
  ],
  [
    'a body',
    `POST http://sallyport.invalid/v1/jobs/${JOB}/lease HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx`,
    off('job-request', 400),
  ],
]);

const from = (localAddress: string) => RawClient.connect(stage.world.proxy.proxy, { localAddress });
async function head(localAddress: string, text: string): Promise<string> {
  const client = await from(localAddress);
  client.send(stage.bytes(text));
  const { status, reason } = await client.readHead();
  client.close();
  return status === 200 || status === 201 ? String(status) : `${status} ${reason}`;
}
const lease = (method: string, job: string, bearer: string) =>
  `${method} http://sallyport.invalid/v1/jobs/${job}/lease HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${bearer}\r\n\r\n`;

describe('Q6 a token is of no use from another address than the one that used it first', () => {
  it('in the proxy URL and at the job API alike', async () => {
    const stolen = await token({ claims: { jti: 'stolen' } });
    expect(await head('127.0.0.5', asJob(stolen))).toBe('200');
    expect(await head('127.0.0.6', asJob(stolen))).toBe('407 token-source');
    expect(await head('127.0.0.6', lease('POST', JOB, stolen))).toBe('401 token-source');
    expect(await head('127.0.0.5', asJob(stolen))).toBe('200');
  });
});

describe('Q7 a lease is for its own job, its own address, and no longer than it lasts', () => {
  it('covers no neighbour, no other job, and nobody where two jobs share the address', async () => {
    const own = await token({ claims: { jti: 'lease' } });
    const second = await token({ claims: { job_id: OTHER, agent_id: 'another', pipeline_slug: 'other' } });
    expect(await head('127.0.0.7', lease('POST', OTHER, own))).toBe('403 job-of-others');
    expect(await head('127.0.0.7', lease('POST', JOB, own))).toBe('201');
    expect(await head('127.0.0.7', ask('web.test'))).toBe('200');
    expect(await head('127.0.0.8', ask('web.test'))).toBe('407 credentials-required');
    expect(await head('127.0.0.7', ask('web.test', basic('other/x:')))).toBe('403 identity-not-allowed');
    expect(await head('127.0.0.7', lease('POST', OTHER, second))).toBe('201');
    expect(await head('127.0.0.7', ask('web.test'))).toBe('407 credentials-required');
    expect(await head('127.0.0.7', ask(ALLOWED))).toBe('200');
    expect(await head('127.0.0.7', lease('DELETE', JOB, second))).toBe('403 job-of-others');
    expect(await head('127.0.0.7', lease('DELETE', JOB, own))).toBe('204 No Content');
    expect(await head('127.0.0.7', ask('web.test'))).toBe('403 identity-not-allowed');
  });
});
