// Hooks: data that is asked for and asked for again, and the events of the proxy.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, follow, getJson, type StreamEvent } from './api.ts';

export interface Loaded<T> {
  /** The last answer, also while the next one is asked for. */
  readonly data: T | null;
  readonly error: ApiError | null;
  readonly loading: boolean;
  readonly reload: () => void;
}

/** Asks for a page, and again every `everyMs` while the tab is seen. */
export function useJson<T>(path: string | null, everyMs = 0): Loaded<T> {
  const [state, setState] = useState<Omit<Loaded<T>, 'reload'>>({ data: null, error: null, loading: path !== null });
  const [turn, setTurn] = useState(0);
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  useEffect(() => {
    if (path === null) return;
    const abort = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    getJson<T>(path, abort.signal).then(
      (data) => setState({ data, error: null, loading: false }),
      (error) => {
        if (abort.signal.aborted) return;
        const shown = error instanceof ApiError ? error : new ApiError(0, 'The answer cannot be read.', '');
        setState((before) => ({ ...before, error: shown, loading: false }));
      },
    );
    return () => abort.abort();
  }, [path, turn]);
  useEffect(() => {
    if (everyMs === 0) return;
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') reload();
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs, reload]);
  return { ...state, reload };
}

export interface Connection {
  readonly connected: boolean;
  readonly error: ApiError | null;
}

/** Follows the events of a path; `take` hears of each. */
export function useEvents(path: string, take: (event: StreamEvent) => void): Connection {
  const [connection, setConnection] = useState<Connection>({ connected: false, error: null });
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    const abort = new AbortController();
    void follow(path, abort.signal, {
      event: (event) => latest.current(event),
      state: (connected, error) => setConnection({ connected, error }),
    });
    return () => abort.abort();
  }, [path]);
  return connection;
}
