// The key `layers` of the base file: which file is the ceiling, which files grant what to whom.
// PURE. Whom a file is for stands here and nowhere else: a file that says it of itself could name somebody else's pipeline.
import { z } from 'zod';
import * as leaf from './leaf.ts';

/** Where the name of a file, without its folder and ending, goes into a selector: for: { pipeline: "{name}" }. */
export const NAME = '{name}';

/** Parts that the schema of rules has. */
interface Parts<S extends z.ZodType, A extends z.ZodType> {
  readonly selector: (about: string) => S;
  readonly accept: A;
}

export function layersKey<S extends z.ZodType, A extends z.ZodType>({ selector, accept }: Parts<S, A>) {
  return z
    .strictObject({
      ceiling: leaf
        .layerPath(
          'The file of what may be granted at all, relative to this file. Without it nothing is granted.',
          false,
        )
        .optional(),
      pipelines: z
        .array(
          z.strictObject({
            file: leaf.layerPath(
              'A file of rules, or several: pipelines/*.yaml. Relative to this file, and below its folder.',
              true,
            ),
            for: selector(
              'Whom the file is for: each of its rules is for them alone. {name} is the name of the file without its ending.',
            ),
            owner: leaf.line('Who answers for its rules, where they do not say it.').optional(),
            reason: leaf.line('Why the entry is as it is.').optional(),
            accept,
          }),
        )
        .min(1)
        .describe('The files that grant something; the first entry that names a file says whom it is for.')
        .optional(),
    })
    .describe('Further policy files: the ceiling, and what is granted inside it to some pipelines alone.');
}
