// Words that every format of a report shares: the window, the sums, and numbers as people read them.
import { hostText } from '../policy/authority.ts';
import type { DirectRow } from './direct.ts';
import type { Report } from './report.ts';

/** What the counts cover, and where that is less than what was asked for. */
export function windowText(report: Report): string {
  const { from, to, requested } = report.window;
  const asked = `${requested.from} to ${requested.to}`;
  const who = [
    report.filter.pipeline === null ? '' : `pipeline ${JSON.stringify(report.filter.pipeline)}`,
    report.filter.job === null ? '' : `job ${JSON.stringify(report.filter.job)}`,
  ].filter((part) => part !== '');
  const only = who.length === 0 ? '' : `; only ${who.join(', ')}`;
  if (from === null || to === null) return `nothing was recorded in ${asked}${only}`;
  return `${from} to ${to} (asked for: ${asked})${only}`;
}

/** The sums, and whatever makes them less than whole. */
export function summaryLines(report: Report): string[] {
  const { totals, overflow } = report;
  const lines = [
    `${totals.requests} requests to ${totals.hosts} hosts: ${totals.tunnels} let through, ${totals.open} open, ${totals.denied} denied, ${totals.failed} failed, ${totals.would_deny} would be denied`,
  ];
  if (totals.challenged > 0) lines.push(`${totals.challenged} requests were asked for credentials`);
  if (totals.malformed > 0) lines.push(`${totals.malformed} requests were malformed`);
  const hidden = overflow.tunnels + overflow.denied + overflow.failed;
  if (hidden > 0) lines.push(`${hidden} requests beyond limits.usage_names_per_hour are counted without their names`);
  const { direct } = report;
  if (direct.attempts > 0) {
    const out = direct.rows.filter(({ verdict }) => verdict === 'accept').length;
    lines.push(
      `${direct.attempts} direct attempts never reached the proxy${out === 0 ? ', all refused by the network' : `; THE NETWORK LET THEM OUT to ${out} of the destinations`}`,
    );
  }
  if (report.damaged_lines > 0)
    lines.push(
      `${report.damaged_lines} lines of the audit log are damaged and not counted: see \`sallyport audit verify\``,
    );
  if (report.missing_lines > 0)
    lines.push(`${report.missing_lines} lines of the audit log are missing: see \`sallyport audit verify\``);
  if (report.truncated)
    lines.push('there are more hosts than one report holds; the least used are left out of the rows');
  return lines;
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** Bytes in powers of 1000, three digits at most: 999 B, 1.2 kB, 45 MB. */
export function bytesText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 999.95 would be shown as 1000.0.
  while (value >= (unit === 0 ? 1_000 : 999.5) && unit < UNITS.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  const text = unit === 0 || value >= 9.95 ? String(Math.round(value)) : value.toFixed(1);
  return `${text} ${UNITS[unit]}`;
}

/** Where a packet went, as a log of the network says it: 192.0.2.1:22/tcp, [2001:db8::1]:53/udp, 192.0.2.1/icmp. */
export function destinationText({ host, port, protocol }: Pick<DirectRow, 'host' | 'port' | 'protocol'>): string {
  return `${hostText(host)}${port === 0 ? '' : `:${port}`}/${protocol}`;
}
