// Lines that the Linux kernel logs for a packet (nft `log prefix`, iptables -j LOG): `PREFIX IN= OUT=eth0 SRC=… DST=… PROTO=TCP SPT=…
// DPT=…`, as journalctl (short, short-iso, short-unix, json), syslog, ulogd or `dmesg -T` write them. Times of the short form have neither year nor
// zone: the year is the latest that is not in the future, the zone is the operator's to say.
import { bad, countOf, endsOf, type Flow, type FlowRead, OTHER } from './flow.ts';

export interface KernelOptions {
  /** ms since the epoch. */
  readonly now: number;
  /** What the zone of times without one is ahead of UTC. */
  readonly zoneMs: number;
}

const DAY_MS = 86_400_000;
/** Years back that a day is looked for: the 29th of February is there every fourth. */
const YEARS_MAX = 4;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

const SHORT = /^([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d)(?:\.\d{1,9})? (\S+) (?:kernel: )?/;
const ISO = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?(Z|[+-]\d\d:?\d\d) (\S+) (?:kernel: )?/;
const UNIX = /^(\d{9,10})(?:\.\d{1,9})? (\S+) (?:kernel: )?/;
/** `dmesg -T`, which does not say whose it is. */
const DMESG = /^\[[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})\] /;
/** Everything of a packet stands behind it; the prefix before it is the rule's. */
const PACKET = /(?:^|[^A-Z])IN=(\S*) OUT=(\S*) /;
/** A rule says what it does in its prefix at best: it is taken for one that refuses, unless one of these words says otherwise. */
const ACCEPTS = /(?:^|[^a-z0-9])(?:accept|accepted|allow|allowed|pass|passed|permit|permitted)(?:[^a-z0-9]|$)/i;
const REFUSES =
  /(?:^|[^a-z0-9])(?:not|no|un|block|blocked|deny|denied|drop|dropped|refused?|reject|rejected)(?:[^a-z0-9]|$)/i;

/** Echo requests; every other message answers something, or finds neighbours. */
const PING: Readonly<Record<string, string>> = { icmp: '8', icmpv6: '128' };

interface Stamped {
  /** ms, whole seconds; null where it is no time. */
  readonly at: number | null;
  readonly machine: string;
  readonly message: string;
}

export class KernelReader {
  readonly #options: KernelOptions;

  constructor(options: KernelOptions) {
    this.#options = options;
  }

  knows(line: string): boolean {
    return PACKET.test(line) && line.includes('SRC=') && line.includes('DST=');
  }

  read(line: string): FlowRead {
    if (!this.knows(line)) return OTHER;
    const stamped = line.startsWith('{') ? fromJournal(line) : this.#stamped(line);
    if (stamped === null) return bad('it does not begin with a time and a machine');
    if (stamped.at === null) return bad('its time is none');
    return packetOf(stamped.at, stamped.machine, stamped.message);
  }

  #stamped(line: string): Stamped | null {
    const short = SHORT.exec(line);
    if (short !== null) {
      const [head, month = '', day = '', hour = '', minute = '', second = '', machine = ''] = short;
      const clock = [Number(hour), Number(minute), Number(second)] as const;
      return { at: this.#latest(MONTHS.indexOf(month), Number(day), clock), machine, message: line.slice(head.length) };
    }
    const iso = ISO.exec(line);
    if (iso !== null) {
      const [head, time = '', zone = '', machine = ''] = iso;
      const at = Date.parse(`${time}${zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone}`);
      return { at: Number.isFinite(at) ? at : null, machine, message: line.slice(head.length) };
    }
    const unix = UNIX.exec(line);
    if (unix !== null) {
      const [head, seconds = '', machine = ''] = unix;
      return { at: Number(seconds) * 1_000, machine, message: line.slice(head.length) };
    }
    const dmesg = DMESG.exec(line);
    if (dmesg === null) return null;
    const [head, month = '', day = '', hour = '', minute = '', second = '', year = ''] = dmesg;
    const clock = [Number(hour), Number(minute), Number(second)] as const;
    const at = momentOf(Number(year), MONTHS.indexOf(month), Number(day), clock);
    return { at: at === null ? null : at - this.#options.zoneMs, machine: '', message: line.slice(head.length) };
  }

  /** The latest such moment that is not in the future; a machine's clock may be a day ahead. */
  #latest(month: number, day: number, clock: Clock): number | null {
    const { now, zoneMs } = this.#options;
    const year = new Date(now + zoneMs + DAY_MS).getUTCFullYear();
    for (let back = 0; back <= YEARS_MAX; back++) {
      const local = momentOf(year - back, month, day, clock);
      if (local !== null && local - zoneMs <= now + DAY_MS) return local - zoneMs;
    }
    return null;
  }
}

type Clock = readonly [hour: number, minute: number, second: number];

/** As if it were UTC; null where there is no such day or time. */
function momentOf(year: number, month: number, day: number, [hour, minute, second]: Clock): number | null {
  if (month < 0 || hour > 23 || minute > 59 || second > 60) return null;
  if (new Date(Date.UTC(year, month, day)).getUTCDate() !== day) return null;
  return Date.UTC(year, month, day, hour, minute, second);
}

/** `journalctl -o json`: https://systemd.io/JOURNAL_EXPORT_FORMATS, journal fields by systemd.journal-fields(7). */
function fromJournal(line: string): Stamped | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { MESSAGE: message, __REALTIME_TIMESTAMP: micros, _HOSTNAME: machine } = value as Record<string, unknown>;
  if (typeof message !== 'string' || typeof micros !== 'string' || !/^\d{15,16}$/.test(micros)) return null;
  const at = Math.floor(Number(micros) / 1_000_000) * 1_000;
  return { at, machine: typeof machine === 'string' ? machine : '', message };
}

function packetOf(at: number, machine: string, message: string): FlowRead {
  const packet = PACKET.exec(message);
  if (packet === null) return bad('it has no IN= and OUT=');
  const values = new Map<string, string>();
  // What stands in brackets is the packet that an ICMP message speaks of, and what it does not speak of are options.
  for (const word of message.slice(packet.index + packet[0].length).split(' ')) {
    if (word.startsWith('[')) break;
    const equals = word.indexOf('=');
    const key = equals < 0 ? word : word.slice(0, equals);
    if (!values.has(key)) values.set(key, equals < 0 ? '' : word.slice(equals + 1));
  }
  const value = (key: string): string => values.get(key) ?? '';
  const ends = endsOf(value('SRC'), value('DST'), value('PROTO'), value('SPT'), value('DPT'));
  if (typeof ends === 'string') return bad(ends);
  const prefix = message.slice(0, packet.index);
  const isSyn = values.has('SYN');
  const ping = PING[ends.protocol];
  const flow: Flow = {
    first: at,
    last: at,
    ...ends,
    verdict: ACCEPTS.test(prefix) && !REFUSES.test(prefix) ? 'accept' : 'reject',
    packets: 1,
    bytes: countOf(value('LEN'), 65_535) ?? 0,
    uid: countOf(value('UID'), 0xffff_ffff),
    // What comes in without going on is not this machine's, nor of one behind it.
    began: packet[2] === '' ? false : ping !== undefined ? value('TYPE') === ping : isSyn ? !values.has('ACK') : null,
    mark: `${machine} ${value('ID')}`,
  };
  return { kind: 'flow', flow };
}
