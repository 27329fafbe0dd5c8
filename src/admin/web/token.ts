// The token as this browser tab has it: in the tab's own storage, which ends with it, and never in a cookie, which would be sent
// by itself. `#token=…` in the address hands it over; a fragment is not sent to any server.
const KEY = 'sallyport-token';

/** Moves a token from the address into the tab's storage. */
export function takeToken(): void {
  const found = /^#token=([A-Za-z0-9._~+/=-]+)$/.exec(location.hash);
  if (found === null) return;
  sessionStorage.setItem(KEY, found[1] ?? '');
  history.replaceState(null, '', location.pathname);
}

export function token(): string | null {
  return sessionStorage.getItem(KEY);
}

export function setToken(text: string): void {
  sessionStorage.setItem(KEY, text);
}

export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
}
