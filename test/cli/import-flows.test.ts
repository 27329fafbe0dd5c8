// `sallyport import flows` as an operator types it, up to the report that names the attempts.
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Report } from '../../src/report/report.ts';
import type { FlowImported } from '../../src/usage/flow-import.ts';
import { claimed, START, writeHistory } from '../report/history.ts';
import { type } from './console.ts';

const SECOND = START / 1_000;
const NOW = START + 3_600_000;
const HEAD = 'srcaddr dstaddr srcport dstport protocol start end action';
const line = (to: string, port: number, action: string) =>
  `10.0.0.7 ${to} 51000 ${port} 6 ${SECOND + 60} ${SECOND + 90} ${action}`;

function world() {
  const history = writeHistory({ listen: '10.0.0.5:3128', clients: { from: ['10.0.0.0/24'] }, allow: ['ok.example'] }, [
    { host: 'ok.example', identity: claimed('web', 'j1'), second: 0 },
    { host: 'ok.example', identity: claimed('web', 'j1'), second: 300 },
  ]);
  const file = (name: string, ...lines: string[]): string => {
    const at = `${history.dir}/${name}`;
    writeFileSync(at, `${lines.join('\n')}\n`);
    return at;
  };
  const run = (...args: string[]) => type([...args, '--config', history.configFile], { now: NOW });
  return { file, run };
}

describe('sallyport import flows', () => {
  it('takes a log, says what was left, and the report names the job; the second time all is known', async () => {
    const { file, run } = world();
    const log = file(
      'flows.log',
      HEAD,
      line('140.82.112.3', 22, 'REJECT'),
      line('10.0.0.5', 3_128, 'ACCEPT'),
      line('3.5.6.7', 443, 'ACCEPT').replace('10.0.0.7', '10.9.0.1'),
    );
    const first = await run('import', 'flows', log);
    expect([first.code, first.err]).toEqual([0, '']);
    expect(first.out.split('\n')).toEqual([
      `${log}: 1 attempts taken, 0 were known (vpc, 4 lines)`,
      '  left: 1 of sources outside 10.0.0.0/24 (--client)',
      '  left: 1 to or from a proxy, answers, or traffic of the link',
      '',
    ]);
    expect((await run('import', 'flows', log)).out).toContain('0 attempts taken, 1 were known');
    const found = JSON.parse((await run('report', '--json', '--fail-on', 'direct')).out) as Report & {
      findings: unknown[];
    };
    expect(found.direct.rows).toMatchObject([
      { host: '140.82.112.3', port: 22, jobs: ['j1'], pipelines: ['web'], claimed: true, fix: { kind: 'git-ssh' } },
    ]);
    expect(found.findings).toMatchObject([{ kind: 'direct', count: 1 }]);
    expect((await run('report', '--fail-on', 'direct')).code).toBe(3);
    expect((await run('report', '--fail-on', 'denied')).code).toBe(0);
  });

  it('whose attempts count can be said, and which are proxies', async () => {
    const { file, run } = world();
    const log = file('flows.log', HEAD, line('140.82.112.3', 22, 'REJECT'), line('10.0.0.6', 8_080, 'ACCEPT'));
    const { code, out } = await run(
      'import',
      'flows',
      log,
      '--client',
      '10.0.0.7',
      '--client',
      'fd00::/8',
      '--proxy',
      '10.0.0.6',
      '--json',
    );
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      clients: ['10.0.0.7/32', 'fd00::/8'],
      proxies: ['10.0.0.5', '10.0.0.6'],
      files: [{ taken: 1, left: { proxy: 1 } }],
    });
  });

  it('exits 1 with bad lines, which it names, and takes the others', async () => {
    const { file, run } = world();
    const log = file('flows.log', HEAD, line('evil.example', 22, 'REJECT'), line('140.82.112.3', 22, 'REJECT'));
    const { code, out } = await run('import', 'flows', log);
    expect(code).toBe(1);
    expect(out).toContain('1 attempts taken');
    expect(out).toContain('not understood: 1 of the lines');
    expect(out).toContain(`${log}:2: the destination is no address`);
    const json = JSON.parse((await run('import', 'flows', log, '--json')).out) as { files: FlowImported[] };
    expect(json.files[0]?.bad_lines).toEqual([{ file: log, line: 2, why: 'the destination is no address' }]);
  });

  it('--fields, --zone and --format say what a file does not', async () => {
    const { file, run } = world();
    const bare = file('bare.log', line('140.82.112.3', 22, 'REJECT'));
    expect((await run('import', 'flows', bare)).err).toContain('flow-log-invalid');
    expect((await run('import', 'flows', bare, '--fields', HEAD)).out).toContain('1 attempts taken');
    const packet = 'x: IN= OUT=eth0 SRC=10.0.0.7 DST=140.82.112.3 LEN=60 ID=1 PROTO=TCP SPT=50000 DPT=9418 SYN';
    const day = new Date(START + 2 * 3_600_000 + 60_000).toUTCString();
    const kern = file('kern.log', `${day.slice(8, 11)} ${day.slice(5, 7)} ${day.slice(17, 25)} a kernel: ${packet}`);
    expect((await run('import', 'flows', kern, '--zone', '+02:00', '--format', 'kernel')).out).toContain(
      '1 attempts taken',
    );
    const found = JSON.parse((await run('report', '--json')).out) as Report;
    expect(found.direct.rows.map(({ port, first_seen }) => [port, first_seen])).toEqual([
      [22, new Date(START + 60_000).toISOString()],
      [9_418, new Date(START + 60_000).toISOString()],
    ]);
  });

  it.each([
    [['--zone', 'CET'], '--zone "CET" is no zone'],
    [['--client', 'agents'], '--client "agents" is no range'],
    [['--proxy', 'proxy.example'], '--proxy "proxy.example" is no address'],
    [['--fields', 'a b c'], '--fields is no list of fields'],
    [['--fields', 'srcaddr start'], '--fields lacks dstaddr, dstport, protocol, action'],
    [['--format', 'pcap'], 'pcap'],
  ])('%j is refused', async (args, message) => {
    const { file, run } = world();
    const { code, err } = await run('import', 'flows', file('flows.log', HEAD), ...args);
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  });
});
