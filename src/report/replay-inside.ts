// What a rule would say to a recorded request inside an inspected CONNECT. PURE. The record has method and path, of the query the names of
// its keys alone, and no header fields. So it is answered twice, once as if every condition on what is not recorded were met and once as
// if none were: where both answers agree, that is the answer; else nobody can say.
import { decideRequest, type InspectEntry, type Inspection } from '../policy/inspect.ts';

/** Stands for what a record leaves out (policy/shown-target.ts), or cuts off (audit/text.ts). */
const LEFT_OUT = '…';

interface Bounds {
  /** All that could be let through. */
  readonly wide: Inspection;
  /** All that is let through whatever was not recorded. */
  readonly narrow: Inspection;
}

const known = new WeakMap<Inspection, Bounds>();

function boundsOf(inspection: Inspection): Bounds {
  const before = known.get(inspection);
  if (before !== undefined) return before;
  const isFree = ({ query, headers }: InspectEntry): boolean =>
    (query === null || query === 'none') && headers.length === 0;
  const freed = (entry: InspectEntry): InspectEntry => (isFree(entry) ? entry : { ...entry, query: null, headers: [] });
  const { allow, deny } = inspection;
  const bounds = {
    wide: { ...inspection, allow: allow.map(freed), deny: deny.filter(isFree) },
    narrow: { ...inspection, allow: allow.filter(isFree), deny: deny.map(freed) },
  };
  known.set(inspection, bounds);
  return bounds;
}

/** Whether it would be let through; null where the record does not tell. */
export function wouldPass(inspection: Inspection, method: string, shown: string, host: string): boolean | null {
  const mark = shown.indexOf('?');
  const path = mark < 0 ? shown : shown.slice(0, mark);
  if (path.includes(LEFT_OUT)) return null;
  const request = { method, target: shown, host, headers: null };
  const exact = !shown.includes(LEFT_OUT) && hasNoFields(inspection);
  if (exact) return decideRequest(inspection, request).verdict === 'allow';
  const { wide, narrow } = boundsOf(inspection);
  // A key that stands twice is ambiguous to a line that asks for it; to these it is not.
  if (decideRequest(wide, request).verdict === 'deny') return false;
  return decideRequest(narrow, request).verdict === 'allow' ? true : null;
}

function hasNoFields({ allow, deny }: Inspection): boolean {
  return [...allow, ...deny].every(({ headers }) => headers.length === 0);
}
