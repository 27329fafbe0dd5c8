// `sallyport health`: asks the running proxy's admin listener, for a container's health check and for scripts without curl.
import http from 'node:http';
import { SallyportError } from '../../errors.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import type { Input } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

const ANSWER_BYTES_MAX = 4_096;
/** Below the time-out of the image's health check. */
const ANSWER_MS_MAX = 3_000;
/** A listener on every address is asked on loopback. */
const LOOPBACK: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

export async function health(input: Input, ui: Ui, world: World): Promise<number> {
  const { settings } = loadFor(input, ui, world, { quiet: true });
  if (settings.admin === null)
    throw new SallyportError('proxy-not-found', 'the admin listener is off, and nothing else says how the proxy is', {
      hint: 'Write admin: 127.0.0.1:3129.',
    });
  const { host, port } = settings.admin;
  const path = input.flag('live') ? '/healthz' : '/readyz';
  const { status, text } = await ask({ host: LOOPBACK[host] ?? host, port, path });
  const ok = status === 200;
  if (ui.json) ui.object({ ok, status, answer: text });
  else ui.line(inert(text));
  return ok ? EXIT.ok : EXIT.failed;
}

function ask(to: { host: string; port: number; path: string }): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const lost = (cause: NodeJS.ErrnoException): void => {
      const why = cause.code ?? cause.message;
      reject(
        new SallyportError('proxy-not-found', `the admin listener ${to.host}:${to.port} does not answer: ${why}`, {
          cause,
        }),
      );
    };
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    const request = http.get({ ...to, signal, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text = (text + chunk).slice(0, ANSWER_BYTES_MAX);
      });
      response.on('error', lost);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: text.trim() }));
    });
    request.on('error', lost);
  });
}
