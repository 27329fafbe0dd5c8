// Builds certificates: node-forge writes the DER, node:crypto makes the keys and signs. Nothing here verifies anything: whether a
// certificate counts is decided by OpenSSL, of Node for origins and of the clients for ours.
import { createHash, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import forge from 'node-forge';
import { formatIp, parseIp } from '../policy/ip.ts';

const { asn1 } = forge;
type Asn1 = forge.asn1.Asn1;

export const DAY_MS = 86_400_000;
/** Clocks of clients may be behind ours by so much. */
const SKEW_MS = 3_600_000;
/** A leaf lives so long; it is replaced when half of that is over (leaves.ts). */
export const LEAF_LIFE_MS = 2 * DAY_MS;
// X.520: a common name has 64 characters at most. It is for people; what counts is the alternative name.
const COMMON_NAME_MAX = 64;

const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const;
// RFC 5280 §4.2.1.3, as the bytes of a bit string behind its count of unused bits.
const KEY_USAGE = { certSign: '\x02\x04', digitalSignature: '\x07\x80' } as const;
/** Tags of GeneralName (RFC 5280 §4.2.1.6). */
const DNS_NAME = 2;
const IP_ADDRESS = 7;

/** What a certificate may stand for: exact names or the heads of whole domains, and addresses. */
export interface Names {
  readonly domains: readonly string[];
  readonly addresses: readonly string[];
}

/** What signs: the CA's own subject and key identifier, as they stand in its certificate. */
export interface Issuer {
  readonly subject: Asn1;
  readonly keyId: string;
  readonly key: KeyObject;
  readonly notAfterMs: number;
}

/**
 * A self-signed CA that can stand for these names and no others, and only for servers.
 * @returns PEM
 */
export function buildCa(options: {
  readonly commonName: string;
  readonly names: Names;
  readonly key: KeyObject;
  readonly publicKey: KeyObject;
  readonly nowMs: number;
  readonly days: number;
}): string {
  const { commonName, names, key, publicKey, nowMs, days } = options;
  const spki = spkiOf(publicKey);
  const keyId = keyIdOf(spki);
  const subject = distinguishedName([
    [OID.organization, 'Sallyport inspection'],
    // Two of a rotation have different names: some clients look for an issuer by its name alone.
    [OID.commonName, `${commonName} ${Buffer.from(keyId, 'latin1').toString('hex', 0, 4)}`],
  ]);
  return signed(key, {
    issuer: subject,
    subject,
    spki,
    fromMs: nowMs - SKEW_MS,
    untilMs: nowMs + days * DAY_MS,
    extensions: [
      extension(OID.basicConstraints, true, sequence([boolean(true), integer('\x00')])),
      extension(OID.keyUsage, true, universal(asn1.Type.BITSTRING, KEY_USAGE.certSign)),
      extension(OID.extKeyUsage, false, sequence([oid(OID.serverAuth)])),
      extension(OID.nameConstraints, true, nameConstraints(names)),
      extension(OID.subjectKeyIdentifier, false, octets(keyId)),
      extension(OID.authorityKeyIdentifier, false, sequence([contextual(0, keyId)])),
    ],
  });
}

/** A certificate for one host, signed by the CA. @returns PEM */
export function buildLeaf(issuer: Issuer, host: string, kind: 'name' | 'address', spki: Asn1, nowMs: number): string {
  const common = kind === 'name' && host.length <= COMMON_NAME_MAX;
  return signed(issuer.key, {
    issuer: issuer.subject,
    // An address as common name would be taken for a DNS name outside the CA's constraints.
    subject: distinguishedName([[common ? OID.commonName : OID.organization, common ? host : 'Sallyport inspection']]),
    spki,
    fromMs: nowMs - SKEW_MS,
    untilMs: Math.min(nowMs + LEAF_LIFE_MS, issuer.notAfterMs),
    extensions: [
      extension(OID.basicConstraints, true, sequence([])),
      extension(OID.keyUsage, true, universal(asn1.Type.BITSTRING, KEY_USAGE.digitalSignature)),
      extension(OID.extKeyUsage, false, sequence([oid(OID.serverAuth)])),
      extension(OID.subjectAltName, false, sequence([generalName(host, kind)])),
      extension(OID.subjectKeyIdentifier, false, octets(keyIdOf(spki))),
      extension(OID.authorityKeyIdentifier, false, sequence([contextual(0, issuer.keyId)])),
    ],
  });
}

/** A public key as it stands in a certificate. */
export function spkiOf(publicKey: KeyObject): Asn1 {
  return fromDer(publicKey.export({ type: 'spki', format: 'der' }).toString('latin1'));
}

/**
 * What a CA certificate says of itself, out of its DER.
 * @returns null where it is none that can sign here: no CA, or without a key identifier
 */
export function readCa(certificate: X509Certificate): (Omit<Issuer, 'key'> & { names: Names | null }) | null {
  if (!certificate.ca) return null;
  const tbs = childrenOf(childrenOf(fromDer(certificate.raw.toString('latin1')))[0]);
  // Version, serial number, algorithm, issuer, validity, subject, key, extensions (RFC 5280 §4.1).
  const subject = tbs[5];
  const found = new Map<string, Asn1>();
  for (const each of childrenOf(childrenOf(tbs.at(-1))[0])) {
    const parts = childrenOf(each);
    const id = parts[0]?.value;
    const value = parts.at(-1)?.value;
    if (typeof id === 'string' && typeof value === 'string') found.set(asn1.derToOid(id), fromDer(value));
  }
  const keyId = found.get(OID.subjectKeyIdentifier)?.value;
  if (subject === undefined || typeof keyId !== 'string') return null;
  const constraints = found.get(OID.nameConstraints);
  const names = constraints === undefined ? null : permittedNames(constraints);
  return { subject, keyId, names, notAfterMs: Date.parse(certificate.validTo) };
}

function permittedNames(constraints: Asn1): Names {
  const domains: string[] = [];
  const addresses: string[] = [];
  const permitted = childrenOf(constraints).find(({ type }) => Number(type) === 0);
  for (const subtree of childrenOf(permitted)) {
    const base = childrenOf(subtree)[0];
    if (typeof base?.value !== 'string') continue;
    if (Number(base.type) === DNS_NAME) domains.push(base.value);
    // Address and mask; ours are always of one address.
    if (Number(base.type) === IP_ADDRESS) addresses.push(textOf(base.value.slice(0, base.value.length / 2)));
  }
  return { domains, addresses };
}

/**
 * Permitted are the names and addresses that are given; of a kind that is not given at all every one is excluded, since a kind
 * without a constraint would be free.
 */
function nameConstraints({ domains, addresses }: Names): Asn1 {
  const subtrees = (bases: Asn1[]): Asn1[] => bases.map((base) => sequence([base]));
  const permitted = [
    ...domains.map((domain) => contextual(DNS_NAME, domain)),
    ...addresses.map((address) => {
      const bytes = bytesOf(address);
      return contextual(IP_ADDRESS, bytes + '\xff'.repeat(bytes.length));
    }),
  ];
  const excluded = [
    ...(domains.length === 0 ? [contextual(DNS_NAME, '')] : []),
    ...(addresses.length === 0 ? [8, 32].map((length) => contextual(IP_ADDRESS, '\0'.repeat(length))) : []),
  ];
  return sequence([
    ...(permitted.length > 0 ? [constructed(0, subtrees(permitted))] : []),
    ...(excluded.length > 0 ? [constructed(1, subtrees(excluded))] : []),
  ]);
}

interface Body {
  readonly issuer: Asn1;
  readonly subject: Asn1;
  readonly spki: Asn1;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly extensions: Asn1[];
}

function signed(key: KeyObject, body: Body): string {
  // RFC 5758 §3.2: the algorithm has no parameters.
  const algorithm = sequence([oid(OID.ecdsaWithSha256)]);
  const tbs = sequence([
    constructed(0, [integer('\x02')]),
    integer(serial()),
    algorithm,
    body.issuer,
    sequence([time(body.fromMs), time(body.untilMs)]),
    body.subject,
    body.spki,
    constructed(3, [sequence(body.extensions)]),
  ]);
  const signature = sign('sha256', Buffer.from(asn1.toDer(tbs).getBytes(), 'latin1'), key);
  const bits = universal(asn1.Type.BITSTRING, `\0${signature.toString('latin1')}`);
  const der = asn1.toDer(sequence([tbs, algorithm, bits])).getBytes();
  return new X509Certificate(Buffer.from(der, 'latin1')).toString();
}

/** 126 random bits: positive, and of the same length each time. */
function serial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('latin1');
}

/** RFC 5280 §4.2.1.2, method 1: of the bits of the key alone. */
function keyIdOf(spki: Asn1): string {
  const bits = childrenOf(spki)[1]?.value;
  if (typeof bits !== 'string') throw new TypeError('the public key is not as it should be');
  return createHash('sha1')
    .update(Buffer.from(bits.slice(1), 'latin1'))
    .digest()
    .toString('latin1');
}

function distinguishedName(attributes: readonly (readonly [string, string])[]): Asn1 {
  const utf8 = (text: string): Asn1 => universal(asn1.Type.UTF8, forge.util.encodeUtf8(text));
  return sequence(
    attributes.map(([type, value]) =>
      asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SET, true, [sequence([oid(type), utf8(value)])]),
    ),
  );
}

function generalName(host: string, kind: 'name' | 'address'): Asn1 {
  if (kind === 'name') return contextual(DNS_NAME, host);
  return contextual(IP_ADDRESS, bytesOf(host));
}

/** An address as its 4 or 16 bytes. */
function bytesOf(address: string): string {
  const ip = parseIp(address);
  if (ip === null) throw new TypeError(`${address} is no address`);
  const bytes = ip.groups.flatMap((group) => [group >> 8, group & 0xff]);
  return String.fromCharCode(...(ip.family === 4 ? bytes.slice(12) : bytes));
}

function textOf(bytes: string): string {
  const octets = [...bytes].map((each) => each.charCodeAt(0));
  if (octets.length === 4) return octets.join('.');
  const groups = Array.from({ length: 8 }, (_, at) => ((octets[2 * at] ?? 0) << 8) | (octets[2 * at + 1] ?? 0));
  return formatIp({ family: 6, groups });
}

function extension(id: string, critical: boolean, value: Asn1): Asn1 {
  return sequence([oid(id), ...(critical ? [boolean(true)] : []), octets(asn1.toDer(value).getBytes())]);
}

/** RFC 5280 §4.1.2.5: two digits of the year until 2049, four from then on. */
function time(ms: number): Asn1 {
  const at = new Date(ms);
  return at.getUTCFullYear() < 2050
    ? universal(asn1.Type.UTCTIME, asn1.dateToUtcTime(at))
    : universal(asn1.Type.GENERALIZEDTIME, asn1.dateToGeneralizedTime(at));
}

/** Bit strings stay as they are: forge would take a key whose bytes happen to look like DER for a structure. */
function fromDer(der: string): Asn1 {
  return asn1.fromDer(der, { strict: true, parseAllBytes: true, decodeBitStrings: false } as unknown as boolean);
}

function childrenOf(node: Asn1 | undefined): Asn1[] {
  return Array.isArray(node?.value) ? node.value : [];
}

function universal(type: forge.asn1.Type, value: string): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, type, false, value);
}
function sequence(value: Asn1[]): Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, asn1.Type.SEQUENCE, true, value);
}
function constructed(tag: number, value: Asn1[]): Asn1 {
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, tag, true, value);
}
function contextual(tag: number, value: string): Asn1 {
  return asn1.create(asn1.Class.CONTEXT_SPECIFIC, tag, false, value);
}
function oid(id: string): Asn1 {
  return universal(asn1.Type.OID, asn1.oidToDer(id).getBytes());
}
function octets(value: string): Asn1 {
  return universal(asn1.Type.OCTETSTRING, value);
}
function integer(value: string): Asn1 {
  return universal(asn1.Type.INTEGER, value);
}
function boolean(value: boolean): Asn1 {
  return universal(asn1.Type.BOOLEAN, value ? '\xff' : '\0');
}
