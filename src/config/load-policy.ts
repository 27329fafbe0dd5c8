// Base and layers → one compiled policy and its digest. What a layer's tests, or those of the base, prove to be wrong with a layer is put
// out of force and all is made anew, so what comes out of here is what was judged.
// The tests of the base must hold without any layer: none of them may stop the base, by being there or by being broken.
import { createHash } from 'node:crypto';
import type { Catalog } from '../catalog/catalog.ts';
import { type CompiledPolicy, compilePolicy, type PolicySource } from '../policy/compile.ts';
import { Policy } from '../policy/decide.ts';
import type { PathProblem } from './issues.ts';
import type { Layers } from './load-layers.ts';
import type { Placed } from './parse.ts';
import { type BuiltPolicy, canonicalText } from './policy-source.ts';
import type { TestItem } from './schema.ts';
import { runTests } from './trial.ts';

export interface Trial {
  /** Those of the base. */
  readonly tests: readonly Placed<TestItem>[];
  /** `file:line` of a path in the base. */
  readonly place: (path: readonly PropertyKey[]) => string;
  readonly now: number;
}

export interface MadePolicy {
  readonly source: PolicySource;
  readonly policy: CompiledPolicy;
  /** Tests of the base that fail. */
  readonly failed: readonly PathProblem[];
}

/** Makes the policy, with the layers that stand the tests. */
export function makePolicy(built: BuiltPolicy, catalog: Catalog, layers: Layers | null, trial: Trial): MadePolicy {
  const { tests, place, now } = trial;
  let made = compiled(built, catalog, layers);
  while (layers?.judge(new Policy(made.policy), tests, place, now)) made = compiled(built, catalog, layers);
  const base = made.source.rules.length === built.rules.length ? made : compiled(built, catalog, null);
  return { ...made, failed: tests.length === 0 ? [] : runTests(new Policy(base.policy), tests, now) };
}

function compiled(built: BuiltPolicy, catalog: Catalog, layers: Layers | null): Omit<MadePolicy, 'failed'> {
  const rules = [...built.rules, ...(layers?.rules ?? [])].map(({ rule }) => rule);
  const whole = { ...built.source, rules };
  const source: PolicySource = { ...whole, digest: digestOf(canonicalText(whole, catalog)) };
  return { source, policy: compilePolicy(source) };
}

function digestOf(canonical: string): string {
  return createHash('sha256').update(canonical).digest('hex').slice(0, 16);
}
