// What the admin API says of a request, asked for somebody: the same as `sallyport explain --as` says.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ApiParts, createApi } from '../../src/admin/api.ts';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { Policy } from '../../src/policy/decide.ts';
import { type } from '../cli/console.ts';
import { tempDir, writePolicy } from '../support/temp.ts';

const POLICY = {
  version: 1,
  clients: { from: ['10.0.0.0/8'], groups: [{ from: ['10.1.0.0/16'], set: { queue: 'default' } }] },
  oidc: { organizations: ['acme'], audience: 'sallyport' },
  allow: [{ host: 'web.test', for: { pipeline: 'web' } }],
};

async function explained(file: string, as: string): Promise<unknown> {
  const { policy } = loadConfigHere({ file, now: Date.now() });
  const ctx = { policy: new Policy(policy) };
  const router = createApi({ ctx, version: '0', mode: () => 'enforce' } as unknown as ApiParts);
  const search = new URLSearchParams({ target: 'web.test', as });
  const { route, query } = router.find('GET', '/v1/explain', search);
  const answer = await route.handle({ query, param: '', req: null as never, res: null as never });
  return answer !== null && 'json' in answer ? answer.json : null;
}

describe('/v1/explain', () => {
  it.each([
    // Known by its address, it would be asked for credentials; a job that is another one would not.
    ['queue=default', 'credentials-required'],
    ['user=deploy', 'identity-not-allowed'],
    ['pipeline=deploy,queue=default', 'identity-not-allowed'],
    ['pipeline=web', 'allowed'],
  ])('for %s says what the command says: %s', async (as, reason) => {
    const file = writePolicy(join(tempDir('explain'), 'sallyport.yaml'), POLICY);
    const typed = await type(['explain', 'web.test', '--as', as, '--config', file, '--json']);
    const said = await explained(file, as);
    expect(said).toMatchObject({ reason });
    expect(said).toEqual(JSON.parse(typed.out));
  });

  it.each(['queue', 'boss=me', 'queue=', '=web'])('refuses %s as nobody', async (as) => {
    const file = writePolicy(join(tempDir('explain'), 'sallyport.yaml'), POLICY);
    await expect(explained(file, as)).rejects.toMatchObject({ status: 400, code: 'admin-request' });
  });
});
