// checkAddress(): what a let-through request may be dialled to. docs/threat-model.md, promise 6, "DNS", "Loops and self".
import { describe, expect, test } from 'vitest';
import type { Policy } from '../../src/policy/decide.ts';
import { cidr, connect, policy, rule } from './support.ts';

function verdict(subject: Policy, target: string, address: string): string {
  const request = connect(target);
  const result = subject.checkAddress(subject.decide(request), request.authority, address);
  if (result.ok) return result.observed ? 'observed' : 'ok';
  return `${result.reason} ${result.class}`;
}

describe('without `addresses` only public addresses pass', () => {
  const subject = policy([rule('api.test')]);
  test.each([
    ['93.184.216.34', 'ok'],
    ['2606:4700::1111', 'ok'],
    ['10.0.0.1', 'address-prohibited private'],
    ['127.0.0.1', 'address-prohibited loopback'],
    ['::1', 'address-prohibited loopback'],
    ['0.0.0.0', 'address-prohibited unspecified'],
    ['100.64.0.1', 'address-prohibited cgnat'],
    ['fe80::1', 'address-prohibited link-local'],
    ['224.0.0.1', 'address-prohibited multicast'],
    ['240.0.0.1', 'address-prohibited reserved'],
    ['::ffff:10.0.0.1', 'address-prohibited private'],
    ['64:ff9b::10.0.0.1', 'address-prohibited private'],
    ['2002:7f00:1::', 'address-prohibited loopback'],
    ['169.254.169.254', 'metadata-prohibited metadata'],
    ['::ffff:169.254.169.254', 'metadata-prohibited metadata'],
    ['fd00:ec2::254', 'metadata-prohibited metadata'],
    ['not an address', 'address-prohibited reserved'],
  ])('%s: %s', (address, expected) => {
    expect(verdict(subject, 'api.test:443', address)).toBe(expected);
  });
});

describe('`addresses` add to the public ones', () => {
  const subject = policy([
    rule('git.corp', { addresses: [cidr('10.0.0.0/8'), cidr('169.254.0.0/16'), cidr('fd00::/8')] }),
  ]);
  test.each([
    ['10.1.2.3', 'ok'],
    ['::ffff:10.1.2.3', 'ok'],
    ['fd12::1', 'ok'],
    ['93.184.216.34', 'ok'],
    ['192.168.0.1', 'address-prohibited private'],
    ['64:ff9b::10.0.0.1', 'address-prohibited private'],
    ['169.254.169.254', 'metadata-prohibited metadata'],
    ['fd00:ec2::254', 'metadata-prohibited metadata'],
  ])('%s: %s', (address, expected) => {
    expect(verdict(subject, 'git.corp:443', address)).toBe(expected);
  });
});

describe('metadata', () => {
  test('passes for the rule that is opted in', () => {
    const subject = policy([rule('md.test', { metadata: true })]);
    expect(verdict(subject, 'md.test:443', '169.254.169.254')).toBe('ok');
    expect(verdict(subject, 'md.test:443', '10.0.0.1')).toBe('address-prohibited private');
  });

  test('the operator extends the class, and embeddings do not dodge it', () => {
    const subject = policy([rule('api.test', { addresses: [cidr('10.0.0.0/8')] })], {
      metadataAddresses: [cidr('10.9.9.9'), cidr('93.184.216.34')],
    });
    expect(verdict(subject, 'api.test:443', '10.9.9.9')).toBe('metadata-prohibited metadata');
    expect(verdict(subject, 'api.test:443', '93.184.216.34')).toBe('metadata-prohibited metadata');
    expect(verdict(subject, 'api.test:443', '64:ff9b::93.184.216.34')).toBe('metadata-prohibited metadata');
    expect(verdict(subject, 'api.test:443', '10.9.9.8')).toBe('ok');
  });
});

describe('this proxy itself, whatever is listed', () => {
  const all = [cidr('127.0.0.0/8'), cidr('10.0.0.0/8'), cidr('0.0.0.0/8'), cidr('::1'), cidr('::')];
  const ports = [3128, 3129, 443];
  const subject = policy([rule('loop.test', { ports, addresses: all }), rule('127.0.0.1', { ports })], {
    self: [
      { address: '127.0.0.1', port: 3128 },
      { address: '127.0.0.1', port: 3129 },
      { address: '10.0.0.5', port: 3128 },
      { address: '93.184.216.34', port: 3128 },
      { address: '2606:4700:0::1111', port: 3128 },
    ],
  });
  test.each([
    ['loop.test:3128', '127.0.0.1', 'self-prohibited loopback'],
    ['loop.test:3129', '127.0.0.1', 'self-prohibited loopback'],
    ['loop.test:3128', '127.9.9.9', 'self-prohibited loopback'],
    ['loop.test:3128', '::1', 'self-prohibited loopback'],
    ['loop.test:3128', '0.0.0.0', 'self-prohibited unspecified'],
    ['loop.test:3128', '::ffff:127.0.0.1', 'self-prohibited loopback'],
    ['loop.test:3128', '10.0.0.5', 'self-prohibited private'],
    ['loop.test:3128', '::ffff:10.0.0.5', 'self-prohibited private'],
    ['loop.test:3128', '93.184.216.34', 'self-prohibited public'],
    ['loop.test:3128', '64:ff9b::93.184.216.34', 'self-prohibited public'],
    ['loop.test:3128', '2606:4700::1111', 'self-prohibited public'],
    ['127.0.0.1:3128', '127.0.0.1', 'self-prohibited loopback'],
    ['loop.test:3129', '10.0.0.5', 'ok'],
    ['loop.test:3128', '10.0.0.6', 'ok'],
    ['loop.test:443', '127.0.0.1', 'ok'],
    ['127.0.0.1:443', '127.0.0.1', 'ok'],
  ])('%s at %s: %s', (target, address, expected) => {
    expect(verdict(subject, target, address)).toBe(expected);
  });

  test('in observe mode too', () => {
    const observe = policy([], { mode: 'observe', self: [{ address: '93.184.216.34', port: 3128 }] });
    expect(verdict(observe, 'loop.test:3128', '93.184.216.34')).toBe('self-prohibited public');
  });
});

describe('a listed literal is its own opt-in', () => {
  const subject = policy([rule('10.0.0.1'), rule('[fd00::1]'), rule('127.0.0.1')]);
  test.each([
    ['10.0.0.1:443', '10.0.0.1', 'ok'],
    ['[fd00::1]:443', 'fd00::1', 'ok'],
    ['127.0.0.1:443', '127.0.0.1', 'ok'],
    ['10.0.0.1:443', '10.0.0.2', 'address-prohibited private'],
    ['10.0.0.1:443', '127.0.0.1', 'address-prohibited loopback'],
  ])('%s at %s: %s', (target, address, expected) => {
    expect(verdict(subject, target, address)).toBe(expected);
  });
});

describe('private_upstreams serve names under a suffix', () => {
  const subject = policy([rule('*.amazonaws.com'), rule('evilamazonaws.com'), rule('amazonaws.com')], {
    privateUpstreams: [{ suffix: 'amazonaws.com', addresses: [cidr('10.20.0.0/16'), cidr('169.254.0.0/16')] }],
  });
  test.each([
    ['sts.amazonaws.com:443', '10.20.0.1', 'ok'],
    ['amazonaws.com:443', '10.20.0.1', 'ok'],
    ['evilamazonaws.com:443', '10.20.0.1', 'address-prohibited private'],
    ['sts.amazonaws.com:443', '10.21.0.1', 'address-prohibited private'],
    ['sts.amazonaws.com:443', '169.254.169.254', 'metadata-prohibited metadata'],
  ])('%s at %s: %s', (target, address, expected) => {
    expect(verdict(subject, target, address)).toBe(expected);
  });
});

describe('observe.addresses', () => {
  const more = { observeAddresses: [cidr('10.0.0.0/8'), cidr('169.254.0.0/16')] };
  test('pass as observed in observe mode, for listed and unlisted names', () => {
    const subject = policy([rule('api.test')], { mode: 'observe', ...more });
    expect(verdict(subject, 'api.test:443', '10.0.0.1')).toBe('observed');
    expect(verdict(subject, 'other.test:443', '10.0.0.1')).toBe('observed');
    expect(verdict(subject, 'other.test:443', '93.184.216.34')).toBe('ok');
    expect(verdict(subject, 'other.test:443', '192.168.0.1')).toBe('address-prohibited private');
    expect(verdict(subject, 'other.test:443', '169.254.169.254')).toBe('metadata-prohibited metadata');
  });

  test('and count for nothing in enforce mode', () => {
    const subject = policy([rule('api.test'), rule('strict.test', { mode: 'enforce' })], more);
    expect(verdict(subject, 'api.test:443', '10.0.0.1')).toBe('address-prohibited private');
    const mixed = policy([rule('strict.test', { mode: 'enforce' })], { mode: 'observe', ...more });
    expect(verdict(mixed, 'strict.test:443', '10.0.0.1')).toBe('address-prohibited private');
  });
});

test('a refused request may be dialled to nothing', () => {
  const subject = policy([rule('mine.test', { for: { pipeline: ['x'] }, addresses: [cidr('10.0.0.0/8')] })]);
  expect(verdict(subject, 'other.test:443', '93.184.216.34')).toBe('address-prohibited public');
  expect(verdict(subject, 'mine.test:443', '10.0.0.1')).toBe('address-prohibited private');
});
