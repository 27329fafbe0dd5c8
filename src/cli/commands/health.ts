// `sallyport health`: asks the running proxy's admin listener, for a container's health check and for scripts without curl.
import type { AdminSettings } from '../../config/config.ts';
import { SallyportError } from '../../errors.ts';
import { inert } from '../../report/inert.ts';
import { requestAdmin } from '../admin-client.ts';
import { EXIT } from '../args.ts';
import type { Input } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

const ANSWER_BYTES_MAX = 4_096;
/** Below the time-out of the image's health check. */
const ANSWER_MS_MAX = 3_000;

export async function health(input: Input, ui: Ui, world: World): Promise<number> {
  const { settings } = loadFor(input, ui, world, { quiet: true });
  if (settings.admin === null)
    throw new SallyportError('proxy-not-found', 'the admin listener is off, and nothing else says how the proxy is', {
      hint: 'Write admin: 127.0.0.1:3129.',
    });
  const path = input.flag('live') ? '/healthz' : '/readyz';
  const { status, text } = await ask(settings.admin, path);
  const ok = status === 200;
  if (ui.json) ui.object({ ok, status, answer: text });
  else ui.line(inert(text));
  return ok ? EXIT.ok : EXIT.failed;
}

async function ask(admin: AdminSettings, path: string): Promise<{ status: number; text: string }> {
  try {
    const response = await requestAdmin(admin, path, {}, ANSWER_MS_MAX);
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) text = (text + chunk).slice(0, ANSWER_BYTES_MAX);
    return { status: response.statusCode ?? 0, text: text.trim() };
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const where = `the admin listener ${admin.path ?? `${admin.host}:${admin.port}`}`;
    throw new SallyportError('proxy-not-found', `${where} does not answer: ${code ?? message}`, { cause });
  }
}
