// What the texts of `sallyport env` are written with: the variables in both cases, and quoting for the place they go to.

export interface ToolInput {
  /** Whole URL of the proxy, with user information where it was given. */
  readonly url: string;
  /** The same without user information. */
  readonly place: string;
  readonly host: string;
  readonly port: number;
  /** Hosts and addresses that go around the proxy. */
  readonly noProxy: readonly string[];
}

/** HTTP_PROXY, HTTPS_PROXY and NO_PROXY in both cases. */
export function variables({ url, noProxy }: ToolInput, more: readonly string[] = []): [string, string][] {
  const exceptions = [...noProxy, ...more].join(',');
  const values: [string, string][] = [
    ['HTTP_PROXY', url],
    ['HTTPS_PROXY', url],
    ['NO_PROXY', exceptions],
  ];
  return values.flatMap(([name, value]): [string, string][] => [
    [name, value],
    [name.toLowerCase(), value],
  ]);
}

/** The section of a systemd unit; % is doubled, because systemd expands it. */
export function unit(input: ToolInput, more: readonly string[] = []): string[] {
  return [
    '[Service]',
    ...variables(input, more).map(([name, value]) => `Environment="${name}=${value.replaceAll('%', '%%')}"`),
  ];
}

export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export function json(value: unknown): string[] {
  return JSON.stringify(value, null, 2).split('\n');
}
