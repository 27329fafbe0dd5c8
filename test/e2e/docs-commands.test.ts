// Every command that README.md and the pages show is typed here as it stands, and ends as the page says; what cannot be typed on one machine is
// listed with the reason. A new command is either run or listed, or this fails.
import { existsSync, readdirSync, renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import {
  canMakeReader,
  Reader,
  type Shown,
  shownCommands,
  unmarkedCommands,
  yamlOf,
} from '../support/docs-commands.ts';
import { hasProgram } from '../support/programs.ts';
import { auditLine, type launch, PROCESSES_MS } from '../support/proxy-process.ts';
import { writeFile, writePolicy } from '../support/temp.ts';

const NOT_HERE: readonly (readonly [RegExp, string])[] = [
  [/^npm (?:ci|run single-file)/, 'it is what this test runs in: .ci/run types it in a fresh clone'],
  [/^npm audit signatures|SHA256SUMS/, 'there is no release yet'],
  [/^(?:aws|gcloud|az) /, 'a cloud'],
  [/s3:\/\//, 'a bucket: test/e2e/ship-s3.test.ts has one'],
  [/^(?:kubectl|helm) /, 'a cluster: test/deploy reads the manifests'],
  [/\bdocker (?:build|compose)\b/, 'an engine: test/deploy/compose.test.ts reads the file'],
  [/systemctl|systemd-sysusers|\/etc\/systemd/, 'an init system: test/e2e/systemd.test.ts plays it'],
  [/buildkite-agent oidc|\$token/, 'a token of Buildkite: test/e2e/tokens.test.ts and jobs.test.ts have stand-ins'],
  [/doctor .*--long/, 'it waits for 150 s'],
  [/^journalctl/, 'a journal'],
  [/\| jq /, "somebody else's program; the same command without it is run"],
  [/sallyport help COMMAND/, 'a place to fill in: test/cli/parse.test.ts types it for every command'],
];

/** What ends otherwise than with 0, as its page says. */
const ENDS: readonly (readonly [RegExp, number])[] = [
  [/explain (?:my-bucket|http:\/\/mirror)/, 1],
  [/explain https:\/\/github\.com\/acme\/widget --method POST/, 1],
  [/report .*--fail-on direct/, 3],
];

const ALL = shownCommands();
const listed = ({ text }: Shown): boolean => NOT_HERE.some(([pattern]) => pattern.test(text));

/** What a reader has before a page begins, and what stands for what the page made up. */
interface Place {
  readonly pages: readonly string[];
  /** These commands of the pages alone; others have another place. */
  readonly only?: RegExp;
  /** Before all commands. */
  arrive?(reader: Reader): Promise<void>;
  /** Commands of the pages that come before anything else. */
  readonly first?: RegExp;
  prepare(reader: Reader): Promise<readonly (readonly [RegExp, string])[]>;
}

const running: ReturnType<typeof launch>[] = [];
/** Starts a proxy in the place of the one that runs there. */
async function serveInstead(reader: Reader, line: string): Promise<void> {
  for (const proxy of reader.proxies.splice(0)) await end(proxy);
  reader.proxies.push(await serve(reader, line));
}
async function serve(reader: Reader, line: string): Promise<ReturnType<typeof launch>> {
  const proxy = reader.type(line);
  running.push(proxy);
  await proxy.printed(/^sallyport ready: /m);
  return proxy;
}
async function end(proxy: ReturnType<typeof launch>, isReplaced = false): Promise<void> {
  if (!isReplaced) proxy.child.kill('SIGTERM');
  expect(await proxy.exited).toMatchObject({ code: 0 });
}
/** What goes on until it is told to end, and what it is to show. */
async function follow(reader: Reader, line: string): Promise<void> {
  const tail = reader.type(`exec ${line}`);
  running.push(tail);
  await vi.waitUntil(
    async () => {
      await refused(reader);
      return tail.stdout().includes('denied.corp.example');
    },
    { timeout: PROCESSES_MS, interval: 50 },
  );
  tail.child.kill('SIGTERM');
  expect(await tail.exited).toMatchObject({ signal: 'SIGTERM' });
}
/** A request that no policy of a page lets through. */
async function refused(reader: Reader): Promise<void> {
  const { code } = await reader.run('curl -s -x http://127.0.0.1:3128 https://denied.corp.example/');
  expect(code).toBe(56);
}
const belongs = ({ page, text }: Shown, { pages, only }: Place): boolean =>
  pages.includes(page) && (only === undefined || only.test(text));
const succeed = async (reader: Reader, ...lines: readonly string[]): Promise<void> => {
  for (const line of lines) expect(await reader.run(line), line).toMatchObject({ code: 0 });
};
const policy = (reader: Reader, file: string, ...[page, n]: [string, number]): string =>
  writeFile(join(reader.dir, file), yamlOf(page)[n] ?? '');

/** Nodes of docs/audit-log.md's "A second place", each with a shipped segment, and the proxy of the shipped policy; a time in which all of them ran. */
async function nodes(reader: Reader): Promise<readonly (readonly [RegExp, string])[]> {
  const [key, dir, third] = ['checkpoint.pem', 'mnt/audit', 'mnt/checkpoints'].map((one) => join(reader.dir, one));
  const logs = ['proxy-1', 'proxy-2'].map((node) => join(reader.dir, 'srv/audit', node, 'audit.jsonl'));
  const policies = logs.map((file) =>
    writePolicy(`${file}.yaml`, {
      version: 1,
      node: basename(dirname(file)),
      listen: '127.0.0.1:0',
      admin: 'off',
      allow: [],
      limits: { ship_interval_ms: 1_000 },
      audit: { file, ship: { dir, key }, checkpoints: { dir: third, key } },
      usage: { store: `${file}.db` },
    }),
  );
  const files = [...policies, 'config/sallyport.yaml'];
  const proxies = await Promise.all(files.map((file) => serve(reader, `sallyport serve --config ${file}`)));
  const now = Date.now();
  for (const { child } of proxies) child.kill('SIGHUP');
  for (const file of logs) await auditLine(file, ({ event, time }) => event === 'policy' && Date.parse(time) > now);
  for (const [n, file] of logs.entries()) {
    renameSync(file, `${file}.1`);
    proxies[n]?.child.kill('SIGUSR2');
    const there = join(dir ?? '', basename(dirname(file)));
    const isShipped = (): boolean => existsSync(there) && readdirSync(there).some((one) => one.endsWith('.gz'));
    await vi.waitUntil(isShipped, { timeout: PROCESSES_MS, interval: 50 });
  }
  for (const proxy of proxies) await end(proxy);
  return [
    [/(?<=--from )\d{4}\S+/, new Date(now).toISOString()],
    [/(?<=--to )\S+/, new Date(now + 1).toISOString()],
  ];
}

const PLACES: Readonly<Record<string, Place>> = {
  'README.md': {
    pages: ['README.md', 'docs/admin.md'],
    prepare: async (reader) => {
      await serveInstead(reader, 'sallyport serve --config config/sallyport.yaml');
      return [];
    },
  },
  audit: {
    pages: ['docs/audit-log.md', 'docs/audit.md'],
    first: /^openssl genpkey.*checkpoint/,
    prepare: nodes,
  },
  buildkite: {
    pages: ['docs/buildkite.md'],
    prepare: async (reader) => {
      policy(reader, 'config/sallyport.yaml', 'docs/buildkite.md', 0);
      for (const dir of ['', '/hooks']) writeFile(join(reader.dir, 'etc', `buildkite-agent${dir}`, '.here'), '');
      // What the hook of an agent's host sets.
      const at = 'http://proxy.corp.example:3128';
      return [[/^sallyport doctor/, `HTTP_PROXY=${at} HTTPS_PROXY=${at} sallyport doctor`]];
    },
  },
  inspection: {
    pages: ['docs/inspection-ca.md', 'docs/inspection.md'],
    prepare: async (reader) => {
      const rules = yamlOf('docs/inspection.md')[0]?.replaceAll('data/ca', 'config/inspection-ca');
      writeFile(join(reader.dir, 'config/sallyport.yaml'), `version: 1\n${rules}`);
      return [];
    },
  },
  elsewhere: { pages: ['docs/deployment.md', 'docs/releases.md'], prepare: async () => [] },
  flows: {
    pages: ['docs/flow-logs.md'],
    prepare: async (reader) => {
      const [now, day] = [Math.floor(Date.now() / 1_000), new Date().toISOString().slice(0, 10)];
      const at = (file: string): string => join(reader.dir, file);
      const vpc = `2 1 eni-1 10.0.1.5 140.82.112.3 51000 22 6 3 180 ${now} ${now} REJECT OK\n`;
      writeFile(at('flowlog'), vpc);
      const kernel =
        'agent-1 kernel: refused: IN= OUT=eth0 SRC=10.0.1.5 DST=140.82.112.3 LEN=60 ID=1 PROTO=TCP SPT=50000 DPT=9418 SYN\n';
      writeFile(at('kern.log'), `${day}T00:00:00+0000 ${kernel}`);
      writeFile(at('var/log/kern.log.1'), `Jan  1 00:00:00 ${kernel}`);
      expect(await reader.run('gzip flowlog var/log/kern.log.1')).toMatchObject({ code: 0 });
      await end(await serve(reader, 'sallyport serve --config config/sallyport.yaml'));
      return [];
    },
  },
  operations: {
    pages: ['docs/operations.md'],
    prepare: async (reader) => {
      await serveInstead(reader, 'sallyport serve --config config/sallyport.yaml');
      return [];
    },
  },
  migrate: {
    pages: ['docs/migrate.md'],
    prepare: async (reader) => {
      writeFile(
        join(reader.dir, 'etc/squid/squid.conf'),
        'acl ours dstdomain .corp.example\nhttp_access allow ours\nhttp_access deny all\nhttp_port 3128\n',
      );
      writeFile(
        join(reader.dir, 'egress-acl.yaml'),
        'version: v1\nservices: []\ndefault: { project: ci, action: enforce, allowed_domains: ["api.corp.example"] }\n',
      );
      return [];
    },
  },
  'policy as code': {
    pages: ['docs/policy-as-code.md'],
    prepare: async (reader) => {
      const files = ['sallyport.yaml', 'ceiling.yaml', 'pipelines/web.yaml'];
      for (const [n, file] of files.entries()) policy(reader, `policy/${file}`, 'docs/policy-as-code.md', n);
      writeFile(join(reader.dir, 'policy/pipelines/deploy.yaml'), 'version: 1\n');
      const commit = 'git add . && git -c user.name=r -c user.email=r@r.example commit -qm policy';
      const published = 'git update-ref refs/remotes/origin/main HEAD';
      expect(await reader.run(`git init -q policy && cd policy && ${commit} && ${published}`)).toMatchObject({
        code: 0,
      });
      const machine = yamlOf('docs/policy-as-code.md')[3]?.replace('/srv/policy', 'policy') ?? '';
      writeFile(join(reader.dir, 'config/sallyport.yaml'), machine);
      await serveInstead(reader, 'sallyport serve --config config/sallyport.yaml');
      return [];
    },
  },
};

const CLI = 'docs/cli.md';
/** The policy file that the examples speak of, with what one of them needs. */
const own = (reader: Reader, ...more: readonly string[]): string =>
  writeFile(
    join(reader.dir, 'config/sallyport.yaml'),
    `version: 1
listen: 0.0.0.0:3128
admin: 127.0.0.1:3129
mode: enforce
clients: { from: [127.0.0.0/8, 10.0.0.0/8] }
audit: { file: data/audit.jsonl }
usage: { store: data/usage.db }
allow:
  - group: buildkite-agent
  - { host: git.corp.example, ports: [22], protocol: any }
${more.join('\n')}
`,
  );
const keyPair = (key: string, pub: string): string =>
  `openssl genpkey -algorithm ed25519 -out ${key} && openssl pkey -in ${key} -pubout -out ${pub}`;

/** The examples of the commands' own table, by family. */
const EXAMPLES: Readonly<Record<string, Place>> = {
  'a proxy that runs': {
    pages: [CLI],
    only: /sallyport (?:serve|init|env|tail|upgrade|mode|health|completion|connect|doctor|platform-ips|grants?|revoke|fleet)(?: |$)/,
    first: /^sallyport (?:init|serve --observe)/,
    arrive: (reader) => succeed(reader, 'rm config/sallyport.yaml'),
    prepare: async (reader) => {
      own(reader, '  - { host: ssh.github.com, protocol: any }', 'layers: { ceiling: ceiling.yaml }');
      writeFile(join(reader.dir, 'config/ceiling.yaml'), 'version: 1\nallow: ["*.corp.example"]\n');
      writeFile(join(reader.dir, 'var/lib/sallyport/.here'), '');
      const at = 'http://proxy.corp.example:3128';
      return [[/^sallyport (?:connect ssh|doctor)/, `HTTP_PROXY=${at} HTTPS_PROXY=${at} $&`]];
    },
  },
  'a policy': {
    pages: [CLI],
    only: /sallyport (?:check|policy|explain|catalog|bundle|user|ca) /,
    first: /^sallyport catalog bundle/,
    arrive: (reader) => succeed(reader, keyPair('release.pem', 'release.pub')),
    prepare: async (reader) => {
      await end(await serve(reader, 'sallyport serve --config config/sallyport.yaml'));
      await succeed(reader, keyPair('policy-key.pem', 'policy.pem'));
      own(
        reader,
        '  - { host: github.com, inspect: true, git: { fetch: "**" } }',
        'inspection: { ca: { cert: config/ca.pem, key: config/ca.key } }',
        'users: { file: config/users }',
        'catalog: { keys: [release.pub] }',
      );
      writeFile(join(reader.dir, 'config/users'), '');
      writeFile(join(reader.dir, 'policy/sallyport.yaml'), 'version: 1\nallow: [git.corp.example]\n');
      const commit = 'git add . && git -c user.name=r -c user.email=r@r.example commit -qm policy';
      await succeed(
        reader,
        `git init -q policy && cd policy && ${commit} && git update-ref refs/remotes/origin/main HEAD`,
      );
      return [[/^sallyport user add/, "printf 'a-long-password\\n' | $&"]];
    },
  },
  'what is recorded': {
    pages: [CLI],
    only: /sallyport (?:report|suggest|replay|import|usage|audit) /,
    arrive: (reader) => succeed(reader, keyPair('checkpoint.pem', 'checkpoints.pub')),
    prepare: async (reader) => {
      for (const place of ['migrate', 'flows']) await PLACES[place]?.prepare(reader);
      await succeed(
        reader,
        'mv egress-acl.yaml egress.yaml',
        'cp flowlog.gz vpcflowlogs.log.gz',
        'mv kern.log var/log',
      );
      own(reader);
      await succeed(reader, 'cp config/sallyport.yaml new.yaml');
      const times = await nodes(reader);
      await succeed(reader, 'sallyport usage export usage-proxy-2.jsonl');
      return times;
    },
  },
};

const possible = canMakeReader() && hasProgram('curl', 'openssl', 'git', 'tar');

describe('the commands of the documents', () => {
  it('are there, and what is listed as not run here is shown somewhere', () => {
    expect(ALL.length).toBeGreaterThan(60);
    expect(NOT_HERE.filter(([pattern]) => !ALL.some(({ text }) => pattern.test(text)))).toEqual([]);
    expect(ENDS.filter(([pattern]) => !ALL.some(({ text }) => pattern.test(text)))).toEqual([]);
  });

  it('stand in blocks that say sh', () => {
    expect(unmarkedCommands()).toEqual([]);
  });

  it('are run or listed, each of them', () => {
    const neither = ALL.filter(
      (one) => !listed(one) && !Object.values({ ...PLACES, ...EXAMPLES }).some((place) => belongs(one, place)),
    );
    expect(neither.map(({ page, line, text }) => `${page}:${line} ${text}`)).toEqual([]);
  });
});

describe.skipIf(!possible).concurrent('typed as they stand', () => {
  const readers: Reader[] = [];
  afterAll(async () => {
    for (const { child } of running) child.kill('SIGKILL');
    for (const reader of readers) await reader.leave();
  });

  it.each(Object.entries({ ...PLACES, ...EXAMPLES }))('%s', { timeout: 5 * PROCESSES_MS }, async (_name, place) => {
    const { pages, first, arrive, prepare } = place;
    const reader = await Reader.arrive();
    readers.push(reader);
    const mine = pages.flatMap((page) => ALL.filter((one) => one.page === page && belongs(one, place) && !listed(one)));
    const wrong: string[] = [];
    let [made, grant] = [[] as readonly (readonly [RegExp, string])[], ''];
    const type = async (one: Shown): Promise<void> => {
      const line = made.reduce((text, [from, to]) => text.replace(from, to), one.text).replace('0b5e1f6c2a90', grant);
      if (/sallyport serve/.test(line)) return serveInstead(reader, line);
      if (/sallyport tail/.test(line)) return follow(reader, line);
      const { code, stdout, stderr } = await reader.run(line);
      const wanted = ENDS.find(([pattern]) => pattern.test(one.text))?.[1] ?? 0;
      const said = stdout + stderr;
      grant = /\b[0-9a-f]{12}\b/.exec(said)?.[0] ?? grant;
      const missing = one.prints.filter((text) => !said.includes(text));
      if (code !== wanted || missing.length > 0)
        wrong.push(`${one.page}:${one.line} ${line}\n  ended with ${code}, not ${wanted}; ${missing}\n${said}`);
    };
    await arrive?.(reader);
    const before = mine.filter(({ text }) => first?.test(text));
    for (const one of before) await type(one);
    made = await prepare(reader);
    for (const one of mine.filter((each) => !before.includes(each))) await type(one);
    // What an upgrade has put in a proxy's place holds its standard output; the one before ends by itself.
    const isReplaced = reader.endSuccessor();
    expect(wrong.join('\n')).toBe('');
    for (const proxy of reader.proxies) await end(proxy, isReplaced);
  });
});
