// A job from its first hook to its last against the built proxy: the lease makes its connections its own, the first refusal is annotated
// while it runs, its report at the end, and the lease is gone after it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { appears, type Host, JOB, PLUGIN, startHost } from '../buildkite/hook-stage.ts';
import { decided } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { PROCESSES_MS, readAudit, run } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { AUDIENCE, tokenIssuer } from '../support/tokens.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const issuer = tokenIssuer('k1');
const keysFile = join(tempDir('hooks'), 'jwks.json');
let world: World;
let origin: Origin;
let host: Host;

beforeAll(async () => {
  writeFileSync(keysFile, issuer.jwks);
  origin = await startHttpOrigin((_, response) => response.end('ok'), { tls: certificateFor(['web.allowed.test']) });
  world = await startWorld(
    {
      oidc: { audience: AUDIENCE, organizations: ['acme'], jwks: { file: keysFile } },
      allow: [{ host: 'web.allowed.test', ports: [origin.port], addresses: LOOPBACK, for: { pipeline: 'web' } }],
      help: { owner: 'platform', contact: '#egress', request_url: 'https://ask.test/?host={host}' },
    },
    { 'web.allowed.test': ['127.0.0.1'] },
  );
  host = startHost(world.proxy.url(), {
    SALLYPORT_AUDIENCE: AUDIENCE,
    AGENT_TOKEN: await issuer.token({ claims: { job_id: JOB } }),
  });
});
afterAll(async () => {
  await world.close();
  await origin.close();
});

const hook = (name: string, env: Readonly<Record<string, string | undefined>> = {}) =>
  host.hook(join(PLUGIN, 'hooks', name), env);

it('a job from its first hook to its last', async () => {
  const begun = await hook('environment');
  expect(begun.code, begun.stderr).toBe(0);
  expect(begun.stderr).toContain(`connections of this host are job ${JOB} until `);
  // The command of the job, with the environment that the hook has left and nothing else: no credentials.
  const command = (...args: readonly string[]) =>
    run(['env', '-i', ...pairs(begun.after), 'curl', '-sS', '--cacert', testCa().caFile, ...args]);
  const allowed = await command(`https://web.allowed.test:${origin.port}/`);
  expect([allowed.code, allowed.stdout], allowed.stderr).toEqual([0, 'ok']);
  expect(readAudit(world.auditFile).find(decided('web.allowed.test'))?.identity).toMatchObject({
    kind: 'job',
    attributes: { pipeline: 'web', job: JOB },
    via: 'lease',
  });
  expect((await command('https://evil.test/')).code).not.toBe(0);
  await appears(host.state('announced'));
  expect(host.agent(`sallyport-${JOB}`)).toMatch(/which is still running\.[\s\S]*\| evil\.test:443 \|/);
  const ended = await hook('pre-exit', { BUILDKITE_COMMAND_EXIT_STATUS: '6' });
  expect([ended.code, ended.stderr]).toEqual([0, 'sallyport: 1 refused, 0 would be refused\n']);
  const annotation = host.agent('sallyport') ?? '';
  for (const text of [
    'evil.test:443',
    'host-not-allowed',
    '[ask for it](https://ask.test/?host=evil.test)',
    '| 127.0.0.1 |',
    'likely a redirect from web.allowed.test',
    'platform',
    'egress',
  ])
    expect(annotation).toContain(text);
  expect(host.agent('sallyport.style')).toBe('error\n');
  expect(host.agent(`sallyport-${JOB}`)).toBeNull();
  expect(host.agent('wrong')).toBeNull();
  // Whoever uses the host next is not the job.
  const after = await command('-w', '%{http_connect}', `https://web.allowed.test:${origin.port}/`);
  expect(after.stdout).toBe('407');
});

it('a token that the proxy does not take is told with its code, and the job goes on', async () => {
  const foreign = await issuer.token({ claims: { job_id: JOB, aud: 'somebody-else' } });
  const done = await hook('environment', { AGENT_TOKEN: foreign, SALLYPORT_WATCH: 'off' });
  expect(done.code).toBe(0);
  expect(done.stderr).toMatch(/no lease from [\d.:]+: status 401: .*token-audience/);
  expect(done.after['HTTPS_PROXY']).toBe(world.proxy.url());
  await hook('pre-exit');
});

function pairs(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env).map(([name, value]) => `${name}=${value}`);
}
