// The key `policy`: where the rules come from, where they do not stand in the file of the machine itself.
// PURE. What belongs to the machine (listeners, logs, names, limits) stays in its file; what many nodes share stands in the source.
import { z } from 'zod';
import * as leaf from './leaf.ts';

export const policyKey = z
  .strictObject({
    source: leaf.policySource(
      'A folder with sallyport.yaml, or the https:// URL of a signed bundle of one, which `sallyport bundle make` writes.',
    ),
    public_keys: z
      .array(leaf.filePath('An Ed25519 public key in PEM.'))
      .min(1)
      .max(16)
      .describe('Who may sign the bundle; several while a key is replaced.')
      .optional(),
    dir: leaf
      .filePath(
        'Where bundles are unpacked; the last good one stays there. Default data/policy. Relative to the working directory.',
      )
      .optional(),
    addresses: z
      .array(leaf.cidr())
      .describe('Ranges that the host of the URL may resolve into besides public addresses.')
      .optional(),
    ca_file: leaf.filePath('Certificates to trust for the URL besides those of the system, in PEM.').optional(),
  })
  .describe('Where rules, modes, layers and tests come from; without it they stand in this file.');

export type PolicyPlace = z.output<typeof policyKey>;

/** Keys that stand in the source, and then not in the file of the machine. */
// biome-ignore format: a list of words
export const SOURCE_KEYS: readonly string[] = [
  'allow', 'deny', 'mode', 'modes', 'observe', 'private_upstreams', 'metadata_addresses', 'expected_denials',
  'tests', 'layers', 'help',
];

export const SOURCE_DIR = 'data/policy';
/** In the folder of bundles: the one in force. */
export const CURRENT = 'current';
export const BASE_NAME = 'sallyport.yaml';
