// The text of `sallyport env` for each tool: the variables, file or commands it reads, and in comments what it gets wrong.
// Every value has been parsed before it comes here; quoting is for the place it is written to.

import { hostText } from '../policy/authority.ts';
import { agentStackK8s, buildkitd, CLUSTER_NAMES, containerd, dockerd, elasticCiStack, ssh } from './env-hosts.ts';
import { json, shellQuote, type ToolInput, unit, variables } from './env-text.ts';

/** What --for takes. */
export const TOOLS = [
  'shell',
  'git',
  'ssh',
  'npm',
  'pip',
  'docker',
  'dockerd',
  'containerd',
  'buildkitd',
  'java',
  'systemd',
  'kubernetes',
  'elastic-ci-stack',
  'agent-stack-k8s',
] as const;
export type Tool = (typeof TOOLS)[number];

/** What to write for a tool; it ends with a line end. */
export function toolText(tool: Tool, input: ToolInput): string {
  return `${TEXTS[tool](input).join('\n')}\n`;
}

const TEXTS: Readonly<Record<Tool, (input: ToolInput) => string[]>> = {
  shell: (input) => [
    '# Both cases: curl reads only http_proxy (a CGI server could be tricked into setting HTTP_PROXY), others only HTTP_PROXY.',
    '# NO_PROXY names the metadata addresses one by one: through a proxy they would answer for the proxy.',
    ...variables(input).map(([name, value]) => `export ${name}=${shellQuote(value)}`),
  ],
  git: ({ url }) => [
    '# http.proxy serves https:// remotes too. Hosts in NO_PROXY still go around it.',
    `git config --global http.proxy ${shellQuote(url)}`,
    '# git sends its first CONNECT without credentials and answers a 407 only with the method named here.',
    'git config --global http.proxyAuthMethod basic',
    '# ssh:// and git@ remotes ignore http.proxy. Use https, or `sallyport env --for ssh` (needs a rule with protocol: ssh):',
    "#   git config --global url.'https://github.com/'.insteadOf git@github.com:",
  ],
  npm: ({ url, noProxy }) => [
    '# ~/.npmrc or .npmrc of the project',
    `proxy=${url}`,
    `https-proxy=${url}`,
    `noproxy=${noProxy.join(',')}`,
    '# node-gyp, postinstall scripts and yarn berry do not read .npmrc: set the variables of `sallyport env` as well.',
  ],
  pip: ({ url }) => [
    '# ~/.config/pip/pip.conf or /etc/pip.conf',
    '[global]',
    `proxy = ${url}`,
    '# pip has no key for exceptions: NO_PROXY comes from the environment (`sallyport env`).',
    '# Wheels come from another host than the index: the policy needs group pypi-files besides pypi.',
  ],
  docker: (input) => [
    '# 1. The daemon pulls images itself and sees neither your shell nor ~/.docker: /etc/docker/daemon.json (Docker 23 or later),',
    '#    then restart it. Older daemons: `sallyport env --for systemd` as a drop-in of docker.service.',
    ...json({ proxies: { 'http-proxy': input.url, 'https-proxy': input.url, 'no-proxy': input.noProxy.join(',') } }),
    '# 2. Builds and containers get the variables from ~/.docker/config.json of the user who runs docker:',
    ...json({
      proxies: { default: { httpProxy: input.url, httpsProxy: input.url, noProxy: input.noProxy.join(',') } },
    }),
    '# Inside a container 127.0.0.1 is the container: give --proxy an address that containers reach.',
    '# Never pass the proxy by ENV in a Dockerfile: it stays in the image, with the credentials in the URL.',
  ],
  java: ({ host, port, noProxy }) => [
    '# Java ignores HTTPS_PROXY. JAVA_TOOL_OPTIONS reaches every JVM, Gradle and Maven daemons included.',
    '# nonProxyHosts is separated by | and IPv6 needs brackets; http.nonProxyHosts counts for https too.',
    '# disabledSchemes= : Java refuses to send Basic credentials through a tunnel unless this list is empty.',
    `export JAVA_TOOL_OPTIONS=${shellQuote(
      [
        `-Dhttp.proxyHost=${host}`,
        `-Dhttp.proxyPort=${port}`,
        `-Dhttps.proxyHost=${host}`,
        `-Dhttps.proxyPort=${port}`,
        `-Dhttp.nonProxyHosts=${noProxy.map(hostText).join('|')}`,
        '-Djdk.http.auth.tunneling.disabledSchemes=',
      ].join(' '),
    )}`,
    '# User and password cannot be given by property; a claimed pipeline and job are lost for Java clients.',
  ],
  systemd: (input) => [
    '# /etc/systemd/system/buildkite-agent.service.d/proxy.conf, then: systemctl daemon-reload && systemctl restart buildkite-agent',
    '# A service sees no shell profile. % is doubled, because systemd expands it.',
    ...unit(input),
  ],
  kubernetes: (input) => [
    '# env of each container that goes out (with agent-stack-k8s: pod-spec-patch, for agent, checkout and command containers).',
    '# NO_PROXY must also hold what stays in the cluster: .svc, .cluster.local and the service range of YOUR cluster,',
    '# else the API server is asked through the proxy. 127.0.0.1 is the pod: give --proxy a Service or node address.',
    'env:',
    ...variables(input, CLUSTER_NAMES).flatMap(([name, value]) => [
      `  - name: ${name}`,
      `    value: ${JSON.stringify(value)}`,
    ]),
  ],
  ssh,
  dockerd,
  containerd,
  buildkitd,
  'elastic-ci-stack': elasticCiStack,
  'agent-stack-k8s': agentStackK8s,
};
