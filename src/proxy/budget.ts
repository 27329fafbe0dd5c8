// What one inspected request may send and receive by its rule: the upload budget of its job, shared with all its other requests, and the
// size of its response. Bytes are asked about before they go on.
import type { RequestErrorCode } from '../errors.ts';
import type { UploadBudget, UploadBudgets } from '../inspect/upload-budgets.ts';
import type { Inspection } from '../policy/inspect.ts';
import type { OpenRequest } from './open-requests.ts';

export class Budget {
  readonly #upload: UploadBudget | null;
  readonly #uploadMax: number;
  readonly #responseMax: number;
  #received = 0;

  constructor(inspection: Inspection | null, uploads: UploadBudgets, { facts }: OpenRequest) {
    const max = inspection?.maxUploadBytes ?? null;
    this.#uploadMax = max ?? Number.POSITIVE_INFINITY;
    this.#upload = max === null ? null : uploads.of(facts.identity, facts.client, facts.rule ?? '', max);
    this.#responseMax = inspection?.maxResponseBytes ?? Number.POSITIVE_INFINITY;
  }

  /** Whether a body of a length that is announced can pass at all. */
  announced(direction: 'up' | 'down', length: number): RequestErrorCode | null {
    if (direction === 'up') return length > this.#uploadMax ? 'upload-budget' : null;
    return length > this.#responseMax ? 'response-too-large' : null;
  }

  /** Takes bytes of the request's body; what is refused must not go on. */
  up(bytes: number): RequestErrorCode | null {
    return this.#upload === null || this.#upload.take(bytes) ? null : 'upload-budget';
  }

  /** The same of the response's. */
  down(bytes: number): RequestErrorCode | null {
    this.#received += bytes;
    return this.#received > this.#responseMax ? 'response-too-large' : null;
  }
}
