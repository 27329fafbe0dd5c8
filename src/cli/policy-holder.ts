// The policy in force and how it changes: reload (SIGHUP, a change of its files), the operator's temporary mode, and the endpoints it must never
// reach. A change is recorded before it counts; a bad file leaves the old policy in force. What is open is decided again.
import type net from 'node:net';
import os from 'node:os';
import type { Logger } from 'pino';
import type { Settings } from '../config/config.ts';
import { type LoadedConfig, loadConfig, type Overrides } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { ClientBook } from '../identity/identify.ts';
import type { CompiledPolicy, Mode } from '../policy/compile.ts';
import { Policy } from '../policy/decide.ts';
import type { Grant } from '../policy/grant.ts';
import type { Recorder } from '../policy/record.ts';
import type { ProxyContext } from '../proxy/context.ts';
import { redecide } from '../proxy/redecide.ts';
import type { GrantHolder } from './grant-holder.ts';
import { brokenCount, brokenLayers, lastGood, sayBrokenLayers } from './layer-report.ts';
import { type ModeOverride, readOverride } from './mode-override.ts';
import { PolicyWatch } from './watch.ts';

interface HolderOptions {
  readonly ctx: ProxyContext;
  readonly audit: Recorder;
  readonly log: Logger;
  readonly file: string | null;
  readonly overrides: Overrides;
  readonly loaded: LoadedConfig;
  /** What is read → what counts in this process: a worker has its part. */
  readonly adapt: (loaded: LoadedConfig) => LoadedConfig;
  /** The log beside which a temporary mode stands. */
  readonly overrideBeside: string;
  readonly grants: GrantHolder;
  /** Takes what else the file of a policy says that comes into force: who may prove what, the CA of inspection. */
  readonly useSettings: (settings: Settings, policy: CompiledPolicy) => void;
  /** Told whenever something else is in force. */
  readonly inForce: (what: InForce) => void;
}

/** What a node says of itself to the others. */
export interface InForce {
  readonly policy: string;
  readonly mode: Mode;
  readonly layersBroken: number;
  readonly grants: number;
  /** When the policy came into force, ms since the epoch. */
  readonly since: number;
}

// How long a grant that could not be recorded, or judged, waits.
const GRANT_RETRY_MS = 5_000;

export class PolicyHolder {
  readonly #options: HolderOptions;
  #loaded: LoadedConfig;
  #override: ModeOverride | null = null;
  #revert: NodeJS.Timeout | null = null;
  #self: { address: string; port: number }[] = [];
  #watch: PolicyWatch | null = null;
  #reloading: Promise<void> | null = null;
  #again: 'asked' | 'files' | null = null;
  #layersBroken = 0;
  #grantRetry: NodeJS.Timeout | null = null;
  #since = Date.now();

  constructor(options: HolderOptions) {
    this.#options = options;
    this.#loaded = options.loaded;
    this.#layersBroken = brokenCount(options.loaded);
  }

  /** How often a layer was found broken, at the start and at reloads: for the `stop` note. */
  get layersBroken(): number {
    return this.#layersBroken;
  }

  /** The global mode in force, the override included. */
  get mode(): Mode {
    return this.#override?.mode ?? this.#loaded.policy.mode;
  }

  get expectedDenials(): LoadedConfig['settings']['expectedDenials'] {
    return this.#loaded.settings.expectedDenials;
  }

  /** Puts the loaded policy in force, with the override that may stand from before a restart. */
  install(): void {
    this.#readOverride();
    this.#apply();
  }

  /** The usage store has these grants now. */
  async setGrants(grants: readonly Grant[]): Promise<void> {
    try {
      await this.#options.grants.take(grants);
    } catch (error) {
      this.#options.log.error({ err: error }, 'what judges grants cannot be loaded; those that came do not count yet');
      return this.#retryGrants(() => void this.setGrants(grants));
    }
    this.#judgeGrants();
  }

  #judgeGrants(): void {
    const { ctx, grants } = this.#options;
    if (this.#grantRetry) clearTimeout(this.#grantRetry);
    if (grants.judge(this.#loaded, ctx.policy.digest)) this.#swap();
    if (grants.unrecorded) this.#retryGrants(() => this.#judgeGrants());
  }

  #retryGrants(again: () => void): void {
    if (this.#grantRetry) clearTimeout(this.#grantRetry);
    this.#grantRetry = setTimeout(again, GRANT_RETRY_MS).unref();
  }

  /** Endpoints of this proxy: no request may reach them, by whatever name. A wildcard bind is each address of the host. */
  guard(bound: readonly net.AddressInfo[]): void {
    this.#self = bound.flatMap(({ address, port }) => hostAddresses(address).map((each) => ({ address: each, port })));
    this.#apply();
  }

  /** From now on a change of the files reloads, where `watch` says so. The built-in policy has no files. */
  watch(): void {
    const { file, loaded, log } = this.#options;
    if (file === null) return;
    this.#watch = new PolicyWatch(
      {
        file,
        intervalMs: loaded.settings.limits.watch_interval_ms,
        source: () => this.#loaded.settings.policyFile,
        folders: () => this.#loaded.settings.catalogDirs,
        files: () => this.#loaded.settings.identity.files,
        layers: () => this.#loaded.settings.layerFiles,
        enabled: () => this.#loaded.settings.watch,
        changed: () => this.reload('files'),
        failed: (error) => log.error({ err: error }, 'the policy files could not be looked at'),
      },
      loaded.files,
    );
  }

  /**
   * Reads the files again. Never rejects; calls during a reload are folded into one more. For `files` only a change of content
   * counts; an operator who asks gets the policy of today (an expiry, an address of the machine) from the same files.
   */
  reload(why: 'asked' | 'files' = 'asked'): Promise<void> {
    if (this.#reloading) {
      if (this.#again !== 'asked') this.#again = why;
      return this.#reloading;
    }
    this.#reloading = this.#reload(why).finally(() => {
      this.#reloading = null;
      const again = this.#again;
      this.#again = null;
      if (again) void this.reload(again);
    });
    return this.#reloading;
  }

  close(): void {
    this.#watch?.close();
    if (this.#revert) clearTimeout(this.#revert);
    if (this.#grantRetry) clearTimeout(this.#grantRetry);
  }

  async #reload(why: 'asked' | 'files'): Promise<void> {
    const { audit, log, ctx } = this.#options;
    this.#changeMode();
    const looked = await this.#watch?.look();
    try {
      const { file, overrides, adapt } = this.#options;
      const loaded = adapt(await loadConfig({ file, overrides, lastGood: lastGood(this.#loaded), now: Date.now() }));
      if (looked !== undefined) this.#watch?.taken(looked, loaded.files);
      if (why === 'files' && contentOf(loaded) === contentOf(this.#loaded)) {
        log.debug('the policy files were written, and say the same as before');
        return;
      }
      for (const problem of loaded.problems) log.warn({ code: problem.code, at: problem.at }, problem.message);
      sayBrokenLayers(loaded, log);
      audit.note({
        event: 'policy',
        policy: loaded.policy.digest,
        detail: {
          result: 'loaded',
          before: ctx.policy.digest,
          rules: loaded.policy.ruleCount,
          ...brokenLayers(loaded),
        },
      });
      this.#layersBroken += brokenCount(loaded);
      this.#warnOfRestart(loaded);
      this.#loaded = loaded;
      this.#since = Date.now();
      this.#options.grants.judge(loaded, loaded.policy.digest);
      this.#swap();
      log.info({ policy: loaded.policy.digest, rules: loaded.policy.ruleCount }, 'the policy was reloaded');
    } catch (error) {
      if (looked !== undefined) this.#watch?.refused(looked);
      const problems = error instanceof SallyportError ? error.problems : [];
      log.error({ err: error, problems }, 'the policy could not be reloaded; the old one stays in force');
      this.#tryNote('policy', { result: 'refused', why: error instanceof SallyportError ? error.code : 'internal' });
    }
  }

  /** Puts what is loaded in force while requests are open. */
  #swap(): void {
    this.#apply();
    void this.#redecide();
  }

  async #redecide(): Promise<void> {
    const { ctx, log } = this.#options;
    const { onReload } = this.#loaded.settings;
    const policy = ctx.policy.digest;
    try {
      const done = await redecide(ctx, onReload);
      if (done === null || done.decided === 0) return;
      const detail = { on_reload: onReload, open: done.decided, refused: done.refused };
      const what = onReload === 'cut' ? 'are cut' : 'stay open';
      if (done.refused > 0) log.warn({ policy, ...detail }, `open requests that the policy in force refuses ${what}`);
      else log.info({ policy, ...detail }, 'the policy in force lets through all that is open');
      this.#tryNote('policy', { result: 'decided-again', ...detail });
    } catch (error) {
      log.error({ err: error }, 'the open requests could not be decided again; they stay open');
    }
  }

  /** Swaps everything a request reads in one turn. */
  #apply(): void {
    const { ctx } = this.#options;
    const { settings, policy } = this.#loaded;
    const overridden = this.#override ? { ...policy, mode: this.#override.mode, modes: [] } : policy;
    const { grants, inForce } = this.#options;
    ctx.policy = new Policy({ ...overridden, self: [...policy.self, ...this.#self] }, { grants: grants.compiled });
    ctx.book = new ClientBook(settings, settings.limits.clients_tracked_max);
    this.#options.useSettings(settings, policy);
    ctx.help = settings.help;
    ctx.plainHttp = settings.plainHttp;
    const layersBroken = brokenCount(this.#loaded);
    inForce({ policy: policy.digest, mode: this.mode, layersBroken, grants: grants.count, since: this.#since });
  }

  #changeMode(): void {
    const before = this.#override;
    this.#readOverride();
    if (before?.at === this.#override?.at && before?.until === this.#override?.until) return;
    const now = this.#override;
    // What cannot be recorded does not count: an observe that nobody can find in the log is not obeyed.
    if (
      !this.#tryNote(
        'mode',
        now
          ? { mode: now.mode, until: now.until, reason: now.reason, by: now.by }
          : { mode: this.#loaded.policy.mode, until: null, reason: 'reverted', by: null },
      )
    ) {
      this.#override = now?.mode === 'observe' ? null : now;
    }
    this.#swap();
    this.#options.log.warn({ mode: this.mode, until: now?.until ?? null }, 'the mode changed');
  }

  #readOverride(): void {
    const { log } = this.#options;
    // Beside the log that is written, which a reload does not change.
    const nowMs = Date.now();
    const { override, problem } = readOverride(this.#options.overrideBeside, nowMs);
    if (problem) log.error({ problem }, 'the mode override is ignored');
    this.#override = override;
    if (this.#revert) clearTimeout(this.#revert);
    this.#revert = null;
    if (!override) return;
    const remainingMs = Date.parse(override.until) - nowMs;
    this.#revert = setTimeout(() => this.#changeMode(), remainingMs);
    this.#revert.unref();
  }

  #tryNote(event: 'policy' | 'mode', detail: Record<string, string | number | boolean | null>): boolean {
    try {
      this.#options.audit.note({ event, policy: this.#options.ctx.policy.digest, detail });
      return true;
    } catch (error) {
      this.#options.log.error({ err: error }, 'an operator act could not be recorded');
      return false;
    }
  }

  #warnOfRestart(loaded: LoadedConfig): void {
    const before = this.#loaded.settings;
    const after = loaded.settings;
    if (JSON.stringify(fixedTls(before)) !== JSON.stringify(fixedTls(after))) {
      const key = 'tls';
      this.#options.log.warn(
        { key },
        '`tls` changed where it listens or whom it asks for certificates; it takes effect at the next start',
      );
    }
    for (const key of ['listen', 'admin', 'engine', 'dns', 'limits', 'audit', 'usage', 'node', 'workers'] as const) {
      if (JSON.stringify(before[key]) !== JSON.stringify(after[key])) {
        this.#options.log.warn({ key }, `\`${key}\` changed in the file; it takes effect at the next start`);
      }
    }
  }
}

/** What of `tls` a reload does not change. */
function fixedTls({ identity: { tls } }: LoadedConfig['settings']): unknown {
  return tls && [tls.listen, tls.required, tls.clientCa !== null];
}

function contentOf({ files }: LoadedConfig): string {
  return files.map(({ file, digest }) => `${file} ${digest}`).join('\n');
}

function hostAddresses(bound: string): string[] {
  if (bound !== '0.0.0.0' && bound !== '::') return [bound];
  const all = Object.values(os.networkInterfaces()).flatMap((list) => list ?? []);
  return [bound, ...all.map((entry) => entry.address.split('%', 1)[0] ?? entry.address)];
}
