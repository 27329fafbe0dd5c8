// Second places of the audit log as they are written: what becomes of them, and what is refused with its place and the way out.
import { describe, expect, it } from 'vitest';
import { inFolderOfItsOwn, loadText } from './support.ts';

inFolderOfItsOwn();

describe('second places', () => {
  it('become settings', () => {
    const places = (text: string) => loadText(`version: 1\naudit: ${text}\n`).loaded?.settings.audit;
    expect(places('{}')).toMatchObject({ ship: null, checkpoints: null });
    expect(
      places('{ ship: { dir: /mnt/audit, key: k.pem }, checkpoints: { s3: { region: eu-central-1, bucket: acme } } }'),
    ).toMatchObject({
      ship: { place: { kind: 'dir', dir: '/mnt/audit' }, key: 'k.pem' },
      checkpoints: {
        place: {
          kind: 's3',
          endpoint: null,
          region: 'eu-central-1',
          bucket: 'acme',
          prefix: '',
          caFile: null,
          credentials: null,
        },
        key: null,
      },
    });
    const s3 =
      '{ endpoint: "http://[::1]:9000", region: r, bucket: acme.audit, prefix: a/b.c, ca_file: ca.pem, credentials: { file: c } }';
    expect(places(`{ ship: { s3: ${s3} } }`)?.ship?.place).toMatchObject({
      ...{ endpoint: 'http://[::1]:9000', bucket: 'acme.audit', prefix: 'a/b.c/', caFile: 'ca.pem' },
      credentials: { file: 'c', profile: 'default' },
    });
  });

  it.each<[string, string, string, string, ...string[]]>([
    [
      'a second place that is two',
      'version: 1\naudit: { ship: { dir: a, s3: { region: r, bucket: acme } } }\n',
      'config-conflict',
      '2:16',
      'dir or s3',
    ],
    [
      'a second place that is none',
      'version: 1\naudit: { checkpoints: { key: k.pem } }\n',
      'config-conflict',
      '2:23',
      'dir or s3',
    ],
    [
      'a store without TLS',
      'version: 1\naudit: { ship: { s3: { endpoint: "http://store.example", region: r, bucket: acme } } }\n',
      'config-value',
      '2:34',
      'http:// is taken for loopback addresses alone',
    ],
    [
      'a store with a path',
      'version: 1\naudit: { ship: { s3: { endpoint: "https://store.example/acme", region: r, bucket: acme } } }\n',
      'config-value',
      '2:34',
      'without a path',
    ],
    [
      'credentials in a store',
      'version: 1\naudit: { ship: { s3: { endpoint: "https://u:p@store.example", region: r, bucket: acme } } }\n',
      'config-value',
      '2:34',
    ],
    [
      'a bucket that is none',
      'version: 1\naudit: { ship: { s3: { region: r, bucket: Acme/x } } }\n',
      'config-value',
      '2:43',
    ],
    [
      'a prefix that leads up',
      'version: 1\naudit: { ship: { s3: { region: r, bucket: acme, prefix: a/../b } } }\n',
      'config-value',
      '2:57',
    ],
  ])('%s is refused', (_, text, code, place, word = '') => {
    const { problems } = loadText(text);
    expect(problems.map((one) => `${one.code} ${one.at?.line}:${one.at?.column}`)).toContain(`${code} ${place}`);
    expect(problems.filter((one) => one.severity === 'error')).toHaveLength(1);
    const found = problems.find((one) => one.code === code);
    expect(`${found?.message} ${found?.hint}`).toContain(word);
    expect(JSON.stringify(problems)).not.toContain('u:p');
  });
});
