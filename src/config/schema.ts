// The shape of config/sallyport.yaml: every key with its type and one sentence; the JSON Schema is made from it.
// PURE. It knows single values and no relation between them: those are config.ts and rules.ts.
// Unknown keys are errors everywhere: a typo in a key must not silently open or close something.
import { z } from 'zod';
import { LIMIT_NAMES, LIMIT_SPECS, WORKERS_MAX } from '../limits.ts';
import { MODES, PROTOCOLS } from '../policy/compile.ts';
import { METHOD } from '../policy/inspect-conditions.ts';
import { ATTRIBUTES } from '../policy/record.ts';
import { attributes, byName, oidc, tls, users } from './identity-schema.ts';
import { inspectionKey, inspectKeys } from './inspect-schema.ts';
import { layersKey } from './layers-schema.ts';
import * as leaf from './leaf.ts';
import { placeKey } from './second-place-schema.ts';
import { policyKey } from './source-schema.ts';

export const ENGINES = ['auto', 'js', 'native'] as const;
export const ON_RELOAD = ['keep', 'cut'] as const;
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

/** What `accept` may name: the codes of the lint without `lint-`. */
export const LINTS = [
  'expired',
  'duplicate',
  'shadowed',
  'dead',
  'wide-host',
  'wide-addresses',
  'wide-ports',
  'wide-protocol',
  'multi-tenant',
  'doh',
  'exfiltration',
  'metadata',
  'address-identity',
  'loose-selector',
  'inspect-all',
] as const;
export type Lint = (typeof LINTS)[number];

const mode = (about: string) => z.enum(MODES).describe(about);
const ranges = (about: string) => z.array(leaf.cidr()).describe(about);
const ports = z
  .array(z.int().min(1).max(65_535))
  .min(1)
  .describe('Ports. An allow without ports means 443, a deny without ports means every port.');

const glob = leaf.line('A value; * stands for any characters.');
const selector = (about: string) =>
  z
    .strictObject(
      byName(ATTRIBUTES, (name) =>
        z
          .union([glob.transform((one) => [one]), z.array(glob).min(1)])
          .describe(`Which ${name}: one glob, or a list of which one must match.`)
          .optional(),
      ),
    )
    .describe(about);

const stated = {
  for: selector(
    'Who the rule is for: every attribute named must be proven and match. Without it, everyone.',
  ).optional(),
  expires: leaf.lastDay('The last day (UTC, inclusive) on which the rule has effect: 2026-12-31.').optional(),
  reason: leaf.line('Why the rule exists.').optional(),
  owner: leaf.line('Who answers for the rule.').optional(),
  accept: z
    .array(z.enum(LINTS))
    .min(1)
    .describe('Findings of `sallyport check` that are meant so; `reason` must say why: [multi-tenant].')
    .optional(),
};

const parameter = z
  .union([leaf.line('One value.'), z.array(leaf.line('One value.')).min(1)])
  .describe('One value, or a list: each one is let through.');

const allowMapping = z
  .strictObject({
    host: leaf
      .pattern('An exact host, *.domain (one or more labels below it, never itself), or an IP address.')
      .optional(),
    group: leaf.line('A group of the catalog: `sallyport catalog list`.').optional(),
    ports: ports.optional(),
    protocol: z
      .enum(PROTOCOLS)
      .describe(
        'What may be spoken: tls (the server name is checked), http (forwarded, never tunnelled), ssh, any (no content check). Default: http on port 80, ssh on 22, else tls.',
      )
      .optional(),
    addresses: ranges('Address ranges that the host may resolve into besides public addresses.').optional(),
    with: z
      .record(z.string(), parameter)
      .describe('Parameters of the group: `sallyport catalog show GROUP`.')
      .optional(),
    i_understand: leaf
      .line('States that you know what a dangerous group does; only groups that ask for it take it.')
      .optional(),
    mode: mode(
      'observe puts the rule on trial: what it matches passes and is recorded as would-deny. enforce keeps its checks in observe mode too.',
    ).optional(),
    ...inspectKeys,
    ...stated,
  })
  .meta({ oneOf: [{ required: ['host'] }, { required: ['group'] }] });

export const allowItem = z.union([
  leaf.ruleText('A rule in short: github.com, *.acme.dev:8443.'),
  allowMapping.describe('A rule: host or group, and what it is limited to.'),
]);

export const denyItem = z.union([
  leaf.ruleText('A host that is always refused, on every port or on the one given.'),
  z
    .strictObject({
      host: leaf.pattern('An exact host, *.domain, or an IP address.'),
      ports: ports.optional(),
      ...stated,
    })
    .describe('A deny rule. Deny always wins.'),
]);

export const testItem = z
  .strictObject({
    allow: leaf
      .testTarget(
        'host:port (CONNECT; on port 80 a forwarded GET), an http:// URL, or an https:// URL of an inspected host that must be allowed.',
      )
      .optional(),
    deny: leaf.testTarget('host:port or a URL that must be refused where the policy is enforced.').optional(),
    observe: leaf.testTarget('host:port or a URL that must pass as would-deny.').optional(),
    as: attributes('Who asks: proven attributes. Without it, an anonymous client.').optional(),
    method: z
      .string()
      .regex(METHOD, 'a method is written in capitals')
      .describe('The method: CONNECT, or the method of a forwarded or inspected request.')
      .optional(),
  })
  .meta({ oneOf: [{ required: ['allow'] }, { required: ['deny'] }, { required: ['observe'] }] });

const limits = z.strictObject(
  byName(LIMIT_NAMES, (name) => {
    const spec = LIMIT_SPECS[name];
    return z.int().min(spec.min).max(spec.max).describe(spec.about).meta({ default: spec.default }).optional();
  }),
);

const clients = z.strictObject({
  from: z
    .array(leaf.cidr())
    .min(1)
    .describe('Who may use the proxy: source address ranges. Default: this machine only.')
    .optional(),
  groups: z
    .array(
      z.strictObject({
        from: z.array(leaf.cidr()).min(1).describe('Source address ranges.'),
        set: attributes('Attributes that clients from there have: { queue: canary }.'),
      }),
    )
    .describe('Attributes by source address, for `for:`. The first group whose range holds the address counts.')
    .optional(),
});

const admin = z
  .union([
    leaf
      .adminEndpoint('Address and port, unix:PATH, or off.')
      .transform((listen) => (listen === null ? null : { listen })),
    z.literal(false).transform(() => null),
    z.strictObject({
      listen: leaf.adminListen('Address and port, or unix:PATH. Default 127.0.0.1:3129.').optional(),
      token_file: leaf
        .filePath(
          'The file of the token that its pages ask for; made at the first start. Default: audit.file with .admin-token.',
        )
        .optional(),
      tls: z
        .strictObject({
          cert: leaf.filePath('The certificate and its chain, PEM.'),
          key: leaf.filePath('Its private key, PEM.'),
        })
        .describe('Needed where other machines reach it.')
        .optional(),
    }),
  ])
  .describe(
    'Where health, metrics and the dashboard answer: "address:port", "unix:PATH", { listen, token_file, tls }, or off. Default 127.0.0.1:3129.',
  );

/** The keys of the file. Each is parsed by itself, so that one bad key does not hide the problems of another. */
export const SHAPE = {
  version: z.literal(1).describe('The version of this format: 1.'),
  listen: z
    .union([
      leaf.endpoint('Address and port to listen on.').transform((one) => [one]),
      z.array(leaf.endpoint('Address and port to listen on.')).min(1),
    ])
    .describe('Where the proxy listens: "address:port", or a list. Default 127.0.0.1:3128. Port 0: the kernel chooses.')
    .optional(),
  admin: admin.optional(),
  mode: mode(
    'enforce refuses what is not allowed; observe lets it pass and records it as would-deny. Default enforce.',
  ).optional(),
  clients: clients.describe('Who may use the proxy.').optional(),
  users: users.optional(),
  oidc: oidc.optional(),
  tls: tls.optional(),
  proxy_protocol: z
    .strictObject({
      from: z
        .array(leaf.cidr())
        .min(1)
        .describe('Load balancers: each of their connections must begin with a PROXY protocol header of version 2.'),
    })
    .describe('Who the client is, where a load balancer stands before the proxy.')
    .optional(),
  allow: z.array(allowItem).describe('What may be reached: hosts and groups of the catalog.').optional(),
  deny: z.array(denyItem).describe('What is refused whatever allow says.').optional(),
  modes: z
    .array(z.strictObject({ for: selector('Whom the mode is for.'), mode: mode('Their mode.') }))
    .describe('The mode by who asks; the first entry that selects the client counts.')
    .optional(),
  observe: z
    .strictObject({
      addresses: ranges('Internal ranges that a would-deny request may reach in observe mode.').optional(),
    })
    .describe('What observe mode lets pass besides public addresses.')
    .optional(),
  private_upstreams: z
    .array(
      z.strictObject({
        suffix: leaf.pattern('A domain, without *: it and all names below it.'),
        addresses: z.array(leaf.cidr()).min(1).describe('Ranges that these names may resolve into.'),
      }),
    )
    .describe('Allowed names that resolve inside the network, such as VPC endpoints.')
    .optional(),
  self: z
    .array(leaf.addressAndPort('address:port, or an address alone: then the ports of the listeners.', 0))
    .describe(
      'Further addresses of this proxy (virtual IPs), never reached through it; an address alone stands with the ports of the listeners. The listeners themselves are known already.',
    )
    .optional(),
  metadata_addresses: ranges(
    'Further addresses of instance metadata, which is never reached through the proxy.',
  ).optional(),
  dns: z
    .union([
      z.literal('system').describe('The resolver of the system: hosts file and nsswitch count.'),
      z
        .strictObject({
          servers: z
            .array(leaf.addressAndPort('address:port of a DNS server; without a port 53.', 53))
            .min(1)
            .max(8)
            .describe('The servers, asked in this order.'),
        })
        .describe('DNS servers to ask directly.'),
    ])
    .describe('How names are resolved: system, or { servers: ["10.0.0.2:53"] }. Default system.')
    .optional(),
  limits: limits.describe('Bounds; each has a default that fits a proxy for some thousand agents.').optional(),
  audit: z
    .strictObject({
      file: leaf.filePath('The audit log. Default data/audit.jsonl. Relative to the working directory.').optional(),
      when_full: z
        .enum(['refuse', 'drop-and-mark'])
        .describe(
          'When a record cannot be written: refuse every request, or let pass and mark the gap. Default refuse.',
        )
        .optional(),
      sync: z
        .enum(['none', 'interval', 'batch'])
        .describe(
          'When records are forced to the disk: every limits.audit_sync_interval_ms (interval), when the kernel likes (none), or before each request goes on, together with those of the same moment (batch). Default interval.',
        )
        .optional(),
      rotate_bytes: z
        .union([z.literal(0), z.int().min(1_048_576).max(1_099_511_627_776)])
        .describe('Size at which the file is rotated by the proxy itself, 1 MiB at least; 0: never. Default 0.')
        .optional(),
      ship: placeKey(
        'Closed segments are copied there, packed with gzip, with a checkpoint of how far the log had come.',
      ).optional(),
      checkpoints: placeKey(
        'The checkpoints are written there too, in other hands than the log and its copies: dir or s3, and key.',
      ).optional(),
    })
    .describe('The record of every request.')
    .optional(),
  usage: z
    .strictObject({
      store: leaf
        .storePlace(
          'The usage store: a SQLite file, relative to the working directory, or postgres://USER@HOST/DATABASE for many proxies. Default data/usage.db.',
        )
        .optional(),
      password_file: leaf
        .filePath('A file whose first line is the password for a PostgreSQL store; read at each connection.')
        .optional(),
      keep: z
        .strictObject({
          hourly: leaf
            .days('Days that counts are kept by the hour; older ones are summed up by the day. Default 90d.')
            .optional(),
          daily: leaf.days('Days after which counts are deleted. Default 400d.').optional(),
        })
        .describe('How long counts are kept; the audit log is not touched.')
        .optional(),
    })
    .describe('What reports are made from; it can be made anew from the audit log.')
    .optional(),
  engine: z
    .enum(ENGINES)
    .describe(
      'What moves the bytes: auto (the native engine where there is one that works, else the JavaScript one), js, or native (its absence is an error). Default auto.',
    )
    .optional(),
  workers: z
    .union([z.int().min(1).max(WORKERS_MAX), z.literal('auto')])
    .describe(
      'Processes that serve together on the same listeners: a number, or auto for one each processor. Each has an audit log of its own, and the limits in all are divided among them. Default 1.',
    )
    .optional(),
  plain_http: z
    .boolean()
    .describe('Whether http:// requests are forwarded, where a rule has protocol http or any. Default true.')
    .optional(),
  inspection: inspectionKey.optional(),
  on_reload: z
    .enum(ON_RELOAD)
    .describe(
      'What becomes of open tunnels and requests that a new policy refuses: keep lets them end by themselves, cut resets them. Default keep.',
    )
    .optional(),
  watch: z
    .boolean()
    .describe(
      'Whether a change of this file, of a file in catalog.d, of a layer or of the policy that it names reloads by itself, without SIGHUP. They are looked at every limits.watch_interval_ms. Default true.',
    )
    .optional(),
  expected_denials: z
    .array(leaf.pattern('A host that is refused and stays so.'))
    .describe('Hosts that are refused and kept out of the to-do list of the reports.')
    .optional(),
  help: z
    .strictObject({
      owner: leaf.line('The team that owns the policy.').optional(),
      contact: leaf.line('Where it is reached: a chat channel, a mail address.').optional(),
      request_url: leaf
        .requestUrl('A form for new rules; {host}, {port}, {pipeline} and {job} are filled in.')
        .optional(),
    })
    .describe('Stands in every refusal, so that a build engineer knows whom to ask.')
    .optional(),
  tests: z.array(testItem).describe('Requests whose verdict must hold; a failing one refuses the file.').optional(),
  log: z
    .strictObject({ level: z.enum(LOG_LEVELS).describe('The least level that is written. Default info.').optional() })
    .describe('The operational log, on standard error.')
    .optional(),
  node: leaf.line('The name of this proxy in its records. Default: the host name.', 128).optional(),
  policy: policyKey.optional(),
  layers: layersKey({ selector, accept: stated.accept }).optional(),
  catalog: z
    .strictObject({
      dir: leaf
        .filePath('A folder with own catalog files. Default: catalog.d beside this file, where it exists.')
        .optional(),
      keys: z
        .array(leaf.filePath('An Ed25519 public key in PEM.'))
        .max(16)
        .describe('Who may sign a catalog that `sallyport catalog accept FILE` takes over.')
        .optional(),
    })
    .describe('Catalog files of your own besides the shipped ones, and whose updates of those are accepted.')
    .optional(),
};

export type Key = keyof typeof SHAPE;
export type Raw = { readonly [K in Key]?: z.output<(typeof SHAPE)[K]> };
export type AllowItem = z.output<typeof allowItem>;
export type AllowMapping = z.output<typeof allowMapping>;
export type DenyItem = z.output<typeof denyItem>;
export type TestItem = z.output<typeof testItem>;

export const KEYS = Object.keys(SHAPE) as readonly Key[];

/** The whole file as one schema: for the JSON Schema that editors read. */
export const FILE_SCHEMA = z.strictObject(SHAPE);
