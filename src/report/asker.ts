// Somebody as a person describes him, to ask what he would be answered: `pipeline=web,queue=default`, taken as proven. For the commands
// with --as and for the admin API, so that both speak of the same identity. PURE.
import { ATTRIBUTES, type Attribute, type Attributes, type Identity } from '../policy/record.ts';

/** The parts of `KEY=VALUE,KEY=VALUE`: a comma ends a value only where another key follows. */
export function partsOf(text: string): string[] {
  return text.split(/,(?=[a-z_]+=)/);
}

/** One part; null where it is not KEY=VALUE with a key that identities have. */
export function attributeOf(part: string): { readonly key: Attribute; readonly value: string } | null {
  const split = part.indexOf('=');
  const value = part.slice(split + 1);
  const key = ATTRIBUTES.find((name) => name === part.slice(0, Math.max(0, split)));
  return key === undefined || value === '' ? null : { key, value };
}

/** The identity that has proven these. */
export function asProven(attributes: Attributes): Identity {
  return { kind: kindOf(attributes), attributes, claimed: {} };
}

/** What only the token of a job says. A queue, a cluster, an agent may also be known by address or certificate. */
const OF_JOBS = ['pipeline', 'pipeline_id', 'branch', 'step', 'job', 'build'] as const;

function kindOf(attributes: Attributes): Identity['kind'] {
  if (attributes.user !== undefined) return 'user';
  return OF_JOBS.some((name) => attributes[name] !== undefined) ? 'job' : 'address';
}
