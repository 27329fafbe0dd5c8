// Programs of others through inspected hosts of the built proxy: npm, pip, aws, signed Azure requests and gRPC, each against a server of
// its kind that speaks plain HTTP behind TLS of ours. What is not installed here is skipped.
import { createHmac } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { type InspectedWorld, startInspectedWorld } from '../support/inspected-world.ts';
import { type Origin, startHttpOrigin, startOrigin } from '../support/origin.ts';
import { hasProgram } from '../support/programs.ts';
import { launch, PROCESSES_MS, readAudit } from '../support/proxy-process.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { certificateFor } from '../support/tls.ts';

vi.setConfig({ testTimeout: PROCESSES_MS, hookTimeout: PROCESSES_MS });

const PROGRAMS = join(import.meta.dirname, '..', 'programs', 'node_modules');
const has = (name: string): boolean => existsSync(join(PROGRAMS, name));
const dir = tempDir('inspect-clients');
const closing: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

/** A server of others on a port of loopback, and TLS in front of it. `env` is told the port that clients know. */
async function behindTls(
  host: string,
  command: (port: number) => readonly string[],
  env: (outer: number) => Readonly<Record<string, string>> = () => ({}),
): Promise<Origin> {
  const port = await freePort();
  const origin = await front(host, port);
  const running = launch(command(port), { cwd: dir, env: env(origin.port) });
  closing.push(() => {
    running.child.kill('SIGKILL');
    return running.exited;
  });
  await listening(port, running.exited);
  return origin;
}

async function front(host: string, port: number): Promise<Origin> {
  const origin = await startOrigin(
    (socket) => {
      const inner = net.connect(port, '127.0.0.1');
      inner.on('error', () => socket.destroy());
      socket.pipe(inner).pipe(socket);
    },
    { tls: certificateFor([host]) },
  );
  closing.push(() => origin.close());
  return origin;
}

/** Tries until somebody listens; a program that has ended never will. */
async function listening(port: number, exited: Promise<unknown>): Promise<void> {
  let ended = false;
  void exited.finally(() => {
    ended = true;
  });
  for (;;) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(true));
      socket.on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (open) return;
    if (ended) throw new Error('the server ended before it listened');
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

async function worldFor(...args: Parameters<typeof startInspectedWorld>): Promise<InspectedWorld> {
  const world = await startInspectedWorld(...args);
  closing.push(() => world.close());
  return world;
}

const paths = (world: InspectedWorld, verdict: string): string[] =>
  readAudit(world.auditFile).flatMap((line) =>
    line.event === 'decided' && line.tunnel !== undefined && line.verdict === verdict
      ? [`${line.method} ${line.path}`]
      : [],
  );

describe.skipIf(!has('verdaccio'))('npm', () => {
  const HOST = 'npm.allowed.test';
  let world: InspectedWorld;
  let registry: string;

  beforeAll(async () => {
    const config = writeFile(
      join(dir, 'verdaccio.yaml'),
      `storage: ${join(dir, 'storage')}\nauth: { htpasswd: { file: ${join(dir, 'htpasswd')} } }\npackages: { '**': { access: $all, publish: $all } }\nlog: { type: stdout, level: error }\n`,
    );
    const main = join(PROGRAMS, '.bin', 'verdaccio');
    const origin = await behindTls(
      HOST,
      (port) => [process.execPath, main, '--config', config, '--listen', `127.0.0.1:${port}`],
      (outer) => ({ VERDACCIO_PUBLIC_URL: `https://${HOST}:${outer}/` }),
    );
    world = await worldFor([{ host: HOST, ports: [origin.port], read_only: true }]);
    registry = `https://${HOST}:${origin.port}/`;
    const open = await worldFor([{ host: HOST, ports: [origin.port], allow: [{ path: '/**', methods: 'any' }] }]);
    const pkg = join(dir, 'left-pad');
    writeFile(
      join(pkg, 'package.json'),
      JSON.stringify({ name: 'left-pad-of-ours', version: '1.0.0', main: 'index.js' }),
    );
    writeFile(join(pkg, 'index.js'), 'module.exports = 1;\n');
    writeFile(join(pkg, '.npmrc'), `//${HOST}:${origin.port}/:_authToken=anyone\n`);
    const published = await npm(open, ['publish', pkg, '--prefix', pkg], pkg);
    expect(published, published.stderr).toMatchObject({ code: 0 });
  });

  const npm = (through: InspectedWorld, args: readonly string[], cwd = through.dir) =>
    through.client(['sh', '-c', `cd "$0" && exec npm "$@"`, cwd, ...args, '--registry', registry], {
      env: {
        HTTPS_PROXY: through.proxy.url(),
        NODE_EXTRA_CA_CERTS: through.bundle,
        npm_config_update_notifier: 'false',
      },
    });

  it('installs a package, and cannot publish one', async () => {
    const installed = await npm(world, [
      'install',
      '--prefix',
      world.dir,
      '--no-audit',
      '--no-fund',
      'left-pad-of-ours',
    ]);
    expect(installed, installed.stderr).toMatchObject({ code: 0 });
    expect(readFileSync(join(world.dir, 'node_modules', 'left-pad-of-ours', 'index.js'), 'utf8')).toContain('exports');
    const pkg = join(dir, 'left-pad');
    writeFile(join(pkg, 'package.json'), JSON.stringify({ name: 'left-pad-of-ours', version: '1.0.1' }));
    const refused = await npm(world, ['publish', pkg, '--prefix', pkg], pkg);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain('403');
    expect(paths(world, 'deny')).toContain('PUT /left-pad-of-ours');
  });
});

describe.skipIf(!hasProgram('pip3', 'python3'))('pip', () => {
  it('installs from an index whose paths are listed, and no other package', async () => {
    const HOST = 'pypi.allowed.test';
    const wheel = join(dir, 'ours-1.0-py3-none-any.whl');
    const script = `import zipfile
z = zipfile.ZipFile(${JSON.stringify(wheel)}, 'w')
z.writestr('ours.py', 'x = 1')
z.writestr('ours-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: ours\\nVersion: 1.0\\n')
z.writestr('ours-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
z.writestr('ours-1.0.dist-info/RECORD', '')
z.close()`;
    const origin = await startHttpOrigin(
      (req, res) => {
        if (req.url?.endsWith('.whl')) return void res.end(readFileSync(wheel));
        res.setHeader('Content-Type', 'text/html');
        res.end('<html><body><a href="/files/ours-1.0-py3-none-any.whl">ours-1.0-py3-none-any.whl</a></body></html>');
      },
      { tls: certificateFor([HOST]) },
    );
    closing.push(() => origin.close());
    const world = await worldFor([
      { host: HOST, ports: [origin.port], allow: [{ path: '/simple/ours/' }, { path: '/files/**' }] },
    ]);
    expect((await world.client(['python3', '-c', script])).stderr).toBe('');
    const pip = (name: string) =>
      world.client([
        ...['python3', '-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--no-cache-dir', '--retries', '0'],
        ...[
          '--proxy',
          world.proxy.url(),
          '--cert',
          world.bundle,
          '--index-url',
          `https://${HOST}:${origin.port}/simple/`,
        ],
        ...['--target', join(world.dir, 'site'), name],
      ]);
    const installed = await pip('ours');
    expect(installed, installed.stderr).toMatchObject({ code: 0 });
    expect(existsSync(join(world.dir, 'site', 'ours.py'))).toBe(true);
    expect((await pip('theirs')).code).not.toBe(0);
    expect(paths(world, 'deny')).toContain('GET /simple/theirs/');
  });
});

describe.skipIf(!has('s3rver') || !hasProgram('aws'))('aws s3', () => {
  it('copies to an own bucket and back, and reaches no other bucket of the endpoint', async () => {
    const HOST = 's3.allowed.test';
    const store = join(dir, 's3');
    mkdirSync(store);
    const main = join(PROGRAMS, '.bin', 's3rver');
    const buckets = ['own', 'others'].flatMap((name) => ['--configure-bucket', name]);
    const origin = await behindTls(HOST, (port) => [
      process.execPath,
      main,
      '-d',
      store,
      '-a',
      '127.0.0.1',
      '-p',
      `${port}`,
      ...buckets,
      '--no-vhost-buckets',
    ]);
    const world = await worldFor([{ host: HOST, ports: [origin.port], s3: { buckets: ['own'], write: true } }]);
    const file = writeFile(join(world.dir, 'artifact.txt'), 'an artifact\n');
    const config = writeFile(
      join(world.dir, 'aws'),
      '[default]\nregion = us-east-1\ns3 =\n  addressing_style = path\n',
    );
    const aws = (...args: readonly string[]) =>
      world.client(['aws', '--endpoint-url', `https://${HOST}:${origin.port}`, ...args], {
        env: {
          AWS_ACCESS_KEY_ID: 'S3RVER',
          AWS_SECRET_ACCESS_KEY: 'S3RVER',
          AWS_CONFIG_FILE: config,
          AWS_CA_BUNDLE: world.bundle,
          AWS_REQUEST_CHECKSUM_CALCULATION: 'when_required',
          HTTPS_PROXY: world.proxy.url(),
        },
      });
    const put = await aws('s3', 'cp', file, 's3://own/a/artifact.txt');
    expect(put, put.stderr).toMatchObject({ code: 0 });
    const got = await aws('s3', 'cp', 's3://own/a/artifact.txt', '-');
    expect(got, got.stderr).toMatchObject({ code: 0, stdout: 'an artifact\n' });
    const refused = await aws('s3', 'cp', file, 's3://others/a/artifact.txt');
    expect(refused.code).not.toBe(0);
    expect(paths(world, 'deny').some((path) => path.startsWith('PUT /others/'))).toBe(true);
  });
});

describe.skipIf(!has('azurite') || !hasProgram('curl'))('azure blob', () => {
  it('signed requests pass to the container that is listed, their signatures whole, and to no other', async () => {
    const HOST = 'blob.allowed.test';
    const store = join(dir, 'azurite');
    mkdirSync(store);
    const key = Buffer.from('a key of this test').toString('base64');
    const main = join(PROGRAMS, '.bin', 'azurite-blob');
    const origin = await behindTls(
      HOST,
      (port) => [
        process.execPath,
        main,
        '--silent',
        '--skipApiVersionCheck',
        '--disableProductStyleUrl',
        '--location',
        store,
        '--blobHost',
        '127.0.0.1',
        '--blobPort',
        `${port}`,
      ],
      () => ({ AZURITE_ACCOUNTS: `build:${key}` }),
    );
    const world = await worldFor([
      {
        host: HOST,
        ports: [origin.port],
        allow: [
          { path: '/build/artifacts', methods: ['PUT'] },
          { path: '/build/artifacts/**', methods: ['GET', 'PUT'] },
        ],
      },
    ]);
    const ask = (method: string, path: string, query = '', body = '') => {
      const headers: Record<string, string> = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-08-06' };
      if (body !== '') headers['x-ms-blob-type'] = 'BlockBlob';
      const named = Object.entries(headers)
        .sort()
        .map(([name, value]) => `${name}:${value}`);
      const type = body === '' ? '' : 'text/plain';
      const length = body === '' ? '' : `${body.length}`;
      const resource = `/build${path}${query === '' ? '' : `\n${query.replace('=', ':')}`}`;
      const text = [method, '', '', length, '', type, '', '', '', '', '', '', ...named, resource].join('\n');
      const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
      const fields = [
        ...named.map((each) => each.replace(':', ': ')),
        `Authorization: SharedKey build:${signature}`,
        `Content-Type: ${type}`,
      ];
      return world.client([
        ...['curl', '-sS', '-x', world.proxy.url(), '--cacert', world.bundle, '-X', method, '-w', '\n%{http_code}'],
        ...fields.flatMap((field) => ['-H', field]),
        ...(body === '' ? (method === 'PUT' ? ['-H', 'Content-Length: 0'] : []) : ['--data-binary', body]),
        `https://${HOST}:${origin.port}${path}${query === '' ? '' : `?${query}`}`,
      ]);
    };
    expect((await ask('PUT', '/build/artifacts', 'restype=container')).stdout).toMatch(/\n201$/);
    expect((await ask('PUT', '/build/artifacts/a.txt', '', 'an artifact')).stdout).toMatch(/\n201$/);
    expect((await ask('GET', '/build/artifacts/a.txt')).stdout).toBe('an artifact\n200');
    expect((await ask('PUT', '/build/others', 'restype=container')).stdout).toMatch(/request-not-allowed[\s\S]*\n403$/);
  });
});

describe.skipIf(!has('@grpc/grpc-js'))('gRPC', () => {
  it('calls and streams pass by the paths of their methods; another method is refused as gRPC has it', async () => {
    const HOST = 'grpc.allowed.test';
    const grpc = createRequire(join(PROGRAMS, 'x.js'))('@grpc/grpc-js');
    const { cert, key } = certificateFor([HOST]);
    const server = new grpc.Server();
    const raw = (bytes: Buffer) => bytes;
    const method = (name: string, responseStream: boolean) => ({
      path: `/acme.Greeter/${name}`,
      requestStream: false,
      responseStream,
      ...{ requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw },
    });
    server.addService(
      { Hello: method('Hello', false), Count: method('Count', true), Secret: method('Secret', false) },
      {
        Hello: (call: { request: Buffer }, done: (error: null, answer: Buffer) => void) =>
          done(null, Buffer.concat([Buffer.from('hello '), call.request])),
        Secret: (_: unknown, done: (error: null, answer: Buffer) => void) => done(null, Buffer.from('secret')),
        Count: (call: { write(bytes: Buffer): void; end(): void }) => {
          for (let i = 0; i < 3; i += 1) call.write(Buffer.from(`${i}`));
          call.end();
        },
      },
    );
    const credentials = grpc.ServerCredentials.createSsl(null, [
      { cert_chain: Buffer.from(cert), private_key: Buffer.from(key) },
    ]);
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', credentials, (error: Error | null, bound: number) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    closing.push(() => server.forceShutdown());
    const world = await worldFor([
      {
        host: HOST,
        ports: [port],
        allow: ['Hello', 'Count'].map((name) => ({ path: `/acme.Greeter/${name}`, methods: ['POST'] })),
      },
    ]);
    const script = writeFile(
      join(world.dir, 'client.cjs'),
      `const grpc = require(${JSON.stringify(join(PROGRAMS, '@grpc', 'grpc-js'))});
const raw = (b) => b;
const client = new grpc.Client(process.argv[2], grpc.credentials.createSsl(require('node:fs').readFileSync(process.argv[3])));
const call = (name) => new Promise((r) => client.makeUnaryRequest('/acme.Greeter/' + name, raw, raw, Buffer.from('you'), (e, a) => r(e ? 'error ' + e.code : String(a))));
(async () => {
  console.log(await call('Hello'));
  const got = []; const stream = client.makeServerStreamRequest('/acme.Greeter/Count', raw, raw, Buffer.from('x'));
  stream.on('data', (b) => got.push(String(b))); await new Promise((r) => { stream.on('end', r); stream.on('error', (e) => { got.push(e.message); r(); }); });
  console.log(got.join(' ')); console.log(await call('Secret')); client.close();
})();`,
    );
    const done = await world.client([process.execPath, script, `${HOST}:${port}`, world.bundle], {
      env: { https_proxy: world.proxy.url() },
    });
    // HTTP 403 is PERMISSION_DENIED (7) to gRPC.
    expect(done, done.stderr).toMatchObject({ code: 0, stdout: 'hello you\n0 1 2\nerror 7\n' });
    expect(paths(world, 'deny')).toEqual(['POST /acme.Greeter/Secret']);
  });
});
