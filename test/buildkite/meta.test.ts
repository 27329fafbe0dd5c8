// The Meta API's answer: what is believed, what is an error, and that what is printed is what firewalls take.
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { metaChange, parseMeta } from '../../src/buildkite/meta.ts';
import { metaText } from '../../src/buildkite/meta-text.ts';
import { goesAround, noProxyEntries } from '../../src/buildkite/no-proxy.ts';
import fc from '../support/property.ts';

const texts = (body: string) => {
  const parsed = parseMeta(body);
  return parsed.ok ? parsed.ranges.map(({ text }) => text) : parsed.problem;
};
const answer = (...ips: readonly unknown[]) => JSON.stringify({ webhook_ips: ips });

describe('an answer', () => {
  it('is canonical, once each, IPv4 first, in order', () => {
    expect(
      texts(answer('100.24.182.113', '2600:1F18::/32', '35.172.45.249/32', '100.24.182.113/32', '3.0.0.0/9')),
    ).toEqual(['3.0.0.0/9', '35.172.45.249/32', '100.24.182.113/32', '2600:1f18::/32']);
  });

  it('may say more than we know', () => {
    expect(texts('{"webhook_ips":["100.24.182.113"],"new":{"x":1}}')).toEqual(['100.24.182.113/32']);
  });

  it.each([
    ['no JSON', '<html>', 'the answer is not JSON'],
    ['cut off', '{"webhook_ips":["100.24.182.113"', 'the answer is not JSON'],
    ['empty', '', 'the answer is not JSON'],
    ['a list', '[]', 'expected object'],
    ['without the key', '{}', 'webhook_ips: '],
    ['an empty list', answer(), 'webhook_ips: '],
    ['no strings', answer(1), 'webhook_ips.0: '],
    ['a text', '{"webhook_ips":"100.24.182.113"}', 'webhook_ips: '],
    ['a name', answer('100.24.182.113', 'evil.example'), '"evil.example" is no address or range'],
    ['bits beyond the length', answer('100.24.182.113/24'), 'is no address or range'],
    ['everybody', answer('0.0.0.0/0'), 'is wider than /8'],
    ['half of everybody', answer('128.0.0.0/1'), 'is wider than /8'],
    ['everybody over IPv6', answer('::/0'), 'is wider than /16'],
    ['private addresses', answer('10.0.0.0/8'), 'is not public (private)'],
    ['loopback', answer('127.0.0.1'), 'is not public (loopback)'],
    ['metadata', answer('169.254.169.254'), 'is not public (metadata)'],
    ['a line end', answer('100.24.182.113\nallow all;'), 'is no address or range'],
    ['too many', answer(...Array.from({ length: 1_001 }, (_, at) => `100.24.${at >> 8}.${at & 255}`)), 'webhook_ips: '],
  ])('that is %s is an error', (_, body, problem) => expect(texts(body)).toContain(problem));

  it('of any text never throws, and never holds what is not a range', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string())).map((ips) => answer(...ips)),
        ),
        (body) => {
          const parsed = parseMeta(body);
          if (parsed.ok) for (const { text } of parsed.ranges) expect(text).toMatch(/^[\da-f.:]+\/\d+$/);
        },
      ),
    );
  });
});

it('a change is what was added and what was removed', () => {
  expect(metaChange(['1.1.1.1/32', '2.2.2.2/32'], ['2.2.2.2/32', '3.3.3.3/32'])).toEqual({
    added: ['3.3.3.3/32'],
    removed: ['1.1.1.1/32'],
  });
});

describe('what is printed', () => {
  const ranges = ['100.24.182.113/32', '3.0.0.0/9', '2600:1f18::/32'];
  const print = (format: Parameters<typeof metaText>[0], list = ranges) =>
    metaText(format, list, 'https://api.example/');

  it('text: one a line', () => expect(print('text')).toBe(`${ranges.join('\n')}\n`));

  it('nginx: allow, and nobody else', () => {
    const bare = print('nginx').split('\n').slice(1, -1);
    expect(bare).toEqual([...ranges.map((text) => `allow ${text};`), 'deny all;']);
  });

  it('iptables: a chain of its own, made or emptied, for both families', () => {
    const called = spawnSync(
      'sh',
      ['-euc', `iptables() { echo "4 $*"; }; ip6tables() { echo "6 $*"; }\n${print('iptables')}`],
      {
        encoding: 'utf8',
      },
    );
    expect([called.status, called.stderr]).toEqual([0, '']);
    expect(called.stdout.trim().split('\n')).toEqual([
      '4 -N BUILDKITE-WEBHOOKS',
      '4 -A BUILDKITE-WEBHOOKS -s 100.24.182.113/32 -j ACCEPT',
      '4 -A BUILDKITE-WEBHOOKS -s 3.0.0.0/9 -j ACCEPT',
      '6 -N BUILDKITE-WEBHOOKS',
      '6 -A BUILDKITE-WEBHOOKS -s 2600:1f18::/32 -j ACCEPT',
    ]);
  });

  const nft = (rules: string, ...more: readonly string[]) =>
    spawnSync('unshare', ['-rn', 'sh', '-euc', `cat >rules; nft -f rules; nft -f rules; ${more.join(';')}`], {
      input: rules,
      encoding: 'utf8',
      env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` },
      cwd: process.env['TMPDIR'] ?? '/tmp',
    });
  it.runIf(nft('table inet probe {}\n').status === 0)('nft: loads, and loads again in the place of itself', () => {
    const loaded = nft(print('nft'), 'nft list ruleset');
    expect([loaded.status, loaded.stderr]).toEqual([0, '']);
    for (const text of ['100.24.182.113', '3.0.0.0/9', '2600:1f18::/32']) expect(loaded.stdout).toContain(text);
    expect(nft(print('nft', ['100.24.182.113/32'])).status).toBe(0);
  });

  it('terraform: locals by family', () => {
    expect(print('terraform').split('\n').slice(1)).toEqual([
      'locals {',
      '  buildkite_webhook_ipv4 = [',
      '    "100.24.182.113/32",',
      '    "3.0.0.0/9",',
      '  ]',
      '  buildkite_webhook_ipv6 = [',
      '    "2600:1f18::/32",',
      '  ]',
      '}',
      '',
    ]);
  });
});

describe('NO_PROXY', () => {
  it.each([
    ['*', 'a.example', true],
    ['a.example', 'a.example', true],
    ['A.Example', 'a.example', true],
    ['example', 'a.example', true],
    ['.example', 'a.example', true],
    ['*.example', 'a.example', true],
    ['b.example', 'ab.example', false],
    ['a.example:443', 'a.example', true],
    ['a.example:80', 'a.example', false],
    ['10.0.0.0/8', '10.1.2.3', true],
    ['10.0.0.0/8', '11.1.2.3', false],
    ['10.0.0.0/8', 'a.example', false],
    ['::1', '::1', true],
    ['[::1]:443', '::1', true],
    ['x, ,a.example ,y', 'a.example', true],
    ['', 'a.example', false],
  ])('%j and %s: %s', (text, host, around) => expect(goesAround(noProxyEntries(text), host, 443)).toBe(around));
});
