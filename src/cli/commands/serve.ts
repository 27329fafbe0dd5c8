// `sallyport serve`: which policy to run with. The proxy itself is composed in ../serve.ts, loaded only here.
// Without a file nothing runs unless --observe says so in words, with the address and the clients named.
import { EXIT } from '../args.ts';
import { configFile } from '../config-file.ts';
import { type Input, usage } from '../input.ts';
import type { Ui, World } from '../ui.ts';

export async function serveCommand(input: Input, ui: Ui, world: World): Promise<number> {
  const start = startOf(input);
  if (start.file === null && !ui.json) for (const line of STILL_REFUSED) ui.note(line);
  const { serve } = await import('../serve.ts');
  const say = (line: string): void => (ui.json ? ui.object({ ready: line }) : ui.line(line));
  const code = await serve({ ...start, say, env: world.env });
  return code === 0 ? EXIT.ok : code;
}

/** What observing never lets pass; said at the start, so that nobody takes observe for an open proxy. */
const STILL_REFUSED = [
  'sallyport: observing without a policy file: what no policy allows passes and is recorded as would-deny.',
  '  Refused all the same: malformed requests; names that resolve to addresses that are not public (loopback, private,',
  '  link-local); instance metadata; this proxy itself; clients outside --from; anything that cannot be recorded.',
];

function startOf(input: Input) {
  const listen = input.list('listen');
  const from = input.list('from');
  if (!input.flag('observe')) {
    if (listen.length > 0 || from.length > 0) {
      throw usage(
        '--listen and --from belong to --observe',
        'With a policy file, write `listen` and `clients.from` in it.',
      );
    }
    return { file: configFile(input), overrides: {} };
  }
  if (input.text('config') !== null) {
    throw usage(
      '--observe runs without a file, and --config names one',
      'Write `mode: observe` in the file, or let the running proxy observe for a while: `sallyport help mode observe`.',
    );
  }
  if (listen.length === 0) throw usage('--observe needs --listen ADDR', 'For example: --listen 127.0.0.1:3128');
  if (from.length === 0)
    throw usage('--observe needs --from CIDR: the clients that may use it', 'For example: --from 127.0.0.0/8');
  return { file: null, overrides: { mode: 'observe', listen, from } };
}
