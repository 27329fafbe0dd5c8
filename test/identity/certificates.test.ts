// Names of client certificates, and what they are matched with.
import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { certificateIdentity, namesOf } from '../../src/identity/certificates.ts';
import { ANONYMOUS } from '../../src/policy/record.ts';
import { certificateFor } from '../support/tls.ts';

describe('names', () => {
  it('are the DNS names in lower case, the URIs, and the one common name', () => {
    const { cert } = certificateFor(['A1.Agents.test', '10.0.0.1', 'spiffe://Corp/a1'], { commonName: 'Agent One' });
    expect(namesOf(new X509Certificate(cert))).toEqual({
      alternatives: ['a1.agents.test', 'spiffe://Corp/a1'],
      commonName: 'Agent One',
    });
  });

  it.each<[string, string | undefined, string, string[], string]>([
    ['nothing', undefined, '', [], ''],
    ['two common names', 'DNS:a.test', 'CN=a\nCN=b', ['a.test'], ''],
    ['a common name with an escape', 'DNS:a.test', 'CN=a\\nCN=b', ['a.test'], ''],
    ['a name that Node had to quote', 'DNS:"a.test, DNS:b.test", DNS:c.test', 'CN=x', ['c.test'], 'x'],
    ['other kinds of names', 'IP Address:10.0.0.1, email:a@b.test, DirName:CN=d', 'O=o\nCN=x', [], 'x'],
  ])('%s', (_, subjectAltName, subject, alternatives, commonName) => {
    expect(namesOf({ subjectAltName, subject } as X509Certificate)).toEqual({ alternatives, commonName });
  });
});

describe('entries', () => {
  const names = { alternatives: ['a1.agents.test', 'spiffe://corp/a1'], commonName: 'Agent One' };
  it.each<[string | null, string | null, boolean]>([
    ['a1.agents.test', null, true],
    ['*.agents.test', null, true],
    ['agents.test', null, false],
    ['*gents.tes', null, false],
    ['spiffe://corp/*', null, true],
    ['spiffe://Corp/*', null, false],
    [null, 'Agent *', true],
    [null, 'agent *', false],
    ['*.agents.test', 'Agent *', true],
    ['*.agents.test', 'Other', false],
    ['*.other.test', 'Agent *', false],
  ])('san %s and cn %s', (san, cn, fits) => {
    const identity = certificateIdentity(names, [{ san, cn, attributes: { queue: 'q' } }], ANONYMOUS);
    expect(identity).toEqual({ kind: 'certificate', attributes: fits ? { queue: 'q' } : {}, claimed: {} });
  });

  it('without a common name none is matched, and what the address proves stays', () => {
    const base = { kind: 'address', attributes: { queue: 'a', cluster: 'c' }, claimed: {} } as const;
    const entries = [{ san: null, cn: '*', attributes: { queue: 'q' } }];
    expect(certificateIdentity({ alternatives: [], commonName: '' }, entries, base).attributes).toEqual(
      base.attributes,
    );
    expect(certificateIdentity(names, entries, base).attributes).toEqual({ queue: 'q', cluster: 'c' });
  });
});
