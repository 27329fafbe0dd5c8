// From argv to an exit code: parse, run the one command, show what went wrong. Main path: run → parseArguments → the command.
// It never ends the process (main.ts does) and never lets an error through as a stack trace.
import { once } from 'node:events';
import { closeSync, fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import { userInfo } from 'node:os';
import type { Writable } from 'node:stream';
import { SallyportError } from '../errors.ts';
import { type CommandName, EXIT } from './args.ts';
import { overview } from './help.ts';
import type { Input } from './input.ts';
import { parseArguments } from './parse.ts';
import { readSecret } from './secret.ts';
import { createUi, type Sink, type Ui, type World } from './ui.ts';
import { VERSION } from './version.ts';

type Command = (input: Input, ui: Ui, world: World) => number | Promise<number>;

/** One module a command, loaded when it is asked for: `explain` needs no SQLite and `serve` no report. */
const LOADERS: Readonly<Record<CommandName, () => Promise<Command>>> = {
  serve: async () => (await import('./commands/serve.ts')).serveCommand,
  check: async () => (await import('./commands/check.ts')).check,
  policy: async () => (await import('./commands/policy.ts')).policy,
  explain: async () => (await import('./commands/explain.ts')).explain,
  'bundle make': async () => (await import('./commands/bundle.ts')).bundleMake,
  'bundle verify': async () => (await import('./commands/bundle.ts')).bundleVerify,
  grant: async () => (await import('./commands/grant.ts')).grant,
  revoke: async () => (await import('./commands/grant.ts')).revoke,
  'grants list': async () => (await import('./commands/grant.ts')).grantsList,
  fleet: async () => (await import('./commands/fleet.ts')).fleet,
  report: async () => (await import('./commands/report.ts')).report,
  suggest: async () => (await import('./commands/suggest.ts')).suggestCommand,
  replay: async () => (await import('./commands/replay.ts')).replay,
  'catalog list': async () => (await import('./commands/catalog.ts')).catalogList,
  'catalog show': async () => (await import('./commands/catalog.ts')).catalogShow,
  'catalog diff': async () => (await import('./commands/catalog-life.ts')).catalogDiff,
  'catalog accept': async () => (await import('./commands/catalog-life.ts')).catalogAccept,
  'catalog bundle': async () => (await import('./commands/catalog-life.ts')).catalogBundle,
  env: async () => (await import('./commands/env.ts')).env,
  connect: async () => (await import('./commands/connect.ts')).connect,
  'platform-ips': async () => (await import('./commands/platform-ips.ts')).platformIps,
  doctor: async () => (await import('./commands/doctor.ts')).doctor,
  completion: async () => (await import('./commands/completion.ts')).completion,
  health: async () => (await import('./commands/health.ts')).health,
  init: async () => (await import('./commands/init.ts')).init,
  tail: async () => (await import('./commands/tail.ts')).tail,
  upgrade: async () => (await import('./commands/upgrade.ts')).upgrade,
  'mode observe': async () => (await import('./commands/mode.ts')).modeSet,
  'mode enforce': async () => (await import('./commands/mode.ts')).modeSet,
  'mode status': async () => (await import('./commands/mode.ts')).modeStatus,
  'mode clear': async () => (await import('./commands/mode.ts')).modeClear,
  'user add': async () => (await import('./commands/user.ts')).userAdd,
  'user remove': async () => (await import('./commands/user.ts')).userRemove,
  'user list': async () => (await import('./commands/user.ts')).userList,
  'ca init': async () => (await import('./commands/ca.ts')).caInit,
  'ca show': async () => (await import('./commands/ca.ts')).caShow,
  'ca rotate': async () => (await import('./commands/ca.ts')).caRotate,
  'audit verify': async () => (await import('./commands/audit.ts')).auditVerify,
  'audit query': async () => (await import('./commands/audit-query.ts')).auditQuery,
  'audit repair': async () => (await import('./commands/audit.ts')).auditRepair,
  'usage export': async () => (await import('./commands/usage.ts')).usageExport,
  'usage import': async () => (await import('./commands/usage.ts')).usageImport,
  'import squid': async () => (await import('./commands/import-policy.ts')).importSquid,
  'import smokescreen': async () => (await import('./commands/import-policy.ts')).importSmokescreen,
  'import flows': async () => (await import('./commands/import-flows.ts')).importFlowsCommand,
  'usage rebuild': async () => (await import('./commands/usage.ts')).usageRebuild,
};

/**
 * Runs one command line.
 * @param argv what stands after `node main.js`
 * @returns the exit code: what the command says (table/: 0 ok, 1 a finding or a failure, some have 3), 2 usage, 70 a fault of sallyport
 */
export async function run(argv: readonly string[], world: World = processWorld()): Promise<number> {
  const end = argv.indexOf('--');
  const flags = end < 0 ? argv : argv.slice(0, end);
  const ui = createUi(world, { json: flags.includes('--json'), color: !flags.includes('--no-color') });
  try {
    if (argv.length === 0) {
      ui.note(overview(null).trimEnd());
      return EXIT.usage;
    }
    const parsed = parseArguments(argv);
    if (parsed.kind === 'version') ui.line(VERSION);
    if (parsed.kind === 'text') ui.raw(parsed.text);
    const code = parsed.kind === 'command' ? await execute(parsed.input, ui, world) : EXIT.ok;
    // A pipe takes 64 KiB and its reader the rest in its own time: the end of the process would lose that. A service has its one line out
    // long since, and must not wait at its end for a log collector that hangs.
    if (parsed.kind !== 'command' || parsed.input.command !== 'serve') await world.stdout.flushed?.();
    return code;
  } catch (error) {
    ui.failure(error);
    if (!(error instanceof SallyportError)) return EXIT.internal;
    return error.code === 'usage' ? EXIT.usage : EXIT.failed;
  } finally {
    ui.settle();
  }
}

async function execute(input: Input, ui: Ui, world: World): Promise<number> {
  const command = await LOADERS[input.command]();
  return command(input, ui, world);
}

function processWorld(): World {
  return {
    stdout: sinkOf(process.stdout),
    stderr: sinkOf(process.stderr),
    env: process.env,
    now: () => Date.now(),
    user: userName(),
    pipes: () => ({ input: process.stdin, output: standardOutput() }),
    stdin: process.stdin,
    secret: (prompt) => readSecret(prompt, (text) => void process.stderr.write(text)),
  };
}

/** A stream that goes quiet when its reader has gone (`sallyport report | head`), instead of ending the process. */
function sinkOf(stream: NodeJS.WriteStream): Sink {
  let gone = false;
  stream.on('error', () => {
    gone = true;
  });
  return {
    write: (text) => {
      if (!gone) stream.write(text);
    },
    taken: async () => {
      // A reader that goes away ends the waiting too, with an error that the listener above has taken.
      if (!gone && stream.writableNeedDrain) await once(stream, 'drain').catch(() => undefined);
      return !gone;
    },
    flushed: () =>
      new Promise((resolve) => {
        if (gone || stream.writableLength === 0) resolve();
        else stream.write('', () => resolve());
      }),
    get isTTY() {
      return stream.isTTY;
    },
    get columns() {
      return stream.columns;
    },
  };
}

const STDOUT_FD = 1;

/** Standard output as a stream whose end the reader sees at once; process.stdout keeps its descriptor open to the exit. */
function standardOutput(): Writable {
  const kind = fstatSync(STDOUT_FD);
  if (!kind.isFIFO() && !kind.isSocket()) return process.stdout;
  const output = new Socket({ fd: STDOUT_FD, readable: false, writable: true });
  // libuv closes a stream but never a standard descriptor, and the reader waits for that.
  output.once('close', () => closeSync(STDOUT_FD));
  return output;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run under a number that has no name.
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}
