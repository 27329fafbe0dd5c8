// The text of `sallyport env` for daemons and for the stacks that agents come in: where each reads its variables, and what it
// gets wrong. env-tools.ts has the tools of a job.
import { json, shellQuote, type ToolInput, unit, variables } from './env-text.ts';

/** In a cluster, what must stay inside it. */
export const CLUSTER_NAMES = ['.svc', '.cluster.local'] as const;

export function ssh({ place }: ToolInput): string[] {
  return [
    '# ~/.ssh/config of the user whose jobs use git@ and ssh:// remotes. Rules with `protocol: ssh` must allow these hosts.',
    '# github.com, gitlab.com and bitbucket.org answer SSH on port 443 of another name (group github-ssh has the first).',
    'Host github.com',
    '  HostName ssh.github.com',
    '  Port 443',
    'Host gitlab.com',
    '  HostName altssh.gitlab.com',
    '  Port 443',
    'Host bitbucket.org',
    '  HostName altssh.bitbucket.org',
    '  Port 443',
    '# Every host goes through the proxy but this one; add the hosts that are reached directly.',
    'Host * !localhost',
    `  ProxyCommand sallyport connect --proxy ${place} %h %p`,
    '# Credentials would stand in the process list: --credentials-file FILE, or SALLYPORT_PROXY_CREDENTIALS in the environment.',
    '# The host keys differ by name: put those of ssh.github.com:443 into known_hosts (ssh-keyscan cannot go through a proxy).',
  ];
}

export function dockerd(input: ToolInput): string[] {
  return [
    '# /etc/systemd/system/docker.service.d/http-proxy.conf, then: systemctl daemon-reload && systemctl restart docker',
    '# The daemon pulls and pushes images and fetches what `docker build` of the old builder ADDs. % is doubled for systemd.',
    ...unit(input),
    '# Or, with Docker 23 and later, in /etc/docker/daemon.json (it wins over the variables):',
    ...json({
      proxies: { 'http-proxy': input.url, 'https-proxy': input.url, 'no-proxy': input.noProxy.join(',') },
    }).map((line) => `#   ${line}`),
    '# See what it uses: docker info --format "{{.HTTPSProxy}}". Registries inside the network go into no-proxy.',
  ];
}

export function containerd(input: ToolInput): string[] {
  return [
    '# /etc/systemd/system/containerd.service.d/http-proxy.conf, then: systemctl daemon-reload && systemctl restart containerd',
    '# On a Kubernetes node this is who pulls the images (kubelet only asks for them); k3s and RKE2 read',
    '# /etc/systemd/system/k3s.service.env with CONTAINERD_HTTPS_PROXY instead. % is doubled for systemd.',
    ...unit(input, CLUSTER_NAMES),
    "# NO_PROXY must also hold the cluster's service and pod ranges and the registries inside the network.",
  ];
}

export function buildkitd(input: ToolInput): string[] {
  const options = variables(input).map(([name, value]) => `  --driver-opt ${shellQuote(`"env.${name}=${value}"`)} \\`);
  return [
    '# A builder of docker buildx runs buildkitd in a container of its own, which sees none of your variables:',
    'docker buildx create --use --name through-proxy \\',
    ...options,
    '  --driver docker-container',
    '# buildkitd as a service: /etc/systemd/system/buildkit.service.d/http-proxy.conf with the lines of --for containerd.',
    '# RUN steps get the variables as build arguments, which BuildKit keeps out of the image and of the cache key:',
    '#   docker buildx build --build-arg HTTPS_PROXY --build-arg HTTP_PROXY --build-arg NO_PROXY .',
    '# Inside the container 127.0.0.1 is the container: give --proxy an address that containers reach.',
  ];
}

export function elasticCiStack(input: ToolInput): string[] {
  const bare = { ...input, noProxy: [...input.noProxy, '.compute.internal'] };
  return [
    '# 1. Parameter AgentEnvFileUrl: put these lines on S3 or https and name the URL. They reach buildkite-agent and its jobs;',
    '#    the instance role must be able to read the object. Nothing here is doubled or exported: it is an EnvironmentFile.',
    ...variables(bare).map(([name, value]) => `${name}="${value}"`),
    '',
    '# 2. Parameter BootstrapScriptUrl: a script that runs at boot, for dockerd, which pulls images without the agent:',
    ...[
      '#!/bin/bash',
      'set -euo pipefail',
      'mkdir -p /etc/systemd/system/docker.service.d',
      "cat >/etc/systemd/system/docker.service.d/http-proxy.conf <<'UNIT'",
      ...unit(bare),
      'UNIT',
      'systemctl daemon-reload',
      'systemctl restart docker',
    ].map((line) => `#    ${line}`),
    '# 3. The boot itself (cfn-signal, SSM, S3, the autoscaling API) runs before either and needs a way out of its own:',
    '#    VPC endpoints for s3, ssm, cloudformation, autoscaling, logs; their addresses belong into private_upstreams.',
  ];
}

export function agentStackK8s(input: ToolInput): string[] {
  const env = variables(input, CLUSTER_NAMES);
  const patch = ['agent', 'checkout', 'container-0'].flatMap((name) => [
    `      - name: ${name}`,
    '        env:',
    ...env.flatMap(([key, value]) => [`          - name: ${key}`, `            value: ${JSON.stringify(value)}`]),
  ]);
  return [
    '# values.yaml of the Helm chart: pods of jobs. A job with several command containers has container-1, container-2 … too.',
    'config:',
    '  pod-spec-patch:',
    '    containers:',
    ...patch,
    '# The controller asks the Agent API too. Its Deployment, by `kubectl edit` or a kustomize patch:',
    `#   kubectl -n buildkite set env deployment/agent-stack-k8s ${env.map(([key, value]) => `${key}=${shellQuote(value)}`).join(' ')}`,
    "# NO_PROXY must also hold the service range of YOUR cluster (the API server's address), else the controller asks it here.",
    '# Images are pulled by containerd on the node: `sallyport env --for containerd`. 127.0.0.1 is the pod: give --proxy a Service.',
  ];
}
