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

const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA'] as const;

const CLIENT_CERTIFICATES = ['required', 'optional'] as const;

const slug = leaf.line('The slug of an organization, as it stands in its URLs.', 100);
const audience = leaf.line('The audience that tokens are asked for with.');

export const oidc = z
  .strictObject({
    issuer: leaf
      .httpsUrl('Who issues the tokens, exactly as in their claim iss. Default https://agent.buildkite.com.')
      .optional(),
    audience: z
      .union([audience.transform((one) => [one]), z.array(audience).min(1)])
      .describe('The audience that tokens must be made for: a name of this proxy that nothing else uses, or a list.'),
    organizations: z
      .array(slug)
      .min(1)
      .describe(
        'Slugs of the organizations whose jobs are known. The issuer issues tokens to every organization there is.',
      ),
    jwks: z
      .strictObject({
        file: leaf
          .filePath(
            'A file with the keys (JWKS), for closed networks; read at each reload. Relative to the working directory.',
          )
          .optional(),
        url: leaf.httpsUrl('Where the keys are. Default: /.well-known/jwks of the issuer.').optional(),
        addresses: z
          .array(leaf.cidr())
          .describe('Ranges that the host of the keys may resolve into besides public addresses.')
          .optional(),
      })
      .describe('The keys that tokens are signed with: a file, or a URL. Default: the URL.')
      .optional(),
    leeway_s: z.int().min(0).max(300).describe('Seconds that clocks may differ. Default 30.').optional(),
    algorithms: z
      .array(z.enum(ALGORITHMS))
      .min(1)
      .describe('Ways of signing that are accepted. Default [RS256], as Buildkite signs.')
      .optional(),
    bind_source: z
      .boolean()
      .describe('Whether a token belongs to the first source address that uses it. Default true.')
      .optional(),
  })
  .describe(
    'Jobs that prove themselves by a token of Buildkite (OIDC) as the password of user buildkite, or by a lease.',
  );

const endpoint = leaf.endpoint('Address and port to listen on.');

export const tls = z
  .strictObject({
    listen: z
      .union([endpoint.transform((one) => [one]), z.array(endpoint).min(1)])
      .describe('Where the proxy listens over TLS: "address:port", or a list.'),
    cert: leaf.filePath('The certificate of the proxy with its chain, PEM; read again when it changes.'),
    key: leaf.filePath('Its key, PEM.'),
    client_ca: leaf.filePath('Who issues the certificates of clients, PEM. Without it none are asked for.').optional(),
    client_certificates: z
      .enum(CLIENT_CERTIFICATES)
      .describe('Whether a client must have a certificate. Default required, where client_ca is set.')
      .optional(),
    certificates: z
      .array(
        z.strictObject({
          san: leaf
            .line('A DNS name of the certificate, or a URI where it has "://"; * stands for any characters, dots too.')
            .optional(),
          cn: leaf.line('The common name of its subject; * stands for any characters.').optional(),
          attributes: attributes('What the certificate proves.'),
        }),
      )
      .describe(
        'What certificates of clients prove. The first entry that fits counts; without one they prove no attribute.',
      )
      .optional(),
  })
  .describe('A listener over TLS, besides the plain ones, and who clients are by their certificates.');

export const users = z
  .strictObject({
    file: leaf.filePath(
      'The file of users: NAME:HASH or NAME:HASH:pipeline=web,queue=default, one a line; `sallyport user add` writes it. Relative to the working directory.',
    ),
  })
  .describe('Users who prove themselves by a name and a password in the proxy URL.');
