// The proxy variables of an agent's host, judged: both cases, one proxy, and what must go around it by its literal name. It reads
// nothing but what it is given.
import { bad, type Check, ok } from './doctor-check.ts';
import { goesAround, noProxyEntries } from './no-proxy.ts';
import { type Environment, type ProxyUrl, parseProxyUrl } from './proxy-url.ts';

const ENV_FIX = 'Set them as `sallyport env` prints them, for the agent and for its jobs.';

interface Target {
  readonly host: string;
  readonly port: number;
}

/** The four variables that name the proxy. `proxy` is the one that is to be used. */
export function proxyVariables(env: Environment, proxy: ProxyUrl | null): Check[] {
  return ['HTTPS_PROXY', 'HTTP_PROXY'].map((name) => {
    const at = { area: 'variables', subject: name } as const;
    const lower = name.toLowerCase();
    const upperText = env[name] ?? '';
    const lowerText = env[lower] ?? '';
    if (upperText === '' && lowerText === '') return bad('fail', at, `neither ${name} nor ${lower} is set`, ENV_FIX);
    for (const [variable, text] of [
      [name, upperText],
      [lower, lowerText],
    ] as const) {
      if (text === '') continue;
      const found = urlProblem(variable, text, proxy);
      if (found !== null) return bad(found.state, at, found.message, found.fix);
    }
    if (upperText === '' || lowerText === '') {
      const missing = upperText === '' ? name : lower;
      const who = missing === 'http_proxy' ? 'curl reads only http_proxy' : 'some tools read only that case';
      return bad('warn', at, `${missing} is not set: ${who}`, ENV_FIX);
    }
    if (upperText !== lowerText) {
      return bad('fail', at, `${name} and ${lower} differ: tools take one or the other`, ENV_FIX);
    }
    return ok(at, `both cases name ${parseProxyUrl(upperText)?.place ?? ''}`);
  });
}

function urlProblem(
  variable: string,
  text: string,
  proxy: ProxyUrl | null,
): { state: 'warn' | 'fail'; message: string; fix: string } | null {
  const url = parseProxyUrl(text);
  // The value may hold a password and is not shown.
  if (url === null)
    return {
      state: 'fail',
      message: `${variable} is no proxy URL`,
      fix: 'Write http://HOST:PORT; percent-encode @ : / in a password.',
    };
  if (proxy !== null && url.place !== proxy.place)
    return { state: 'fail', message: `${variable} names ${url.place}, not ${proxy.place}`, fix: ENV_FIX };
  if (!/^https?:\/\//i.test(text))
    return { state: 'warn', message: `${variable} has no scheme: some tools refuse it`, fix: `Write ${url.place}.` };
  if (!/:\d+\/?$/.test(text))
    return {
      state: 'warn',
      message: `${variable} has no port: curl takes 1080, others ${url.port}`,
      fix: `Write ${url.place}.`,
    };
  return null;
}

/** NO_PROXY: both cases alike, the literals in it, and nothing in it that should go through the proxy. */
export function noProxyVariable(
  env: Environment,
  never: readonly Pick<Target, 'host'>[],
  targets: readonly Target[],
  proxyHost: string | null,
): Check[] {
  const at = { area: 'variables', subject: 'NO_PROXY' } as const;
  const upper = env['NO_PROXY'] ?? '';
  const lower = env['no_proxy'] ?? '';
  if (upper !== lower) {
    const message = upper === '' || lower === '' ? 'only one case is set' : 'NO_PROXY and no_proxy differ';
    return [
      bad(upper === '' || lower === '' ? 'warn' : 'fail', at, `${message}: tools take one or the other`, ENV_FIX),
    ];
  }
  const entries = noProxyEntries(upper);
  const around = targets.filter(({ host, port }) => goesAround(entries, host, port));
  if (around.length > 0) {
    const names = around.map(({ host }) => host).join(', ');
    return [bad('fail', at, `${names} would go around the proxy`, 'Take the entry that covers it out of NO_PROXY.')];
  }
  const wanted = [
    'localhost',
    '127.0.0.1',
    '::1',
    ...(proxyHost === null ? [] : [proxyHost]),
    ...never.map(({ host }) => host),
  ];
  const missing = [...new Set(wanted)].filter((host) => !entries.some((entry) => entry.toLowerCase() === host));
  if (missing.length > 0) {
    const message = `not in it by name: ${missing.join(', ')}; through the proxy, metadata would answer for the proxy's host`;
    return [bad('warn', at, message, ENV_FIX)];
  }
  const ranges = entries.filter((entry) => entry.includes('/'));
  if (ranges.length > 0) {
    return [
      bad(
        'warn',
        at,
        `many tools do not read ranges: ${ranges.join(', ')}`,
        'Name the hosts, or a domain such as .corp.example.',
      ),
    ];
  }
  return [ok(at, `${entries.length} names go around the proxy, instance metadata among them`)];
}
