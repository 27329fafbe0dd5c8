// Records as the proxy makes them, for the tests of what comes after it: audit, usage, report.
import { ANONYMOUS, type Decided, type Ended } from '../../src/policy/record.ts';

/** A let-through CONNECT. */
export function decidedRecord(over: Partial<Decided> & { id: string }): Decided {
  return {
    identity: ANONYMOUS,
    client: '10.0.0.7',
    host: 'github.com',
    port: 443,
    method: 'CONNECT',
    verdict: 'allow',
    reason: 'allowed',
    group: 'github',
    rule: 'github-com',
    policy: 'sha256:1111111111111111',
    addresses: ['192.0.2.10'],
    ...over,
  };
}

/** Its end: 100 bytes up, 2,000 down. */
export function endedRecord(over: Partial<Ended> & { id: string }): Ended {
  return {
    identity: ANONYMOUS,
    client: '10.0.0.7',
    host: 'github.com',
    port: 443,
    method: 'CONNECT',
    verdict: 'allow',
    reason: 'allowed',
    group: 'github',
    rule: 'github-com',
    policy: 'sha256:1111111111111111',
    outcome: 'closed',
    bytes_up: 100,
    bytes_down: 2_000,
    duration_ms: 1_234,
    address: '192.0.2.10:443',
    ...over,
  };
}
