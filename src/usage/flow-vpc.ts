// VPC flow logs (AWS) as text: the default format, version 2, or any format whose fields a head line or the operator names; as written
// to S3 (with a head), or exported from CloudWatch Logs (a time before each line, with `aws logs tail` the stream's name too).
// Field names are those of the AWS documentation, "Flow log records". PURE.
import { bad, countOf, endsOf, type Flow, type FlowRead, NONE } from './flow.ts';

const DEFAULT_FIELDS =
  'version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status'.split(
    ' ',
  );
/** No format has more. */
const FIELDS_MAX = 100;
const SOURCE = ['pkt-srcaddr', 'srcaddr'];
const DESTINATION = ['pkt-dstaddr', 'dstaddr'];
const NEEDED: readonly (readonly string[])[] = [SOURCE, DESTINATION, ['dstport'], ['protocol'], ['start'], ['action']];

const FIELD = /^(?:\$\{([a-z][a-z0-9-]{0,40})\}|([a-z][a-z0-9-]{0,40}))$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/;
/** 2286; later is no time of this log. */
const SECONDS_MAX = 9_999_999_999;

/** SYN and ACK of tcp-flags: who begins sends SYN alone, who answers both. */
const SYN = 2;
const ACK = 16;

/** The fields that a head line names, or the operator; null where the text is none. */
export function vpcFields(text: string): readonly string[] | null {
  const names = text.trim().split(/\s+/);
  if (names.length > FIELDS_MAX) return null;
  const fields = names.map((name) => FIELD.exec(name)).map((match) => match?.[1] ?? match?.[2] ?? null);
  if (fields.some((field) => field === null)) return null;
  return fields.some((field) => field?.endsWith('addr')) ? (fields as string[]) : null;
}

/** What a format lacks for a record to say who wanted to go where; '' where it has all. */
export function vpcLacks(fields: readonly string[]): string {
  const lacking = NEEDED.filter((names) => !names.some((name) => fields.includes(name)));
  return lacking.map((names) => names.at(-1)).join(', ');
}

export class VpcReader {
  #fields: readonly string[];
  #lacks: string;

  /** @param fields of the lines, until a head line names others */
  constructor(fields: readonly string[] = DEFAULT_FIELDS) {
    this.#fields = fields;
    this.#lacks = vpcLacks(fields);
  }

  /** True where the line may be one of these formats: a head, or a record with the right number of fields. */
  knows(line: string): boolean {
    return vpcFields(line) !== null || (this.#split(line) !== null && this.read(line).kind !== 'bad');
  }

  read(line: string): FlowRead {
    if (line === '') return NONE;
    const head = vpcFields(line);
    if (head !== null) {
      this.#fields = head;
      this.#lacks = vpcLacks(head);
      return this.#lacks === '' ? NONE : bad(`the head has no ${this.#lacks}`);
    }
    if (this.#lacks !== '') return bad(`the format has no ${this.#lacks}`);
    const values = this.#split(line);
    if (values === null) return bad(`it has not ${this.#fields.length} fields`);
    return this.#record((name) => values[this.#fields.indexOf(name)] ?? '');
  }

  /** CloudWatch puts a time before the record, and may put the stream's name between them. */
  #split(line: string): string[] | null {
    const values = line.split(' ', FIELDS_MAX + 2);
    const count = this.#fields.length;
    if (values.length > count && TIME.test(values[0] ?? '')) values.shift();
    if (values.length === count + 1 && (values[0] ?? '').startsWith('eni-')) values.shift();
    return values.length === count ? values : null;
  }

  #record(value: (name: string) => string): FlowRead {
    const status = value('log-status');
    if (status === 'NODATA') return NONE;
    if (status === 'SKIPDATA') return { kind: 'lost' };
    if (status !== '' && status !== 'OK') return bad('its log-status is neither OK, NODATA nor SKIPDATA');
    const either = (names: readonly string[]): string =>
      names.map(value).find((text) => text !== '' && text !== '-') ?? '';
    const ends = endsOf(either(SOURCE), either(DESTINATION), value('protocol'), value('srcport'), value('dstport'));
    if (typeof ends === 'string') return bad(ends);
    const verdict = value('action').toLowerCase();
    if (verdict !== 'accept' && verdict !== 'reject') return bad('its action is neither ACCEPT nor REJECT');
    const start = countOf(value('start'), SECONDS_MAX);
    const end = value('end') === '' ? start : countOf(value('end'), SECONDS_MAX);
    if (start === null || end === null || end < start) return bad('its start and end are no times');
    const packets = value('packets') === '' ? 1 : countOf(value('packets'));
    const bytes = value('bytes') === '' ? 0 : countOf(value('bytes'));
    if (packets === null || bytes === null) return bad('packets or bytes is no number');
    const flow: Flow = {
      first: start * 1_000,
      last: end * 1_000,
      ...ends,
      verdict,
      packets,
      bytes,
      uid: null,
      began: beganBy(value('tcp-flags')),
      mark: value('interface-id'),
    };
    return { kind: 'flow', flow };
  }
}

function beganBy(flags: string): boolean | null {
  const bits = countOf(flags, 255) ?? 0;
  return (bits & SYN) === 0 ? null : (bits & ACK) === 0;
}
