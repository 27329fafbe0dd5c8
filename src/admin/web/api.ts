// What the dashboard asks the admin API. The token goes in a header of every request, streams included: that is why events are
// read with fetch and not with EventSource, which cannot send one.
import { readEvents } from '../event-text.ts';
import { forgetToken, token } from './token.ts';

export class ApiError extends Error {
  readonly status: number;
  readonly hint: string;

  constructor(status: number, message: string, hint: string) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

/** The token is another one: who listens shows where to type it. */
export const UNAUTHORIZED = 'sallyport-unauthorized';

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token() ?? ''}` } });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, 'The proxy does not answer.', 'It may be restarting; this page comes back by itself.');
  }
  if (response.ok) return response;
  if (response.status === 401) {
    forgetToken();
    dispatchEvent(new Event(UNAUTHORIZED));
  }
  const said = (await response.json().catch(() => null)) as { error?: { message: string; hint: string } } | null;
  throw new ApiError(response.status, said?.error?.message ?? `HTTP ${response.status}`, said?.error?.hint ?? '');
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await ask(path, signal === undefined ? {} : { signal })).json() as Promise<T>;
}

export async function cutTunnel(id: string): Promise<void> {
  await ask(`/v1/tunnels/${encodeURIComponent(id)}`, { method: 'DELETE' });
}

export interface StreamEvent {
  readonly event: string;
  readonly id: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: events of several shapes; who reads them knows by `event`
  readonly data: any;
}

/** One connection's events, until it ends. */
async function* readStream(
  path: string,
  after: string | null,
  signal: AbortSignal,
): AsyncIterableIterator<StreamEvent> {
  const response = await ask(path, { signal, headers: after === null ? {} : { 'Last-Event-ID': after } });
  for await (const { id, event, data } of readEvents(textOf(response))) yield { id, event, data: JSON.parse(data) };
}

/** Not every browser lets a body be iterated. */
async function* textOf(response: Response): AsyncIterableIterator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader?.read(); part !== undefined && !part.done; part = await reader?.read()) yield part.value;
}

const RETRY_MS = 1_000;
const RETRY_MAX_MS = 15_000;

/** Follows the events and comes back by itself, behind the last one that it had. Ends with the signal. */
export async function follow(
  path: string,
  signal: AbortSignal,
  tell: { event(event: StreamEvent): void; state(connected: boolean, error: ApiError | null): void },
): Promise<void> {
  let after: string | null = null;
  let wait = RETRY_MS;
  while (!signal.aborted) {
    let error: ApiError | null = null;
    try {
      for await (const event of readStream(path, after, signal)) {
        if (event.event === 'hello') tell.state(true, null);
        wait = RETRY_MS;
        if (event.id !== null) after = event.id;
        tell.event(event);
      }
    } catch (caught) {
      error = caught instanceof ApiError ? caught : null;
    }
    if (signal.aborted) return;
    tell.state(false, error);
    if (error?.status === 401) return;
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, RETRY_MAX_MS);
  }
}
