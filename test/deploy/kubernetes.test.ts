// The manifests against the schemas of Kubernetes, offline: the compiler holds each as a literal against the type of its kind, so that
// an unknown key is an error as well as a wrong value. Then what the manifests say of each other.
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfigHere } from '../../src/config/load.ts';
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

/** What the compiler says of manifests as literals of their kinds. */
async function compiled(list: readonly Manifest[]): Promise<string> {
  const dir = tempDir('manifests');
  const lines = list.flatMap(({ file: _, ...manifest }, index) => {
    const { apiVersion, kind } = manifest as Manifest;
    return [
      `import type { I${kind} as T${index} } from 'kubernetes-models/${apiVersion}/${kind}';`,
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

describe('the compose file', () => {
  it('has a policy that is valid, and a client whose only way out is the proxy', () => {
    const folder = join(DEPLOY, 'compose');
    const [compose] = documents(join(folder, 'compose.yaml')) as {
      services: Record<string, { networks: string[] }>;
      networks: Record<string, { internal?: boolean }>;
    }[];
    expect(
      loadConfigHere({ file: join(folder, 'sallyport.yaml'), now: Date.now() }).settings.usage.store,
    ).toMatchObject({ host: 'store' });
    expect(compose?.services['demo-agent']?.networks).toEqual(['builds']);
    expect(compose?.networks['builds']?.internal).toBe(true);
  });
});
