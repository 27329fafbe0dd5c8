// The grants that the running proxy obeys: what the usage store has, judged by the ceiling in force. Each that comes into force, ends by
// hand or is refused is recorded first: a grant that cannot be found in the log is not obeyed. Where the store is silent the last known
// ones go on until they expire by themselves.
import type { Logger } from 'pino';
import type { judgeGrants } from '../config/grants.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { Meter } from '../limits.ts';
import type { CompiledPolicy } from '../policy/compile.ts';
import type { Grant } from '../policy/grant.ts';
import type { compileGrants } from '../policy/grant-rule.ts';
import type { Recorder } from '../policy/record.ts';

interface GrantHolderOptions {
  readonly audit: Pick<Recorder, 'note'>;
  readonly log: Logger;
  readonly meter: Meter;
}

type Result = 'in-force' | 'revoked' | 'refused';

export class GrantHolder {
  readonly #options: GrantHolderOptions;
  #grants: readonly Grant[] = [];
  /** What was recorded of each, by its id. */
  readonly #told = new Map<string, string>();
  #compiled: CompiledPolicy | null = null;
  #count = 0;
  #unrecorded = false;
  /** What judges and compiles them, from the first one on: most proxies never have a grant, and with it comes the list of public suffixes. */
  #code: { readonly judgeGrants: typeof judgeGrants; readonly compileGrants: typeof compileGrants } | null = null;

  constructor(options: GrantHolderOptions) {
    this.#options = options;
  }

  /** For Policy; null where there are none. */
  get compiled(): CompiledPolicy | null {
    return this.#compiled;
  }

  /** Grants that have not ended. */
  get count(): number {
    return this.#count;
  }

  /** True where one does not count because it could not be recorded: it is worth another try. */
  get unrecorded(): boolean {
    return this.#unrecorded;
  }

  /** What the store has now; to be judged when it is taken. Of several that are under way the last one counts. */
  async take(grants: readonly Grant[]): Promise<void> {
    this.#grants = grants;
    if (grants.length === 0 || this.#code !== null) return;
    const { judgeGrants } = await import('../config/grants.ts');
    const { compileGrants } = await import('../policy/grant-rule.ts');
    this.#code = { judgeGrants, compileGrants };
  }

  /** Judges by the ceiling and limits that are loaded. @returns true where something else counts than before */
  judge(loaded: LoadedConfig, policy: string): boolean {
    this.#unrecorded = false;
    // No grant was ever taken.
    if (this.#code === null) return false;
    const { judgeGrants, compileGrants } = this.#code;
    const now = Date.now();
    const { ceiling, settings } = loaded;
    const { counting, refused } = judgeGrants({ grants: this.#grants, ceiling, limits: settings.limits, now });
    const rules = counting.filter(({ grant }) => grant.expires < now || this.#tell(grant, 'in-force', null, policy));
    for (const { grant, why, limit } of refused) {
      if (this.#told.get(grant.id) !== `refused ${why}` && limit !== null) this.#options.meter.hit(limit);
      if (grant.expires >= now) this.#tell(grant, 'refused', why, policy);
    }
    const standing = new Set([...counting, ...refused].map(({ grant }) => grant.id));
    for (const [id, told] of this.#told) {
      if (standing.has(id)) continue;
      const grant = this.#grants.find((one) => one.id === id);
      if (told === IN_FORCE && grant !== undefined && grant.revoked !== null)
        this.#tell(grant, 'revoked', null, policy);
      this.#told.delete(id);
    }
    const before = this.#compiled;
    this.#compiled = rules.length === 0 ? null : compileGrants(rules.map(({ rule }) => rule));
    this.#count = rules.filter(({ grant }) => grant.expires >= now).length;
    return textOf(before) !== textOf(this.#compiled);
  }

  /** Records it, once. @returns whether it stands recorded */
  #tell(grant: Grant, result: Result, why: string | null, policy: string): boolean {
    const told = why === null ? result : `${result} ${why}`;
    if (this.#told.get(grant.id) === told) return true;
    const { audit, log } = this.#options;
    const what = {
      id: grant.id,
      host: `${grant.host}:${grant.port}`,
      for: JSON.stringify(grant.for),
      expires: new Date(grant.expires).toISOString(),
      reason: grant.reason,
      owner: grant.owner,
      by: (result === 'revoked' ? grant.revokedBy : null) ?? grant.by,
    };
    try {
      audit.note({ event: 'grant', policy, detail: { result, ...what, ...(why === null ? {} : { why }) } });
    } catch (error) {
      log.error({ err: error, grant: grant.id }, 'a grant could not be recorded; it is not in force');
      this.#unrecorded = true;
      return false;
    }
    this.#told.set(grant.id, told);
    if (why === null) log.info({ grant: grant.id, host: what.host, for: grant.for }, `a grant is ${result}`);
    else log.error({ grant: grant.id, why }, 'a grant of the store is refused');
    return true;
  }
}

const IN_FORCE: Result = 'in-force';

/** The rules with all that decides, as one text. */
function textOf(compiled: CompiledPolicy | null): string {
  if (compiled === null) return '';
  const { textBytes, expires, flags, portsRow, selectorRow, addressesRow, ports, selectors, addresses } = compiled;
  const columns = [expires, flags, portsRow, selectorRow, addressesRow].map((column) => column.join());
  return `${Buffer.from(textBytes).toString()} ${JSON.stringify([columns, ports, selectors, addresses])}`;
}
