// `sallyport env`: what makes tools use the proxy, and what must go around it. The metadata addresses stand in NO_PROXY
// literally (tools disagree about ranges there): through a proxy they would answer with the proxy's own credentials.
import { hostname } from 'node:os';
import { parseProxyUrl } from '../../buildkite/proxy-url.ts';
import type { NeverProxy } from '../../catalog/catalog.ts';
import { endpointText, type Settings } from '../../config/config.ts';
import { EXIT } from '../args.ts';
import type { ToolInput } from '../env-text.ts';
import { type Tool, toolText } from '../env-tools.ts';
import { trustText } from '../env-trust.ts';
import { type Input, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

export function env(input: Input, ui: Ui, world: World): number {
  const loaded = loadFor(input, ui, world, { quiet: true });
  const tool = (input.text('for') ?? 'shell') as Tool;
  const given = input.text('proxy');
  const proxy = given === null ? proxyOf(loaded.settings) : parseProxy(given);
  const facts: ToolInput = { ...proxy, noProxy: noProxyOf(loaded.catalog.neverProxy, proxy.host) };
  const bundle = loaded.settings.inspection?.ca.cert ?? null;
  const text = toolText(tool, facts) + (bundle === null ? '' : trustText(tool, bundle));
  if (ui.json) ui.object({ for: tool, proxy: facts.url, no_proxy: facts.noProxy, ca: bundle, text });
  else ui.raw(text);
  return EXIT.ok;
}

type Proxy = Pick<ToolInput, 'url' | 'place' | 'host' | 'port'>;

/** The first listener; one on all interfaces is reached by the name of this machine. */
function proxyOf(settings: Settings): Proxy {
  const first = settings.listen[0];
  if (first === undefined) throw usage('the policy listens nowhere', 'Name the proxy: --proxy http://HOST:PORT');
  const host = first.host === '0.0.0.0' || first.host === '::' ? hostname() : first.host;
  const url = `http://${endpointText({ host, port: first.port })}`;
  return { url, place: url, host, port: first.port };
}

// User information is what the docs give for claims (PIPELINE%2FJOB:); quotes, blanks and $ would end up in shells and files.
const PLAIN_URL = /^https?:\/\/(?:[\w.~%+-]*(?::[\w.~%+-]*)?@)?[^/@\s]+?\/?$/i;
const PORT_DEFAULT = 3128;

function parseProxy(text: string): Proxy {
  const proxy = PLAIN_URL.test(text) ? parseProxyUrl(text, PORT_DEFAULT) : null;
  if (proxy === null) {
    throw usage(
      `--proxy ${JSON.stringify(text)} is not http://[USER[:PASSWORD]@]HOST[:PORT]`,
      'For example: --proxy http://proxy.corp.example:3128',
    );
  }
  const { place, host, port } = proxy;
  const user = text.slice(text.indexOf('//') + 2, text.lastIndexOf('@') + 1);
  return { url: place.replace('//', `//${user}`), place, host, port };
}

/** Loopback, the proxy itself, and every address that the catalog says must not be reached through a proxy. */
function noProxyOf(never: readonly NeverProxy[], proxyHost: string): string[] {
  return [...new Set(['localhost', '127.0.0.1', '::1', proxyHost, ...never.map(({ host }) => host)])];
}
