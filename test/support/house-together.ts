// What test files that share a process (vitest.config.ts) must not do: which of them it has run before is chance, and no test may depend on that.
import { codeOnly, lineOf, type Rule } from './house-rules.ts';

/** Measures or changes what is the process's and not the test's. */
const OF_THE_PROCESS =
  /\bopenFds\b|\b(?:memory|cpu|resource)Usage\b|\bprocess\s*\.\s*on\b|\bstubEnv\b|(?:\bdelete\s+process\.env\b|\bprocess\.env\s*\[[^\]]*\]\s*(?:\?\?)?=(?!=))/g;
/** Outside of every function: it is said once in a process, when the module is loaded, and counts for that file alone. */
const HOOK = /^(?:before|after)(?:Each|All)\(/gm;

/** `together`: those files. */
export function fitTogether(together: readonly string[]): Rule {
  return (tree) => {
    const found: string[] = [];
    for (const [path, text] of tree) {
      const isTest = path.endsWith('.test.ts');
      if (!path.startsWith('test/') || !path.endsWith('.ts') || (isTest && !together.includes(path))) continue;
      const code = codeOnly(text);
      for (const { 0: what, index } of code.matchAll(isTest ? OF_THE_PROCESS : HOOK)) {
        found.push(
          isTest
            ? `${path}:${lineOf(code, index)} has ${what}, which is of the whole process; it belongs to APART in vitest.config.ts`
            : `${path}:${lineOf(code, index)} has a hook for the first file that imports it and no other; make it a function that each of them calls`,
        );
      }
    }
    return found;
  };
}
