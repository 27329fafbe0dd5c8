// Asks one worker for its pages, over the Unix socket that it has for its primary, with the token that both know and nobody else.
import type http from 'node:http';
import { nodeHttp } from '../net/http.ts';
import { AdminError } from './admin-error.ts';

/** Header in which a primary says which client it asks for. */
export const ASKED_FOR = 'sallyport-asked-for';
const BODY_BYTES_MAX = 268_435_456;

export interface WorkerPlace {
  readonly worker: number;
  readonly path: string;
}

export interface WorkerAnswer {
  readonly worker: number;
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

interface Asked {
  readonly method?: 'GET' | 'DELETE';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Time for the head of the answer, and between its parts. */
  readonly timeoutMs: number;
}

export class WorkerPages {
  readonly #token: string;

  constructor(token: string) {
    this.#token = token;
  }

  /** The answer as it comes; rejects with Node's error. */
  open({ path: socketPath }: WorkerPlace, asked: Asked): Promise<http.IncomingMessage> {
    const { method = 'GET', path, headers = {}, timeoutMs } = asked;
    return new Promise((resolve, reject) => {
      const request = nodeHttp.request({
        ...{ socketPath, method, path, agent: false },
        headers: { Host: 'localhost', Authorization: `Bearer ${this.#token}`, ...headers },
      });
      request.setTimeout(timeoutMs, () => request.destroy(new Error('the worker does not answer')));
      request.once('response', resolve);
      request.on('error', reject);
      request.end();
    });
  }

  /** The whole answer, whatever it is; rejects where there is none. */
  async ask(place: WorkerPlace, asked: Asked): Promise<WorkerAnswer> {
    const response = await this.open(place, asked);
    response.setEncoding('utf8');
    let body = '';
    for await (const part of response) {
      body += part;
      if (body.length > BODY_BYTES_MAX) throw new Error('the answer of the worker is too long');
    }
    const { statusCode: status = 0, headers } = response;
    return { worker: place.worker, status, type: headers['content-type'] ?? '', body };
  }
}

/** What a worker refused, as a refusal of ours. */
export function refusalOf({ status, body }: Pick<WorkerAnswer, 'status' | 'body'>): AdminError {
  try {
    const { error } = JSON.parse(body) as { error: { code: AdminError['code']; message: string; hint: string } };
    return new AdminError(status, error.code, error.message, error.hint);
  } catch {
    return new AdminError(503, 'admin-failed', `a worker answers ${status}`);
  }
}
