// `sallyport connect`: standard input and output over a CONNECT tunnel, as ssh's ProxyCommand wants it. Either side may end
// alone. Nothing but the tunnel's bytes goes to standard output; what went wrong goes to standard error.
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { openTunnel, type TunnelRefusal } from '../../buildkite/client-tunnel.ts';
import { type OperatorErrorCode, SallyportError } from '../../errors.ts';
import { type Authority, parseAuthority } from '../../policy/authority.ts';
import { EXIT } from '../args.ts';
import { roadOption, timeoutOption } from '../client-options.ts';
import { type Input, usage } from '../input.ts';
import type { Pipes, Ui, World } from '../ui.ts';

const TIMEOUT_DEFAULT_S = 30;

export async function connect(input: Input, _ui: Ui, world: World): Promise<number> {
  const target = targetOf(input.argument(0) ?? '', input.argument(1) ?? '');
  // NO_PROXY does not count: who asks for a tunnel wants one.
  const road = roadOption(input, world.env, 'proxy-ca');
  if (road === null)
    throw new SallyportError('proxy-unset', 'neither --proxy nor HTTPS_PROXY or HTTP_PROXY names a proxy');
  const outcome = await openTunnel({ ...road, target, timeoutMs: timeoutOption(input, TIMEOUT_DEFAULT_S) });
  if (!outcome.ok) throw refused(outcome);
  await carry(outcome.socket, world.pipes(), target);
  return EXIT.ok;
}

/** Both directions to their ends, each by itself: ssh and git may end their sending before the answer is complete. */
async function carry(socket: Socket, { input, output }: Pipes, target: Authority): Promise<void> {
  try {
    await Promise.all([pipeline(input, socket), pipeline(socket, output)]);
  } catch (error) {
    socket.destroy();
    throw new SallyportError('tunnel-broken', `the tunnel to ${target.text} broke: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

const CODES: Readonly<Record<TunnelRefusal['step'], OperatorErrorCode>> = {
  dial: 'proxy-unreachable',
  tls: 'proxy-unreachable',
  answer: 'proxy-unreachable',
  refused: 'tunnel-refused',
};

function refused({ step, message, hint }: TunnelRefusal): SallyportError {
  return new SallyportError(CODES[step], message, hint === null ? {} : { hint });
}

function targetOf(host: string, port: string): Authority {
  const parsed = parseAuthority(`${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${port}`);
  if (parsed.ok) return parsed.authority;
  throw usage(`${JSON.stringify(`${host} ${port}`)} is no host and port: ${parsed.problem}`);
}
