// One record → one line of the audit log, without `prev` and the newline. Written by hand because it runs twice for each
// request on the data plane's thread: fixed keys are concatenated, only text that others wrote is tested and escaped.
// The order of keys is stable and part of the format (docs/audit-log.md); a key that is not written here is not recorded.
import {
  ATTRIBUTES,
  type Attributes,
  type Below,
  type Decided,
  type Ended,
  type Identity,
  type Note,
} from '../policy/record.ts';
import { shownTarget } from '../policy/shown-target.ts';
import { quote, redact, redactTarget } from './text.ts';

/** Hash in the first line of a log: nothing stands before it. */
export const FIRST_PREV = '0'.repeat(64);

/** Longest line that is written or read back; a reader takes more than this without a newline as damage. */
export const LINE_BYTES_MAX = 1_048_576;

/** What the recorder adds to each line. `node` is already quoted. */
export interface Stamp {
  readonly time: string;
  readonly seq: number;
  readonly node: string;
}

const NAME_CAP = 1_024;
const CONFIGURED_MAX = 10_000;

export class LineWriter {
  readonly #cap: number;
  // Identities live as long as a connection or a lease and are frozen: their text is made once, by reference.
  readonly #identities = new WeakMap<Identity, string>();

  // Texts of the policy (digest, group, rule): few, and the same for a long time.
  readonly #configured = new Map<string, string>();

  constructor(cap: number) {
    this.#cap = cap;
  }

  decided(stamp: Stamp, record: Decided): string {
    let line = this.#head(stamp, 'decided', record);
    if (record.target !== undefined) line += `,"target":${quote(redactTarget(record.target), this.#cap)}`;
    line += this.#decision(record) + this.#below(record);
    if (record.nearest !== undefined) {
      const { pattern, rule, why, fix } = record.nearest;
      line += `,"nearest":{"pattern":${this.#text(pattern)},"rule":${this.#orNull(rule)},"why":${this.#text(why)},"fix":${this.#text(fix)}}`;
    }
    if (record.addresses !== undefined) line += `,"addresses":${this.#list(record.addresses)}`;
    if (record.dropped !== undefined) line += `,"dropped":${this.#list(record.dropped)}`;
    if (record.outcome !== undefined) line += `,"outcome":"${record.outcome}"`;
    if (record.user_agent !== undefined) line += `,"user_agent":${quote(redact(record.user_agent), this.#cap)}`;
    return line;
  }

  ended(stamp: Stamp, record: Ended): string {
    let line = this.#head(stamp, 'ended', record) + this.#decision(record) + this.#below(record);
    line += `,"outcome":"${record.outcome}","bytes_up":${count(record.bytes_up)},"bytes_down":${count(record.bytes_down)}`;
    line += `,"duration_ms":${count(record.duration_ms)}`;
    if (record.address !== undefined) line += `,"address":${this.#text(record.address)}`;
    if (record.status !== undefined) line += `,"status":${count(record.status)}`;
    return line;
  }

  note(stamp: Stamp, record: Note): string {
    let detail = '';
    for (const [key, value] of Object.entries(record.detail)) {
      const text = typeof value === 'string' ? quote(redact(value), this.#cap) : JSON.stringify(value);
      detail += `${detail === '' ? '' : ','}${quote(key, NAME_CAP)}:${text}`;
    }
    return `{"time":"${stamp.time}","seq":${stamp.seq},"event":"${record.event}","node":${stamp.node},"policy":${this.#text(record.policy)},"detail":{${detail}}`;
  }

  #head(stamp: Stamp, event: 'decided' | 'ended', record: Decided | Ended): string {
    return `{"time":"${stamp.time}","seq":${stamp.seq},"event":"${event}","id":${this.#text(record.id)},"node":${stamp.node},"identity":${this.#identity(record.identity)},"client":${this.#text(record.client)},"host":${this.#orNull(record.host)},"port":${record.port === null ? 'null' : count(record.port)}`;
  }

  #decision(record: Decided | Ended): string {
    return `,"method":${this.#text(record.method)},"verdict":"${record.verdict}","reason":"${record.reason}","group":${this.#ofPolicy(record.group)},"rule":${this.#ofPolicy(record.rule)},"policy":${this.#ofPolicy(record.policy)}`;
  }

  /** Of a request inside an inspected CONNECT. */
  #below({ tunnel, path, line }: Below): string {
    if (tunnel === undefined) return '';
    const shown = path === undefined ? '' : `,"path":${quote(redact(shownTarget(path)), this.#cap)}`;
    return `,"tunnel":${this.#text(tunnel)}${shown}${line === undefined ? '' : `,"line":${this.#ofPolicy(line)}`}`;
  }

  #identity(identity: Identity): string {
    const known = this.#identities.get(identity);
    if (known !== undefined) return known;
    const via = identity.via === undefined ? '' : `,"via":"${identity.via}"`;
    const candidates = identity.candidates === undefined ? '' : `,"candidates":${this.#list(identity.candidates)}`;
    const text = `{"kind":"${identity.kind}","attributes":${names(identity.attributes)},"claimed":${names(identity.claimed)}${via}${candidates}}`;
    this.#identities.set(identity, text);
    return text;
  }

  #ofPolicy(text: string | null): string {
    if (text === null) return 'null';
    const known = this.#configured.get(text);
    if (known !== undefined) return known;
    if (this.#configured.size >= CONFIGURED_MAX) this.#configured.clear();
    const quoted = quote(text, this.#cap);
    this.#configured.set(text, quoted);
    return quoted;
  }

  #text(text: string): string {
    return quote(text, this.#cap);
  }

  #orNull(text: string | null): string {
    return text === null ? 'null' : quote(text, this.#cap);
  }

  #list(texts: readonly string[]): string {
    return `[${texts.map((text) => quote(text, NAME_CAP)).join(',')}]`;
  }
}

function names(attributes: Attributes): string {
  let text = '';
  for (const name of ATTRIBUTES) {
    const value = attributes[name];
    if (value !== undefined) text += `${text === '' ? '' : ','}"${name}":${quote(redact(value), NAME_CAP)}`;
  }
  return `{${text}}`;
}

/** Numbers come from our own counters; what is no count must still not break the line. */
function count(value: number): string {
  return Number.isSafeInteger(value) && value >= 0 ? String(value) : String(Math.max(0, Math.round(value)) || 0);
}
