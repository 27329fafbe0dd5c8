// Section "Wildcard" of docs/threat-model.md: `*.d` is one or more labels below d, and never d itself.
import { describe, expect, it } from 'vitest';
import {
  ALLOWED,
  badTarget,
  connect,
  malformed,
  notListed,
  refused,
  refusedAfterLookup,
  row,
  useStage,
  works,
} from './stage.ts';

const S3 = 's3.amazonaws.test';
const stage = useStage({
  policy: (one) => ({ allow: [one.rule(ALLOWED), one.rule(`*.${S3}`)] }),
  names: Object.fromEntries([
    ...['bucket', 'a.b', 'a.b.c.d', 'under_score', '_acme', 'a--b', 'trailing-', '1', '0x7f'].map((name) => [
      `${name}.${S3}`,
      ['127.0.0.1'],
    ]),
    ...[S3, `evil${S3}`, `x.${S3}.evil.test`, 'bucket.s3xamazonaws.test', 'amazonaws.test'].map((name) => [
      name,
      ['127.0.0.2'],
    ]),
  ]),
});
const at = (host: string): string => connect(`${host}:{p}`);

row('W1 one label below the domain', stage, [
  ['lower case', at(`bucket.${S3}`), works(`bucket.${S3}`)],
  ['capitals', at('BUCKET.S3.AMAZONAWS.TEST'), works(`bucket.${S3}`)],
  ['with a trailing dot', at(`bucket.${S3}.`), works(`bucket.${S3}`)],
]);

row('W2 the domain itself is not below itself', stage, [
  ['the apex', at(S3), notListed],
  ['the apex with a trailing dot', at(`${S3}.`), notListed],
  ['the apex in capitals', at(S3.toUpperCase()), notListed],
  ['its parent', at('amazonaws.test'), notListed],
]);

row('W3 several labels below the domain match, as documented', stage, [
  ['two', at(`a.b.${S3}`), works(`a.b.${S3}`)],
  ['four', at(`a.b.c.d.${S3}`), works(`a.b.c.d.${S3}`)],
]);

row('W4 the dot before the domain is load-bearing', stage, [
  ['the domain as the end of a longer label', at(`evil${S3}`), notListed],
  ['the domain in the middle', at(`x.${S3}.evil.test`), notListed],
  ['a letter where the dot was', at('bucket.s3xamazonaws.test'), notListed],
  ['a hyphen where the dot was', at(`bucket-${S3}`), notListed],
]);

row('W5 an empty label or a star is no label', stage, [
  ['an empty label', at(`.${S3}`), malformed],
  ['a star', at(`*.${S3}`), malformed],
  ['two dots', at(`bucket..${S3}`), malformed],
  ['a star inside', at(`b*t.${S3}`), malformed],
]);

row('W6 garbage before the suffix does not match it', stage, [
  ['a NUL behind a denied name', at(`denied.test\0.${S3}`), badTarget],
  ['a space behind a denied name', at(`denied.test .${S3}`), refused(400, 'request-malformed')],
  ['a slash behind a denied name', at(`denied.test/.${S3}`), malformed],
  ['a question mark behind a denied name', at(`denied.test?.${S3}`), malformed],
  ['a colon and a port behind a denied name', at(`denied.test:{p}.${S3}`), malformed],
  ['an address as labels: a name that does not exist', at(`127.0.0.1.${S3}`), refusedAfterLookup(502, 'dns-failed')],
]);

row('W7 labels as real names have them', stage, [
  ['an underscore', at(`under_score.${S3}`), works(`under_score.${S3}`)],
  ['a leading underscore', at(`_acme.${S3}`), works(`_acme.${S3}`)],
  ['two hyphens', at(`a--b.${S3}`), works(`a--b.${S3}`)],
  ['a hyphen at the end', at(`trailing-.${S3}`), works(`trailing-.${S3}`)],
  ['a digit', at(`1.${S3}`), works(`1.${S3}`)],
  ['a hexadecimal number', at(`0x7f.${S3}`), works(`0x7f.${S3}`)],
]);

describe('W1 one label below the domain: it is resolved as itself', () => {
  it('and no other name was asked of the name server', () => {
    const asked = new Set(stage.world.dns.log.map(({ name }) => name));
    for (const name of asked) expect(name === ALLOWED || name.endsWith(`.${S3}`)).toBe(true);
    expect(asked).not.toContain(S3);
  });
});
