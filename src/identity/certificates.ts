// A client certificate that the TLS listener has verified → what it proves, by the operator's list: names in it are matched, the first
// entry that fits counts. A certificate that no entry names proves that somebody we trust issued it, and no attribute.
import type { X509Certificate } from 'node:crypto';
import type { CertificateSettings } from '../config/identity.ts';
import type { Identity } from '../policy/record.ts';
import { globMatches } from '../policy/selector.ts';

/** Names of a certificate, as far as they are matched. */
export interface CertificateNames {
  /** DNS names in lower case, and URIs as they are. */
  readonly alternatives: readonly string[];
  /** The common name; '' where there is none, or more than one. */
  readonly commonName: string;
}

export function namesOf(certificate: X509Certificate): CertificateNames {
  return {
    alternatives: alternativesOf(certificate.subjectAltName ?? ''),
    commonName: commonNameOf(certificate.subject),
  };
}

/** The identity of a client with this certificate; `base` is what its address is. */
export function certificateIdentity(
  names: CertificateNames,
  entries: readonly CertificateSettings[],
  base: Identity,
): Identity {
  const entry = entries.find((one) => matches(one, names));
  const attributes = Object.freeze({ ...base.attributes, ...entry?.attributes });
  return Object.freeze({ kind: 'certificate', attributes, claimed: Object.freeze({}) });
}

function matches({ san, cn }: CertificateSettings, names: CertificateNames): boolean {
  if (san !== null && !names.alternatives.some((name) => globMatches(san, name))) return false;
  return cn === null || (names.commonName !== '' && globMatches(cn, names.commonName));
}

const DNS = 'DNS:';
const URI = 'URI:';

/**
 * Node prints `DNS:a.example, URI:spiffe://…`, and a value with anything odd in it as a JSON string (CVE-2021-44532): such a one is
 * left out, since no name that an operator writes looks so.
 */
function alternativesOf(text: string): string[] {
  return text.split(', ').flatMap((part) => {
    if (part.includes('"')) return [];
    if (part.startsWith(DNS)) return [part.slice(DNS.length).toLowerCase()];
    return part.startsWith(URI) ? [part.slice(URI.length)] : [];
  });
}

/** The subject has one line for each part; a backslash escapes, so what has one is no plain name. */
function commonNameOf(subject: string | undefined): string {
  const names = (subject ?? '').split('\n').filter((line) => line.startsWith('CN='));
  const [only = ''] = names;
  return names.length === 1 && !only.includes('\\') ? only.slice('CN='.length) : '';
}
