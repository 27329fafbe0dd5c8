// The shapes of the admin API: queries are read by them, answers are documented by them, and tests hold the real answers to
// them. Answers of the report and of suggest are those of the commands with --json; their outer members stand here.
import { z } from 'zod';
import { DIMENSIONS } from '../report/dimension.ts';
import { parseMoment } from '../report/moment.ts';

const text = z.string().max(1_024);
const iso = z.string().describe('RFC 3339, UTC.');
const count = z.number().int().min(0);
const glob = z.string().min(1).max(253).describe('A glob: `*` stands for any characters.');
const globOrNone = glob.optional().transform((value) => value ?? null);

function moment(about: string, otherwise: string) {
  return z
    .string()
    .max(40)
    .default(otherwise)
    .describe(`${about} A span back from now (90m, 24h, 7d, 4w), or a date or time.`)
    .transform((given, context) => {
      const at = given === 'now' ? Date.now() : parseMoment(given, Date.now());
      if (at !== null) return at;
      context.addIssue({ code: 'custom', message: 'is no moment: write 24h, 7d, or 2026-11-24T09:30Z' });
      return z.NEVER;
    });
}

function whole(about: string, otherwise: number, max: number, min = 1) {
  return z.coerce.number().int().min(min).max(max).default(otherwise).describe(about);
}

const flag = z
  .enum(['true', 'false'])
  .default('false')
  .transform((value) => value === 'true');

export const eventsQuery = z.strictObject({
  denied: flag.describe('Only what was refused, or would have been.'),
  host: globOrNone,
  pipeline: globOrNone,
  after: z
    .string()
    .max(8_192)
    .optional()
    .describe('Id of the last event that the reader has; the header Last-Event-ID says the same.'),
  last: whole('Without `after`: so many of the last events that fit come first.', 0, 10_000, 0),
});

export const tunnelsQuery = z.strictObject({
  host: globOrNone,
  pipeline: globOrNone,
  limit: whole('How many are listed, oldest first.', 200, 2_000),
});

export const policyQuery = z.strictObject({
  offset: whole('Place of the first rule.', 0, 10_000_000, 0),
  limit: whole('How many rules.', 1_000, 2_000),
});

export const explainQuery = z.strictObject({
  target: z.string().min(1).max(4_096).describe('HOST, HOST:PORT, http://… or https://…'),
  method: z
    .string()
    .regex(/^[A-Za-z]{1,20}$/)
    .optional(),
  as: text
    .optional()
    .describe('The identity that is asked for: KEY=VALUE with commas, such as pipeline=web,queue=default.'),
});

const window = { from: moment('Begin of the window.', '7d'), to: moment('End of the window.', 'now') };
const scope = { pipeline: text.optional(), job: text.optional() };

export const reportQuery = z.strictObject({
  ...window,
  ...scope,
  by: z.enum(DIMENSIONS).optional().describe('Sums by who asked, as `breakdown`.'),
});

export const suggestQuery = z.strictObject({
  from: moment('Begin of the window.', '14d'),
  to: moment('End of the window.', 'now'),
  pipeline: text.optional(),
  min_builds: whole('Fewer jobs than this are a matter for review.', 2, 999_999),
  scoped: flag.describe('Lets through only the pipeline that asked, where it is one and proven.'),
  unused_after: whole('Days after which an unused entry is commented out.', 30, 999_999),
});

const nearest = z.object({ pattern: z.string(), rule: z.string().nullable(), why: z.string(), fix: z.string() });
const identity = z.object({
  kind: z.enum(['anonymous', 'claimed', 'address', 'user', 'certificate', 'job']),
  attributes: z.record(z.string(), z.string()),
  claimed: z.record(z.string(), z.string()),
});

const requestLine = z.strictObject({ text: z.string(), origin: z.string().describe('file:line') });

export const statusAnswer = z.strictObject({
  node: z.string(),
  version: z.string(),
  engine: z.enum(['js', 'native']),
  started: iso,
  not_ready: z.string().nullable().describe('Why /readyz says no; null where it says yes.'),
  draining: z.boolean(),
  mode: z.enum(['enforce', 'observe']),
  policy: z.strictObject({
    digest: z.string(),
    rules: count,
    since: iso,
    reloads: z.strictObject({ loaded: count, refused: count }),
  }),
  open: z.strictObject({ requests: count, tunnels: count, connections: count }),
  audit: z.strictObject({
    lines: count,
    bytes: count,
    failures: count,
    dropped: count,
    waiting: count,
    last_error: z.string().nullable(),
  }),
  store: z.strictObject({ lag_bytes: count, lag_seconds: z.number().nullable() }),
  dns: z.strictObject({ hits: count, misses: count, merged: count, failures: count, pending: count, entries: count }),
  limits: z.array(z.strictObject({ name: z.string(), value: count, hits: count, about: z.string() })),
  workers: z
    .array(
      z.strictObject({
        worker: count.describe('Counts from 1.'),
        state: z.enum(['starting', 'ready', 'waiting', 'ended']).describe('waiting: it died, and is started anew.'),
        pid: count,
        policy: z.string().describe('Digest of the policy that is in force there.'),
        not_ready: z.string().nullable(),
      }),
    )
    .optional()
    .describe(
      'Where the proxy runs with workers: how each stands. The sums of the other members are over all of them.',
    ),
});

export const rule = z.strictObject({
  effect: z.enum(['allow', 'deny']),
  pattern: z.string(),
  ports: z.array(z.number()).nullable().describe('null: every port.'),
  protocol: z.string(),
  mode: z.enum(['enforce', 'observe']).nullable(),
  group: z.string().nullable(),
  need: z.enum(['required', 'optional']).nullable(),
  rule: z.string(),
  origin: z.string().describe('file:line'),
  for: z.record(z.string(), z.array(z.string())).nullable(),
  addresses: z.array(z.string()),
  expires: iso.nullable(),
  expired: z.boolean(),
  reason: z.string().nullable(),
  owner: z.string().nullable(),
  layer: z.string(),
  inspect: z
    .strictObject({
      allow: z.array(requestLine),
      deny: z.array(requestLine),
      max_upload_bytes: count.nullable(),
      max_response_bytes: count.nullable(),
      websocket: z.boolean(),
      upstream_ca: z.string().nullable(),
    })
    .nullable()
    .describe('What may pass below the host; null: it is not inspected.'),
});

export const policyAnswer = z.strictObject({
  digest: z.string(),
  mode: z.enum(['enforce', 'observe']),
  total: count,
  offset: count,
  rules: z.array(rule),
});

export const explainAnswer = z.strictObject({
  host: z.string(),
  port: z.number(),
  kind: z.enum(['connect', 'forward']),
  method: z.string(),
  path: z.string().optional().describe('Of an https:// URL; values of the query are left out.'),
  verdict: z.enum(['allow', 'deny', 'observe']),
  reason: z.string(),
  status: z.number().nullable(),
  rule: z
    .strictObject({
      id: z.string(),
      origin: z.string(),
      group: z.string().nullable(),
      pattern: z.string(),
      layer: z.string(),
    })
    .nullable(),
  inspected: z.boolean().describe('Whether the rule looks below the host.'),
  line: requestLine.nullable().describe('The line below the rule that decided; null where none did.'),
  protocol: z.string().nullable(),
  nearest: nearest.nullable(),
  hint: z.string().nullable(),
  policy: z.string(),
});

export const tunnel = z.strictObject({
  id: z.string(),
  host: z.string().nullable(),
  port: z.number().nullable(),
  method: z.string(),
  verdict: z.enum(['allow', 'observe']),
  reason: z.string(),
  group: z.string().nullable(),
  rule: z.string().nullable(),
  client: z.string(),
  identity,
  address: z.string().nullable().describe('Dialled; null before that.'),
  open: z.boolean().describe('false while it is being dialled.'),
  bytes_up: count,
  bytes_down: count,
  age_s: z.number(),
});

export const tunnelsAnswer = z.strictObject({ tunnels: z.array(tunnel), total: count });

export const reportAnswer = z
  .looseObject({
    window: z.object({ from: iso.nullable(), to: iso.nullable(), requested: z.object({ from: iso, to: iso }) }),
    required: z.array(z.looseObject({ host: z.string(), state: z.string() })),
    optional: z.array(
      z.looseObject({ group: z.string(), enabled: z.boolean(), state: z.string(), hosts: z.array(z.looseObject({})) }),
    ),
    other: z.array(z.looseObject({ host: z.string() })),
    denied: z.array(
      z.looseObject({ host: z.string(), port: z.number(), count, reason: z.string(), nearest: nearest.nullable() }),
    ),
    pipelines: z.array(z.looseObject({ pipeline: z.string() })),
    totals: z.looseObject({ requests: count }),
    group_timelines: z.record(z.string(), z.array(count)).describe('Tunnels of each group in the spans of `timeline`.'),
  })
  .describe('As `sallyport report --json`, with timeline and group_timelines.');

export const suggestAnswer = z
  .looseObject({ lines: z.array(z.looseObject({})), diff: z.string() })
  .describe('As `sallyport suggest --json`.');

export const errorAnswer = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string(), hint: z.string() }),
});
