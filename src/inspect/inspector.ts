// What inspection needs besides the connections: the certificates that stand for hosts, and whom to believe about origins. A reload
// or a rotation changes what it holds, not itself.
import { readFileSync, statSync } from 'node:fs';
import tls from 'node:tls';
import type { Authority } from '../policy/authority.ts';
import type { Leaves } from './leaves.ts';

export class Inspector {
  #leaves: Pick<Leaves, 'contextFor'> | null = null;
  readonly #trust = new Map<string, { readonly signature: string; readonly context: tls.SecureContext }>();

  /** What makes certificates from now on; null: nothing can be inspected, and what a rule wants inspected is refused. */
  use(leaves: Pick<Leaves, 'contextFor'> | null): void {
    this.#leaves = leaves;
  }

  /** What stands for a host towards clients; null where nothing may. */
  leaf(authority: Authority): tls.SecureContext | null {
    return this.#leaves?.contextFor(authority) ?? null;
  }

  /**
   * Whom to believe about an origin: the certificates of the file, or those that Node trusts.
   * @throws Error of the system, or of OpenSSL, where the file cannot be used
   */
  trust(file: string | null): tls.SecureContext {
    const { mtimeMs, size } = file === null ? { mtimeMs: 0, size: 0 } : statSync(file);
    const signature = `${mtimeMs} ${size}`;
    const known = this.#trust.get(file ?? '');
    if (known?.signature === signature) return known.context;
    const ca = file === null ? {} : { ca: readFileSync(file) };
    const context = tls.createSecureContext({ ...ca, minVersion: 'TLSv1.2' });
    this.#trust.set(file ?? '', { signature, context });
    return context;
  }
}
