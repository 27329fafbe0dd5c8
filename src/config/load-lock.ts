// The lock beside a policy file: where it stands, the catalog is the one that was accepted, whatever the program brings. What a newer
// program changes is told, and a host that it calls required is told loudly; neither is let in before somebody accepts it.
import { statSync } from 'node:fs';
import type { Catalog } from '../catalog/catalog.ts';
import { type CatalogChange, catalogChanges } from '../catalog/diff.ts';
import { loadCatalog } from '../catalog/load.ts';
import type { Problem } from '../errors.ts';
import { lockPath } from './load-beside.ts';

/** The lock in force: null where there is none, and for the built-in policy. A dangling link is one that cannot be read. */
export function lockOf(file: string | null): string | null {
  if (file === null) return null;
  const path = lockPath(file);
  return statSync(path, { throwIfNoEntry: false }) === undefined ? null : path;
}

/**
 * What of the program's catalog waits for acceptance: each host that is required, and one line for the rest of the groups in use.
 * @param groups the groups that the policy switches on
 */
export function pendingProblems(lock: string, accepted: Catalog, groups: ReadonlySet<string>): Problem[] {
  const offered = loadCatalog();
  if (offered.version === accepted.version && offered.digest === accepted.digest) return [];
  const changes = catalogChanges(accepted, offered);
  const required = changes.filter(({ kind, need }) => kind !== 'removed' && need === 'required');
  const others = changes.filter((one) => groups.has(one.group) && !required.includes(one));
  const hint = '`sallyport catalog diff` shows what it is; `sallyport catalog accept` lets it in.';
  const problem = (code: 'catalog-required' | 'catalog-pending', message: string): Problem => ({
    code,
    severity: 'warning',
    at: { file: lock, line: 1, column: 1 },
    message,
    hint,
  });
  const problems = required.map((one) =>
    problem(
      'catalog-required',
      `catalog ${offered.version} of this program requires ${changeText(one)}, which is not accepted: it is not let through by its group`,
    ),
  );
  if (others.length > 0) {
    const named = others.slice(0, 3).map(changeText).join('; ');
    const more = others.length > 3 ? ` and ${others.length - 3} more` : '';
    problems.push(
      problem(
        'catalog-pending',
        `catalog ${offered.version} of this program has changes that are not accepted: ${named}${more}`,
      ),
    );
  }
  return problems;
}

/** "agent.buildkite.com:443 (bk-agent in buildkite-agent)". */
export function changeText({ kind, host, ports, entry, group, what }: CatalogChange): string {
  const how = kind === 'changed' ? `, ${what.join(', ')}` : kind === 'removed' ? ', removed' : '';
  return `${host}:${ports.join(',')} (${entry} in ${group}${how})`;
}
