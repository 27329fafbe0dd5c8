// The manifests against the schemas of Kubernetes, offline: the compiler holds each as a literal against the type of its kind, so that
// an unknown key is an error as well as a wrong value. Then what the manifests say of each other.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { run } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { DEPLOY, documents, type Manifest, manifests } from './manifests.ts';

const FOLDER = join(DEPLOY, 'kubernetes');
const ROOT = join(DEPLOY, '..');
const all = manifests(FOLDER);
const one = (kind: string): Manifest => {
  const found = all.filter((each) => each.kind === kind);
  expect(found, kind).toHaveLength(1);
  return found[0] as Manifest;
};

const namespace = documents(join(FOLDER, 'kustomization.yaml')).map((value) => (value as Manifest)['namespace'])[0];
const covers = (labels: Record<string, string> = {}, wanted: Record<string, string>): boolean =>
  Object.entries(wanted).every(([key, value]) => labels[key] === value);

const schemasOf = (apiVersion: string): string =>
  apiVersion.startsWith('monitoring.coreos.com/') ? '@kubernetes-models/prometheus-operator' : 'kubernetes-models';

/** What the compiler says of manifests as literals of their kinds. */
async function compiled(list: readonly Manifest[]): Promise<string> {
  const dir = tempDir('manifests');
  const lines = list.flatMap(({ file: _, ...manifest }, index) => {
    const { apiVersion, kind } = manifest as Manifest;
    return [
      `import type { I${kind} as T${index} } from '${schemasOf(apiVersion)}/${apiVersion}/${kind}';`,
      `export const m${index}: T${index} = ${JSON.stringify(manifest, null, 1)};`,
    ];
  });
  writeFileSync(join(dir, 'manifests.ts'), lines.join('\n'));
  const options = {
    strict: true,
    noEmit: true,
    module: 'nodenext',
    skipLibCheck: true,
    types: [],
    paths: { '*': [join(ROOT, 'node_modules/*')] },
  };
  // Its own, whatever lies in the folders above.
  writeFileSync(join(dir, 'package.json'), '{"type":"commonjs"}');
  writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['manifests.ts'] }));
  const { stdout } = await run([join(ROOT, 'node_modules/.bin/tsc'), '-p', dir], { cwd: dir });
  return stdout;
}

describe('the manifests', () => {
  it('fit the schemas, and the check finds a key that does not', { timeout: 120_000 }, async () => {
    expect(await compiled(all)).toBe('');
    const set = structuredClone(one('StatefulSet'));
    set['spec'].template.spec.containers[0].imag = 'x';
    expect(await compiled([set])).toContain(`'"imag"' does not exist`);
    expect(await compiled([{ ...one('StatefulSet'), spec: { replicas: '3' } }])).toContain(
      "'string' is not assignable to type 'number'",
    );
  });

  it('are listed in the kustomization, every one and no other', () => {
    const [kustomization] = documents(join(FOLDER, 'kustomization.yaml')) as { resources: string[] }[];
    const files = readdirSync(FOLDER).filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml');
    expect(kustomization?.resources.toSorted()).toEqual(files.toSorted());
  });

  it('speak of the same pods', () => {
    const set = one('StatefulSet')['spec'];
    const labels = set.template.metadata.labels;
    const selectors = [
      set.selector.matchLabels,
      one('PodDisruptionBudget')['spec'].selector.matchLabels,
      ...all.filter(({ kind }) => kind === 'Service').map(({ spec }) => spec.selector),
      all.find(({ kind, metadata }) => kind === 'NetworkPolicy' && metadata.name === 'sallyport')?.['spec'].podSelector
        .matchLabels,
    ];
    for (const selector of selectors) expect(labels).toMatchObject(selector);
    expect(one('HorizontalPodAutoscaler')['spec'].scaleTargetRef).toMatchObject({
      kind: 'StatefulSet',
      name: one('StatefulSet').metadata.name,
    });
    expect(all.map(({ metadata }) => metadata.name)).toContain(set.serviceName);
    expect(set.template.spec.serviceAccountName).toBe(one('ServiceAccount').metadata.name);
  });

  it('keep the audit log on a volume that outlives the pod, and give the drain its time', () => {
    const { template, volumeClaimTemplates, persistentVolumeClaimRetentionPolicy } = one('StatefulSet')['spec'];
    const { settings } = loadConfigHere({ file: join(FOLDER, 'policy', 'sallyport.yaml'), now: Date.now() });
    const mounts: { name: string; mountPath: string }[] = template.spec.containers[0].volumeMounts;
    const mount = mounts.find(({ mountPath }) => settings.audit.file.startsWith(`${mountPath}/`));
    expect(volumeClaimTemplates.map(({ metadata }: Manifest) => metadata.name)).toContain(mount?.name);
    expect(persistentVolumeClaimRetentionPolicy).toEqual({ whenScaled: 'Retain', whenDeleted: 'Retain' });
    expect(template.spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(settings.limits.drain_timeout_ms);
    expect(settings.listen.map(({ port }) => port)).toEqual([template.spec.containers[0].ports[0].containerPort]);
  });

  it('run the program that the image has, as the user that it has, with nothing to gain', () => {
    const { spec } = one('StatefulSet')['spec'].template;
    const [container] = spec.containers;
    expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 65_532 });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'])
      expect(container[probe].exec.command.slice(0, 3)).toEqual([
        '/usr/local/bin/node',
        '/opt/sallyport/dist/main.js',
        'health',
      ]);
  });
});

describe('monitoring', () => {
  const component = manifests(join(FOLDER, 'monitoring'));
  const [monitor, policy] = ['ServiceMonitor', 'NetworkPolicy'].map((kind) =>
    component.find((each) => each.kind === kind),
  ) as [Manifest, Manifest];
  const { settings } = loadConfigHere({ file: join(FOLDER, 'policy', 'sallyport.yaml'), now: Date.now() });
  const pod = one('StatefulSet')['spec'].template;
  const [container] = pod.spec.containers;
  const [endpoint] = monitor['spec'].endpoints;

  it('fits the schemas of Kubernetes and of the Prometheus operator, and a key that does not is found', {
    timeout: 120_000,
  }, async () => {
    expect(await compiled(component)).toBe('');
    const wrong = structuredClone(monitor);
    wrong['spec'].endpoints[0].tlsConfig.servername = 'x';
    expect(await compiled([wrong])).toContain(`'"servername"' does not exist`);
    const [kustomization] = documents(join(FOLDER, 'monitoring', 'kustomization.yaml')) as { resources: string[] }[];
    expect(kustomization?.resources.toSorted()).toEqual(component.map(({ file }) => file).toSorted());
  });

  it('finds the admin listener of each pod, over TLS, with the token of the Secret that the pods have', () => {
    const { matchLabels } = monitor['spec'].selector;
    const services = all.filter(({ kind, metadata }) => kind === 'Service' && covers(metadata.labels, matchLabels));
    expect(services.map(({ metadata }) => metadata.name)).toEqual(['sallyport-nodes']);
    const [service] = services as [Manifest];
    const { port, targetPort } = service['spec'].ports.find(({ name }: { name: string }) => name === endpoint.port);
    const { containerPort } = container.ports.find(({ name }: { name: string }) => name === targetPort);
    expect([port, containerPort]).toEqual([settings.admin?.port, settings.admin?.port]);
    expect(endpoint.scheme).toBe('https');
    expect(endpoint.tlsConfig.serverName).toBe(`${service.metadata.name}.${namespace}.svc`);
    const secret = pod.spec.volumes.find(({ name }: { name: string }) => name === 'admin').secret.secretName;
    expect([endpoint.authorization.credentials, endpoint.tlsConfig.ca.secret]).toEqual([
      { name: secret, key: 'token' },
      { name: secret, key: 'ca.crt' },
    ]);
    // The alert rules and the dashboard ask for job="sallyport".
    expect(service.metadata.labels?.[monitor['spec'].jobLabel]).toBe('sallyport');
  });

  it('has its files where the policy looks for them, the token as no link', () => {
    const mounts: { name: string; mountPath: string; subPath?: string }[] = container.volumeMounts;
    const admin = mounts.filter(({ name }) => name === 'admin');
    const files = [settings.admin?.tls?.cert, settings.admin?.tls?.key];
    expect(admin).toMatchObject([
      { mountPath: dirname(files[0] ?? ''), readOnly: true },
      { mountPath: settings.admin?.tokenFile, subPath: 'token' },
    ]);
    expect(files.map((file) => basename(file ?? ''))).toEqual(['tls.crt', 'tls.key']);
    // The command of the documents makes all that is asked for, with the name that is asked for.
    const shown = readFileSync(join(ROOT, 'docs', 'deployment.md'), 'utf8');
    for (const key of ['tls.crt', 'tls.key', 'ca.crt', 'token'])
      expect(shown).toMatch(new RegExp(`--from-\\w+=${key}`));
    expect(shown).toContain(`subjectAltName=DNS:${endpoint.tlsConfig.serverName}`);
  });

  it('is let in by the network, and nobody else to that port', () => {
    expect(pod.metadata.labels).toMatchObject(policy['spec'].podSelector.matchLabels);
    expect(policy['spec'].ingress).toHaveLength(1);
    expect(policy['spec'].ingress[0].ports).toEqual([{ port: settings.admin?.port, protocol: 'TCP' }]);
    const others = all.filter(({ kind }) => kind === 'NetworkPolicy').flatMap(({ spec }) => spec.ingress ?? []);
    expect(others.flatMap(({ ports }) => ports.map((each: { port: number }) => each.port))).toEqual([3_128]);
  });
});

describe('what the pods are promised', () => {
  it('they scale by open tunnels, are spread over zones and nodes, and go one at a time', () => {
    const { metrics } = one('HorizontalPodAutoscaler')['spec'];
    expect(metrics.map((each: Manifest) => each['pods']?.metric.name)).toContain('sallyport_tunnels_open');
    expect(one('PodDisruptionBudget')['spec'].maxUnavailable).toBe(1);
    const { spec, metadata } = one('StatefulSet')['spec'].template;
    const spread: { topologyKey: string; labelSelector: { matchLabels: object } }[] = spec.topologySpreadConstraints;
    expect(spread.map(({ topologyKey }) => topologyKey)).toEqual([
      'topology.kubernetes.io/zone',
      'kubernetes.io/hostname',
    ]);
    for (const { labelSelector } of spread) expect(metadata.labels).toMatchObject(labelSelector.matchLabels);
  });

  it('before they end, they wait, with a program that the image has, for a part of their time', async () => {
    const { spec } = one('StatefulSet')['spec'].template;
    const [program, flag, script] = spec.containers[0].lifecycle.preStop.exec.command;
    expect([program, flag]).toEqual(['/usr/local/bin/node', '-e']);
    const waits = Number(/setTimeout\(\(\) => \{\}, ([\d_]+)\)/.exec(script)?.[1]?.replaceAll('_', ''));
    const { settings } = loadConfigHere({ file: join(FOLDER, 'policy', 'sallyport.yaml'), now: Date.now() });
    const { drain_timeout_ms, drain_spread_ms } = settings.limits;
    expect(spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(waits + drain_timeout_ms + drain_spread_ms);
  });
});
