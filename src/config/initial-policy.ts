// The policy that `sallyport init` writes: the shipped file, in observe mode, so that there is one text to keep right.
// It must not open anything that the shipped file does not: only the mode differs, and the head says so.
import { readFileSync } from 'node:fs';
import { packaged } from '../places.ts';

/** The shipped policy. */
export const SHIPPED_POLICY = packaged('config/sallyport.yaml');

const ENFORCING_HEAD = `# As it stands, this file lets through the hosts that every self-hosted Buildkite agent must reach, and refuses the rest.
`;
const OBSERVING_HEAD = `# As it stands, this file OBSERVES: what is not allowed passes all the same and is recorded as would-deny.
# Run builds for a week, look at \`sallyport report\`, allow what is needed, then write mode: enforce.
`;

/**
 * The text of a new policy file.
 * @param shipped the shipped file's text; read from the package where it is not given
 */
export function initialPolicy(shipped: string = readFileSync(SHIPPED_POLICY, 'utf8')): string {
  return replaceOnce(replaceOnce(shipped, ENFORCING_HEAD, OBSERVING_HEAD), '\nmode: enforce\n', '\nmode: observe\n');
}

function replaceOnce(text: string, from: string, to: string): string {
  const parts = text.split(from);
  if (parts.length !== 2) throw new Error(`the shipped policy must hold this exactly once: ${JSON.stringify(from)}`);
  return parts.join(to);
}
