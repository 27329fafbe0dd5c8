// The keys of the file that say how clients prove who they are: users, tokens of jobs, certificates.
// PURE. Shapes only; what they refer to on the disk is read by load-identity.ts.
import { z } from 'zod';
import { ATTRIBUTES } from '../policy/record.ts';
import * as leaf from './leaf.ts';

/** A shape with one optional value for each name. */
export function byName<N extends string, T extends z.ZodType>(names: readonly N[], make: (name: N) => T): Record<N, T> {
  return Object.fromEntries(names.map((name) => [name, make(name)])) as Record<N, T>;
}

/** Attributes and their values. */
export const attributes = (about: string) =>
  z.strictObject(byName(ATTRIBUTES, (name) => leaf.line(`The ${name}.`).optional())).describe(about);

export const users = z
  .strictObject({
    file: leaf.filePath(
      'The file of users: NAME:HASH or NAME:HASH:pipeline=web,queue=default, one a line; `sallyport user add` writes it. Relative to the working directory.',
    ),
  })
  .describe('Users who prove themselves by a name and a password in the proxy URL.');
