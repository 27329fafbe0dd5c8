// The text of `sallyport env` where hosts are inspected: what makes a tool trust the CA of inspection. Most variables replace the list
// of a tool instead of adding to it, so they name a file that holds the system's certificates too; nothing points at one that is absent.

import { shellQuote } from './env-text.ts';
import type { Tool } from './env-tools.ts';

/** Variables that replace what a tool trusts. */
const REPLACING = [
  'SSL_CERT_FILE',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'REQUESTS_CA_BUNDLE',
  'PIP_CERT',
  'AWS_CA_BUNDLE',
] as const;

/** The system's certificates and the bundle in one file. */
const BOTH = '/etc/ssl/certs/sallyport-both.pem';

/** What is written below the text of a tool; it ends with a line end. */
export function trustText(tool: Tool, bundle: string): string {
  const file = shellQuote(bundle);
  const make = `#   cat /etc/ssl/certs/ca-certificates.crt ${file} > ${BOTH}`;
  const lines = TEXTS[tool]?.({ file, bundle, make }) ?? [
    '# Inspected hosts: what runs there must trust the CA too; `sallyport env --for shell`, java and dockerd say how.',
  ];
  return `${['', ...lines].join('\n')}\n`;
}

interface Names {
  /** Quoted for a shell. */
  readonly file: string;
  readonly bundle: string;
  /** The command that makes BOTH. */
  readonly make: string;
}

const dockerd = ({ file }: Names): string[] => [
  '# Inspected registries: the daemon trusts what lies in the folder of the registry; no restart is needed (port 443: without :PORT):',
  `#   install -D -m 644 ${file} /etc/docker/certs.d/HOST:PORT/ca.crt`,
  '# Builds and containers have a list of their own: COPY the bundle to /usr/local/share/ca-certificates/ and RUN update-ca-certificates.',
];

const TEXTS: Partial<Readonly<Record<Tool, (names: Names) => string[]>>> = {
  shell: ({ file, make }) => [
    '# Inspected hosts: Node.js adds the CA of inspection to its list. The others take a file instead of theirs, which holds both:',
    make,
    `export NODE_EXTRA_CA_CERTS=${file}`,
    `if [ -r ${BOTH} ]; then`,
    ...REPLACING.map((name) => `  export ${name}=${BOTH}`),
    'fi',
  ],
  git: ({ make }) => [
    '# Inspected hosts: git takes a file instead of its own list, so that one holds both.',
    make,
    `#   git config --global http.sslCAInfo ${BOTH}`,
  ],
  npm: ({ file }) => [
    '# Inspected hosts: cafile would replace the list of npm. In its environment this adds to it, for node-gyp and scripts too:',
    `#   export NODE_EXTRA_CA_CERTS=${file}`,
  ],
  pip: ({ make }) => [
    '# Inspected hosts: pip takes a file instead of its own list, so that one holds both.',
    make,
    `# cert = ${BOTH}`,
  ],
  java: ({ file }) => [
    '# Inspected hosts: each Java has a trust store of its own; as who owns the installation:',
    `#   keytool -importcert -noprompt -cacerts -storepass changeit -alias sallyport-inspection -file ${file}`,
    '# keytool takes the first certificate of a file: while the CA is being rotated, split the bundle and import both.',
  ],
  docker: dockerd,
  dockerd,
  systemd: ({ bundle, make }) => [
    '# Inspected hosts: the file must be there before the service starts. SSL_CERT_FILE and the like replace a list:',
    make,
    `Environment="NODE_EXTRA_CA_CERTS=${bundle.replaceAll('%', '%%')}"`,
    ...REPLACING.map((name) => `# Environment="${name}=${BOTH}"`),
  ],
};
