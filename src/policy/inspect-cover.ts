// Whether whatever one inspection lets through, another one would let through too: for the ceiling, the lint and the comparison of policies.
// PURE and on the safe side: line by line, never by several lines together; when in doubt it says no.
import type { Condition, InspectEntry, Inspection } from './inspect.ts';
import { patternCovers } from './path-pattern.ts';
import { globCovered } from './selector.ts';

/** True where the outer one (null: no inspection, so everything) lets through all that the inner one does. */
export function inspectionCovers(outer: Inspection | null, inner: Inspection | null): boolean {
  if (outer === null) return true;
  if (inner === null) return false;
  return (
    inner.allow.every((line) => outer.allow.some((one) => entryCovers(one, line, outer.endpoint === inner.endpoint))) &&
    outer.deny.every((line) => inner.deny.some((one) => entryText(one) === entryText(line))) &&
    within(outer.maxUploadBytes, inner.maxUploadBytes) &&
    within(outer.maxResponseBytes, inner.maxResponseBytes) &&
    (outer.websocket || !inner.websocket) &&
    (outer.upstreamCa === null || outer.upstreamCa === inner.upstreamCa)
  );
}

/** True where both decide the same; where their lines stand does not count. */
export function sameInspection(one: Inspection | null, other: Inspection | null): boolean {
  return one === other || inspectionText(one) === inspectionText(other);
}

function inspectionText(inspection: Inspection | null): string {
  if (inspection === null) return '';
  const { allow, deny, ...rest } = inspection;
  return JSON.stringify([allow.map(entryText), deny.map(entryText), rest]);
}

function entryText({ methods, path, query, headers, buckets }: InspectEntry): string {
  return JSON.stringify([methods, path, query, headers, buckets]);
}

function within(outer: number | null, inner: number | null): boolean {
  return outer === null || (inner !== null && inner <= outer);
}

function entryCovers(outer: InspectEntry, inner: InspectEntry, sameEndpoint: boolean): boolean {
  if (outer.methods !== null && !inner.methods?.every((method) => outer.methods?.includes(method))) return false;
  if ((outer.buckets === null) !== (inner.buckets === null)) return false;
  const { buckets } = outer;
  if (buckets !== null && !(sameEndpoint && inner.buckets?.every((glob) => globCovered(glob, buckets)))) return false;
  return (
    patternCovers(outer.path, inner.path) &&
    queryCovers(outer.query, inner.query) &&
    outer.headers.every((condition) => asked(condition, inner.headers))
  );
}

function queryCovers(outer: InspectEntry['query'], inner: InspectEntry['query']): boolean {
  if (outer === null) return true;
  if (outer === 'none' || inner === 'none' || inner === null) return outer === inner;
  return outer.every((condition) => asked(condition, inner));
}

/** True where the inner line asks for the same, or for more. */
function asked({ name, globs }: Condition, inner: readonly Condition[]): boolean {
  return inner.some((one) => one.name === name && one.globs.every((glob) => globCovered(glob, globs)));
}
