// The rule that a grant means. PURE. A store is no policy: what comes out of it is read as strictly as a file, and whoever takes it in force
// judges it by the ceiling.
import { type Cidr, parseCidr } from './address.ts';
import { type CompiledPolicy, compilePolicy, EMPTY_SOURCE, PROTOCOLS, type RuleSource } from './compile.ts';
import { GRANTS_LAYER, type Grant, grantName } from './grant.ts';
import { parsePattern } from './pattern.ts';
import { ATTRIBUTES } from './record.ts';
import type { Selector } from './selector.ts';

const PORT_MAX = 65_535;

/** The rule that it means; null where it is not well-formed. */
export function grantRule(grant: Grant): RuleSource | null {
  const pattern = parsePattern(grant.host);
  const addresses: (Cidr | null)[] = grant.addresses.map(parseCidr);
  const known = grant.protocol === null || PROTOCOLS.includes(grant.protocol);
  const port = Number.isInteger(grant.port) && grant.port > 0 && grant.port <= PORT_MAX;
  if (!pattern.ok || !known || !port || !isSelector(grant.for) || addresses.includes(null)) return null;
  const name = grantName(grant.id);
  return {
    effect: 'allow',
    pattern: pattern.pattern,
    ports: [grant.port],
    protocol: grant.protocol,
    addresses: addresses.filter((range) => range !== null),
    metadata: false,
    paths: null,
    inspect: null,
    mode: null,
    for: grant.for,
    expires: grant.expires,
    id: name,
    origin: name,
    group: null,
    need: null,
    reason: grant.reason,
    owner: grant.owner,
    layer: GRANTS_LAYER,
  };
}

/** Rules of grants, compiled for Policy; all else of it is empty. */
export function compileGrants(rules: readonly RuleSource[]): CompiledPolicy {
  return compilePolicy({ ...EMPTY_SOURCE, rules, digest: GRANTS_LAYER });
}

/** Attributes with at least one glob each; an empty selector would select everyone. */
function isSelector(value: Selector): boolean {
  const entries = Object.entries(value);
  return (
    entries.length > 0 &&
    entries.every(
      ([name, globs]) =>
        ATTRIBUTES.some((known) => known === name) &&
        Array.isArray(globs) &&
        globs.length > 0 &&
        globs.every((glob) => typeof glob === 'string' && glob !== ''),
    )
  );
}
