// The policy that another one is compared with: a folder, or the same folder in another commit of its Git repository. The files of the commit
// are written into a temporary folder by git itself; neither its index nor its working tree is touched.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { LoadOptions } from '../config/load.ts';
import { type LoadedHere, loadConfigHere } from '../config/load-here.ts';
import { usage } from './input.ts';

const GIT_OUTPUT_BYTES_MAX = 1_048_576;

export interface Against {
  readonly loaded: LoadedHere;
  /** A `file:line` of it as people know it: where it stands is a temporary folder. */
  readonly shown: (origin: string) => string;
}

/** The file that is checked, and how. */
export type CheckedFile = Pick<LoadOptions, 'now' | 'shared'> & { readonly file: string };

/**
 * Loads the other policy: the file of the same name there.
 * @param name a folder, or whatever git takes for a commit: main, HEAD~1, a tag
 * @throws SallyportError where it is not valid
 */
export function loadAgainst(name: string, { file, ...how }: CheckedFile): Against {
  if (statSync(name, { throwIfNoEntry: false })?.isDirectory())
    return { loaded: loadConfigHere({ file: join(name, basename(file)), ...how }), shown: (origin) => origin };
  const folder = dirname(file);
  const scratch = mkdtempSync(join(tmpdir(), 'sallyport-against-'));
  try {
    const tree = join(scratch, 'tree/');
    const env = { ...process.env, GIT_INDEX_FILE: join(scratch, 'index') };
    const git = (at: string, ...args: string[]): string =>
      execFileSync('git', ['-C', at, ...args], {
        env,
        encoding: 'utf8',
        maxBuffer: GIT_OUTPUT_BYTES_MAX,
        stdio: ['ignore', 'pipe', 'pipe'],
      }).trim();
    const prefix = git(folder, 'rev-parse', '--show-prefix').replace(/\/$/, '');
    const commit = git(folder, 'rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`);
    // In a folder of the repository git would write out only what lies below a path of that name.
    const top = git(folder, 'rev-parse', '--show-toplevel');
    git(top, 'read-tree', prefix === '' ? commit : `${commit}:${prefix}`);
    git(top, 'checkout-index', '--all', `--prefix=${tree}`);
    const loaded = loadConfigHere({ file: join(tree, basename(file)), ...how });
    return { loaded, shown: (origin) => (origin.startsWith(tree) ? `${name}:${origin.slice(tree.length)}` : origin) };
  } catch (error) {
    if (!(error instanceof Error) || !('status' in error)) throw error;
    const said = 'stderr' in error ? String(error.stderr).trim().split('\n')[0] : '';
    throw usage(
      `--against ${JSON.stringify(name)} is neither a folder nor a commit that has ${folder}${said ? `: ${said}` : ''}`,
      'Name a folder, or a branch, tag or commit of the repository that the policy stands in.',
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
