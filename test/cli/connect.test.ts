// `sallyport connect` against stand-in proxies: what it sends, whose ends it keeps apart, and what it says when there is no tunnel.
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Origin, startOrigin } from '../support/origin.ts';
import { launch, MAIN, PROCESSES_MS, run } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const CLEAN = {
  https_proxy: undefined,
  HTTPS_PROXY: undefined,
  http_proxy: undefined,
  HTTP_PROXY: undefined,
  SALLYPORT_PROXY_CREDENTIALS: undefined,
  NODE_EXTRA_CA_CERTS: undefined,
};
const command = (...args: readonly string[]) => [process.execPath, MAIN, 'connect', ...args];
const connect = (args: readonly string[], options: { env?: Record<string, string>; input?: string } = {}) =>
  run(command(...args), { ...options, env: { ...CLEAN, ...options.env } });

const heads: string[] = [];
type Answer = (socket: net.Socket, head: string) => void;

/** A proxy that reads one head and answers as told; `head` is kept. */
function proxyThat(answer: Answer, secure = false): Promise<Origin> {
  return startOrigin(
    (socket) => {
      let head = '';
      const read = (chunk: Buffer): void => {
        head += chunk.toString('latin1');
        if (!head.includes('\r\n\r\n')) return;
        socket.off('data', read);
        heads.push(head);
        answer(socket, head);
      };
      socket.on('data', read);
    },
    secure ? { tls: certificateFor(['proxy.test', '127.0.0.1']) } : {},
  );
}

const ESTABLISHED = 'HTTP/1.1 200 Connection established\r\n\r\n';
const echo: Answer = (socket) => {
  socket.write(ESTABLISHED);
  socket.pipe(socket);
};

const proxies: Origin[] = [];
async function started(answer: Answer, secure = false): Promise<string> {
  const proxy = await proxyThat(answer, secure);
  proxies.push(proxy);
  return `127.0.0.1:${proxy.port}`;
}

let echoing = '';
let secure = '';
beforeAll(async () => {
  echoing = await started(echo);
  secure = await started(echo, true);
});
afterAll(() => Promise.all(proxies.map((proxy) => proxy.close())));

describe('a tunnel', () => {
  it('carries what is sent and what comes back, and ends with exit 0', async () => {
    const done = await connect(['--proxy', `http://${echoing}`, 'git.example', '22'], { input: 'hello\u0000\n' });
    expect(done).toMatchObject({ code: 0, stdout: 'hello\u0000\n', stderr: '' });
    expect(heads.at(-1)).toMatch(/^CONNECT git\.example:22 HTTP\/1\.1\r\nHost: git\.example:22\r\n/i);
    expect(heads.at(-1)?.toLowerCase()).not.toContain('proxy-authorization');
  });

  it('is asked for in canonical form, an IPv6 address in brackets', async () => {
    await connect(['--proxy', `http://${echoing}`, 'GIT.Example.', '22']);
    expect(heads.at(-1)).toMatch(/^CONNECT git\.example:22 /);
    await connect(['--proxy', `http://${echoing}`, '2001:db8::1', '22']);
    expect(heads.at(-1)).toMatch(/^CONNECT \[2001:db8::1\]:22 /);
  });

  it('passes on bytes that came with the answer', async () => {
    const proxy = await started((socket) => void socket.end(`${ESTABLISHED}SSH-2.0-early\r\n`));
    expect((await connect(['--proxy', `http://${proxy}`, 'git.example', '22'])).stdout).toBe('SSH-2.0-early\r\n');
  });

  it('ends upwards first: the far side sees the end and may still answer', async () => {
    const proxy = await started((socket) => {
      socket.write(ESTABLISHED);
      let got = 0;
      socket.on('data', (chunk: Buffer) => {
        got += chunk.length;
      });
      socket.on('end', () => socket.end(`got ${got}`));
    });
    const done = await connect(['--proxy', `http://${proxy}`, 'git.example', '22'], { input: 'x'.repeat(200_000) });
    expect(done).toMatchObject({ code: 0, stdout: 'got 200000' });
  });

  it('ends downwards first: the reader sees the end while more is sent', async () => {
    let received = '';
    const proxy = await started((socket) => {
      socket.end(`${ESTABLISHED}last words`);
      socket.on('data', (chunk: Buffer) => {
        received += chunk.toString();
      });
    });
    // The shell sends only after its own reader has seen the end of what comes back.
    const dir = tempDir('half');
    const line = command('--proxy', `http://${proxy}`, 'git.example', '22').join(' ');
    const done = await run(
      ['bash', '-c', `mkfifo up; ${line} <up | { exec 3>up; cat >down; echo "after $(cat down)" >&3; }`],
      {
        cwd: dir,
        env: CLEAN,
      },
    );
    expect([done.code, done.stderr, received]).toEqual([0, '', 'after last words\n']);
  });

  it('goes through a proxy that is spoken to over TLS', async () => {
    const args = ['--proxy', `https://${secure}`, '--proxy-ca', testCa().caFile, 'git.example', '22'];
    expect(await connect(args, { input: 'over tls' })).toMatchObject({ code: 0, stdout: 'over tls', stderr: '' });
  });

  it('that is reset says so', async () => {
    const proxy = await started((socket) => {
      socket.write(`${ESTABLISHED}half a`, () => socket.once('data', () => socket.resetAndDestroy()));
    });
    const running = launch(command('--proxy', `http://${proxy}`, 'git.example', '22'), { env: CLEAN, input: 'x' });
    const done = await running.exited;
    expect(done.code).toBe(1);
    expect(done.stderr).toContain('tunnel-broken');
    expect(done.stderr).toContain('the tunnel to git.example:22 broke');
  });
});

describe('credentials', () => {
  const sent = () => {
    const value = /^proxy-authorization: Basic (\S+)\r$/im.exec(heads.at(-1) ?? '')?.[1];
    return value === undefined ? null : Buffer.from(value, 'base64').toString();
  };
  const dir = tempDir('credentials');
  const file = join(dir, 'proxy');
  writeFileSync(file, 'from:a file\n');
  const bad = join(dir, 'bad');
  writeFileSync(bad, 'two\nlines\n');

  it.each<[string, string, readonly string[], Record<string, string>, string]>([
    ['of the URL, percent-decoded', 'web%2Fjob-7:p%40ss@', [], {}, 'web/job-7:p@ss'],
    ['of the URL without a password', 'web%2Fjob-7:@', [], {}, 'web/job-7:'],
    ['of the environment before those of the URL', 'a:b@', [], { SALLYPORT_PROXY_CREDENTIALS: 'env:pass' }, 'env:pass'],
    [
      'of a file before all',
      'a:b@',
      ['--credentials-file', file],
      { SALLYPORT_PROXY_CREDENTIALS: 'e:p' },
      'from:a file',
    ],
  ])('%s', async (_, user, args, env, wanted) => {
    const done = await connect(['--proxy', `http://${user}${echoing}`, ...args, 'git.example', '22'], { env });
    expect(done.code, done.stderr).toBe(0);
    expect(sent()).toBe(wanted);
  });

  it.each<[string, readonly string[], number, string]>([
    ['a file that is not there', ['--credentials-file', join(dir, 'none')], 1, 'config-unreadable'],
    ['a file of two lines', ['--credentials-file', bad], 2, 'USER:PASSWORD'],
  ])('%s is refused', async (_, args, code, text) => {
    const done = await connect(['--proxy', `http://${echoing}`, ...args, 'git.example', '22']);
    expect(done.code).toBe(code);
    expect(done.stderr).toContain(text);
  });
});

describe('which proxy', () => {
  it.each<[string, Record<string, string>]>([
    ['https_proxy', { https_proxy: 'GOOD', HTTPS_PROXY: 'http://127.0.0.1:1' }],
    ['HTTPS_PROXY', { HTTPS_PROXY: 'GOOD', http_proxy: 'http://127.0.0.1:1' }],
    ['http_proxy', { http_proxy: 'GOOD', HTTP_PROXY: 'http://127.0.0.1:1' }],
    ['HTTP_PROXY, without a scheme', { HTTP_PROXY: 'BARE' }],
    ['whatever NO_PROXY says', { HTTPS_PROXY: 'GOOD', NO_PROXY: 'git.example,*' }],
  ])('%s', async (_, env) => {
    const filled = Object.fromEntries(
      Object.entries(env).map(([name, value]) => [
        name,
        value.replace('GOOD', `http://${echoing}`).replace('BARE', echoing),
      ]),
    );
    const done = await connect(['git.example', '22'], { env: filled, input: 'x' });
    expect(done, done.stderr).toMatchObject({ code: 0, stdout: 'x' });
  });
});

describe('no tunnel', () => {
  it.each<[string, readonly string[], number, string]>([
    ['no proxy is named', ['git.example', '22'], 1, 'proxy-unset'],
    ['a URL of another sort', ['--proxy', 'socks5://p.example:1', 'git.example', '22'], 2, 'is not http[s]://'],
    ['a broken escape in the URL', ['--proxy', 'http://a%zz@p.example:1', 'git.example', '22'], 2, 'is not http[s]://'],
    ['no such host', ['--proxy', 'http://p.example:1', 'git..example', '22'], 2, 'is no host and port'],
    ['no such port', ['--proxy', 'http://p.example:1', 'git.example', '0'], 2, 'is no host and port'],
    [
      'a time that is none',
      ['--proxy', 'http://p.example:1', '--timeout', '0', 'git.example', '22'],
      2,
      '--timeout "0"',
    ],
  ])('%s', async (_, args, code, text) => {
    const done = await connect(args);
    expect([done.code, done.stdout]).toEqual([code, '']);
    expect(done.stderr).toContain(text);
  });

  it('never repeats the password of a proxy URL that it cannot read', async () => {
    const done = await connect(['git.example', '22'], { env: { HTTPS_PROXY: 'http://user:hunter2@@:x' } });
    expect(done.code).toBe(2);
    expect(done.stderr).not.toContain('hunter2');
  });

  it('the proxy is not there', async () => {
    const gone = net.createServer();
    await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
    const { port } = gone.address() as net.AddressInfo;
    await new Promise((resolve) => gone.close(resolve));
    const done = await connect(['--proxy', `http://user:hunter2@127.0.0.1:${port}`, 'git.example', '22']);
    expect(done.code).toBe(1);
    expect(done.stderr).toContain(`http://127.0.0.1:${port} cannot be reached: connect ECONNREFUSED`);
    expect(done.stderr).toContain('proxy-unreachable');
    expect(done.stderr).not.toContain('hunter2');
  });

  it.each<[string, string, string, readonly string[]]>([
    [
      'the status line and the hint',
      'HTTP/1.1 403 host-not-allowed\r\nSallyport-Hint: ask for it\r\n',
      'HTTP/1.1 403 host-not-allowed',
      ['hint: ask for it'],
    ],
    ['another proxy, which gives no hint', 'HTTP/1.0 403 Forbidden\r\n', 'HTTP/1.0 403 Forbidden', ['hint: ']],
    [
      '407, with what to do',
      'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n',
      '407',
      ['--credentials-file'],
    ],
    ['escapes of a terminal made harmless', 'HTTP/1.1 403 \x1b[31mred\r\n', '403', []],
    ['a 204, which opens nothing', 'HTTP/1.1 204 No Content\r\n', '204 No Content', []],
  ])('refused: %s', async (_, head, line, more) => {
    const proxy = await started((socket) => void socket.end(`${head}Content-Length: 0\r\n\r\n`));
    const done = await connect(['--proxy', `http://${proxy}`, 'git.example', '22']);
    expect([done.code, done.stdout]).toEqual([1, '']);
    for (const text of [line, ...more]) expect(done.stderr).toContain(text);
    expect(done.stderr).not.toContain('\x1b');
  });

  it.each<[string, Answer, string]>([
    ['does not speak HTTP', (socket) => void socket.end('SSH-2.0-x\r\n'), 'gave no usable answer'],
    ['closes', (socket) => void socket.end(), 'gave no usable answer'],
    [
      'answers without end',
      (socket) => void socket.write(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20_000)}`),
      'gave no usable answer',
    ],
    ['is silent', () => {}, 'did not answer the CONNECT within 1000 ms'],
  ])('the proxy %s', async (_, answer, text) => {
    const proxy = await started(answer);
    const done = await connect(['--proxy', `http://${proxy}`, '--timeout', '1', 'git.example', '22']);
    expect(done.code).toBe(1);
    expect(done.stderr).toContain(text);
  });

  it('the certificate of the proxy is not trusted, or the proxy speaks no TLS', async () => {
    const untrusted = await connect(['--proxy', `https://${secure}`, 'git.example', '22']);
    expect(untrusted.code).toBe(1);
    expect(untrusted.stderr).toMatch(/failed in its TLS handshake: .*(?:self-signed|unable to)/);
    expect(untrusted.stderr).toContain('--proxy-ca');
    const plain = await started((socket) => void socket.end());
    const none = await connect(['--proxy', `https://${plain}`, '--timeout', '1', 'git.example', '22']);
    expect(none.stderr).toContain('TLS handshake');
  });

  it('a TLS proxy that is asked without TLS', async () => {
    const done = await connect(['--proxy', `http://${secure}`, 'git.example', '22']);
    expect(done.code).toBe(1);
    expect(done.stderr).toContain('needs https:// in its URL');
  });
});
