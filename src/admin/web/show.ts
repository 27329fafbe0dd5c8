// Values as text. Host names, pipelines and jobs come from clients: Preact makes text nodes of them, never markup, and `inert`
// writes out what would hide, reorder or move the text beside it (as the reports do).
import { inert } from '../../report/inert.ts';

export { inert };

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 1_000 && unit < UNITS.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${UNITS[unit]}`;
}

export function span(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

export function clock(time: string): string {
  return new Date(time).toLocaleTimeString();
}

export function when(time: string | null): string {
  return time === null ? '–' : new Date(time).toLocaleString();
}

export function endpoint(host: string | null, port: number | null): string {
  if (host === null) return '(not readable)';
  return `${inert(host)}${port === null ? '' : `:${port}`}`;
}

interface Names {
  readonly kind: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly claimed: Readonly<Record<string, string>>;
}

/** Who asked, with a mark where it is only claimed. */
export function who(identity: Names, client: string): string {
  const proven = Object.keys(identity.attributes).length > 0;
  const names = proven ? identity.attributes : identity.claimed;
  const text = [names['pipeline'], names['step'] ?? names['job']].filter((name) => name !== undefined).join(' / ');
  if (text !== '') return `${inert(text)}${proven ? '' : ' (claimed)'}`;
  return inert(names['user'] ?? names['queue'] ?? client);
}

interface Refused {
  readonly host: string | null;
  readonly port: number | null;
  readonly method?: string;
  readonly nearest?: { readonly fix: string } | null | undefined;
}

const PLAIN = /^[a-z0-9][a-z0-9.-]*$/;

/** An item for `allow:` that lets exactly this host through; null where no rule can. */
export function hostRule({ host, port, method = 'CONNECT' }: Refused): string | null {
  if (host === null || port === null) return null;
  const name = PLAIN.test(host) ? host : JSON.stringify(host);
  if (method !== 'CONNECT') return `- { host: ${name}, ports: [${port}], protocol: http }`;
  return port === 443 ? `- ${name}` : `- { host: ${name}, ports: [${port}] }`;
}

/** What the nearest rule says would let it through, else the host. */
export function bestRule(refused: Refused): string | null {
  const fix = refused.nearest?.fix ?? '';
  return fix === '' ? hostRule(refused) : `- ${fix}`;
}
