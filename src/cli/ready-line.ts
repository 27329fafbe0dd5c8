// The one line that a started proxy prints, and that `sallyport upgrade` prints of the process it has brought about.

/** Addresses as `host:port`, several of the proxy joined by commas; `admin` may be `off`. */
export function readyLine(at: { proxy: string; admin: string; mode: string; policy: string }): string {
  return `sallyport ready: proxy ${at.proxy} admin ${at.admin} mode ${at.mode} policy ${at.policy}`;
}
