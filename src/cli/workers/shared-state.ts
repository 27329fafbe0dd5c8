// What all workers must know together, kept by the primary: the leases of jobs, whose token it is, and how often passwords were tried. A
// connection may land on any worker, so a lease that is answered for counts in all of them. Leases change in one order for all.
import { Attempts } from '../../identity/attempts.ts';
import { Bindings } from '../../identity/bindings.ts';
import { type Lease, type LeaseChange, Leases } from '../../identity/leases.ts';
import type { Limits, Meter } from '../../limits.ts';
import type { Member } from './crew.ts';
import type { LeaseResult, Question, ToWorker } from './order.ts';

/** A worker that does not say that it has applied a change is not waited for any longer: it is stuck, and serves nobody. */
const APPLY_MS = 2_000;

interface Pending {
  readonly worker: number;
  readonly id: number;
  /** Workers that have not applied it yet. */
  readonly missing: Set<number>;
  result: LeaseResult;
  readonly timer: NodeJS.Timeout;
}

interface Parts {
  readonly limits: Limits;
  readonly meter: Meter;
  readonly members: () => readonly Member[];
  readonly tell: (worker: number, message: ToWorker) => void;
}

export class SharedState {
  readonly #parts: Parts;
  readonly leases: Leases;
  readonly #attempts: Attempts;
  readonly #bindings: Bindings;
  readonly #pending = new Map<number, Pending>();
  #changes = 0;

  constructor(parts: Parts) {
    const { limits, meter } = parts;
    this.#parts = parts;
    this.leases = new Leases({ limits, meter, now: Date.now });
    this.#attempts = new Attempts(limits.password_attempts_per_min, limits.clients_tracked_max);
    this.#bindings = new Bindings(limits.credentials_cached_max);
  }

  /** Leases of the proxy before this one; each worker leaves out those that its policy does not know. */
  restore(leases: readonly Lease[]): void {
    this.leases.restore(leases);
  }

  /** A worker asks; its answer goes out now or when all workers have done it. */
  asked(worker: number, id: number, question: Question): void {
    if (question.about === 'lease') return this.#change(worker, id, question.change);
    const value =
      question.about === 'bind'
        ? this.#bindings.bind(question.digest, question.address, question.untilMs, Date.now())
        : this.#attempts.take(question.address, Date.now());
    this.#parts.tell(worker, { type: 'answer', id, value });
  }

  /** An attempt was none. */
  right(address: string): void {
    this.#attempts.giveBack(address, Date.now());
  }

  applied(worker: number, number: number, result: LeaseResult): void {
    const pending = this.#pending.get(number);
    if (pending === undefined) return;
    if (pending.worker === worker) pending.result = result;
    pending.missing.delete(worker);
    if (pending.missing.size === 0) this.#settle(number, pending);
  }

  /** A worker that has died knows nothing, and the next one gets all leases with its order; what it asked, that one did not ask. */
  gone(worker: number): void {
    for (const [number, pending] of [...this.#pending])
      if (pending.worker === worker) this.#forget(number, pending);
      else this.applied(worker, number, false);
  }

  close(): void {
    for (const [number, pending] of this.#pending) this.#settle(number, pending);
  }

  #change(worker: number, id: number, change: LeaseChange): void {
    const { members, tell } = this.#parts;
    if (change.act === 'end') this.leases.end(change.job, change.address);
    // A worker may have room yet: it would hold a lease that the next one does not get with its order.
    else if (this.leases.begin(change.lease) === null) return tell(worker, { type: 'answer', id, value: null });
    const number = ++this.#changes;
    const missing = new Set(members().flatMap((member) => (member.pid === 0 ? [] : [member.worker])));
    const timer = setTimeout(() => this.#settle(number), APPLY_MS).unref();
    this.#pending.set(number, { worker, id, missing, result: null, timer });
    for (const each of missing) tell(each, { type: 'lease', number, change });
  }

  #settle(number: number, pending = this.#pending.get(number)): void {
    if (pending === undefined) return;
    this.#forget(number, pending);
    this.#parts.tell(pending.worker, { type: 'answer', id: pending.id, value: pending.result });
  }

  #forget(number: number, { timer }: Pending): void {
    clearTimeout(timer);
    this.#pending.delete(number);
  }
}
