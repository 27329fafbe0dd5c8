// `sallyport platform-ips`: the addresses that Buildkite's webhooks come from, for a firewall in front of an internal Git; and whether
// they have changed since last time.
import { homedir } from 'node:os';
import { join } from 'node:path';
import { httpsGet } from '../../buildkite/https-get.ts';
import { META_URL, metaChange, parseMeta } from '../../buildkite/meta.ts';
import { type MetaCache, readMetaCache, writeMetaCache } from '../../buildkite/meta-cache.ts';
import { type META_FORMATS, type MetaFormat, metaText } from '../../buildkite/meta-text.ts';
import { goesAround, noProxyEntries } from '../../buildkite/no-proxy.ts';
import type { Environment, ProxyUrl } from '../../buildkite/proxy-url.ts';
import { SallyportError } from '../../errors.ts';
import { EXIT } from '../args.ts';
import { fileOption, proxyOption, timeoutOption } from '../client-options.ts';
import { type Input, usage } from '../input.ts';
import type { Ui, World } from '../ui.ts';

const TIMEOUT_DEFAULT_S = 20;
const HTTPS_PORT = 443;
const ANSWER_BYTES_MAX = 1_048_576;

export async function platformIps(input: Input, ui: Ui, world: World): Promise<number> {
  const url = urlOf(input.text('url') ?? META_URL);
  const file = input.text('cache') ?? defaultCache(world.env);
  const before = readMetaCache(file, url.href);
  const { cache, fresh } = await fetched(input, world, url, before);
  writeMetaCache(file, cache);
  const format = (input.text('format') ?? 'text') as (typeof META_FORMATS)[number];
  const change = before === null ? null : metaChange(before.webhook_ips, cache.webhook_ips);
  const changed = change !== null && change.added.length + change.removed.length > 0;
  if (ui.json || format === 'json') {
    ui.object({ ...cache, fresh, changed, added: change?.added ?? [], removed: change?.removed ?? [], cache: file });
  } else if (input.flag('watch')) {
    for (const text of change?.added ?? []) ui.line(`+ ${text}`);
    for (const text of change?.removed ?? []) ui.line(`- ${text}`);
    if (before === null)
      ui.note(`sallyport: the first answer of ${url.href} is kept in ${file}; the next one is compared with it`);
  } else {
    ui.raw(metaText(format satisfies MetaFormat, cache.webhook_ips, url.href));
  }
  return input.flag('watch') && changed ? EXIT.changed : EXIT.ok;
}

async function fetched(
  input: Input,
  world: World,
  url: URL,
  before: MetaCache | null,
): Promise<{ cache: MetaCache; fresh: boolean }> {
  const fetched_at = new Date(world.now()).toISOString();
  const answer = await httpsGet({
    url,
    headers: { Accept: 'application/json', ...(before?.etag ? { 'If-None-Match': before.etag } : {}) },
    proxy: proxyFor(input, world.env, url),
    ca: fileOption(input, 'ca'),
    timeoutMs: timeoutOption(input, TIMEOUT_DEFAULT_S),
    bytesMax: ANSWER_BYTES_MAX,
  }).catch((error: Error) => {
    throw new SallyportError('meta-unreachable', `${url.href} cannot be asked: ${error.message}`, { cause: error });
  });
  if (answer.status === 304 && before !== null) return { cache: { ...before, fetched_at }, fresh: false };
  if (answer.status !== 200) {
    const to = answer.headers.location === undefined ? '' : ` to ${answer.headers.location}, which is not followed`;
    throw new SallyportError('meta-unreachable', `${url.href} answers ${answer.status}${to}`);
  }
  const parsed = parseMeta(answer.body);
  if (!parsed.ok) throw new SallyportError('meta-invalid', `${url.href}: ${parsed.problem}; nothing was changed`);
  const webhook_ips = parsed.ranges.map(({ text }) => text);
  return { cache: { url: url.href, etag: answer.headers.etag ?? null, fetched_at, webhook_ips }, fresh: true };
}

/** --proxy is always taken, the one of the environment where NO_PROXY does not name the host. */
function proxyFor(input: Input, env: Environment, url: URL): ProxyUrl | null {
  const proxy = proxyOption(input, env);
  if (proxy === null || input.text('proxy') !== null) return proxy;
  const around = noProxyEntries(env['no_proxy'] ?? env['NO_PROXY'] ?? '');
  return goesAround(around, url.hostname, url.port === '' ? HTTPS_PORT : Number(url.port)) ? null : proxy;
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === 'https:' && url.username === '' && url.password === '') return url;
  throw usage(
    `--url ${JSON.stringify(text)} is not https://HOST[:PORT]/PATH`,
    'The list becomes firewall rules: it is fetched over TLS alone.',
  );
}

function defaultCache(env: Environment): string {
  return join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'sallyport', 'platform-ips.json');
}
