// argv → what was asked: a command with its input, a help text, or the version. The parser (commander) is built from the
// table in args.ts and runs nothing; what it refuses becomes a `usage` error with the nearest spelling as its hint.
import { Command, CommanderError, Option } from 'commander';
import { nearestSpelling } from '../catalog/nearest.ts';
import { COMMANDS, COMMON_OPTIONS, type CommandName, FAMILIES } from './args.ts';
import { commandHelp, overview } from './help.ts';
import { Input, type OptionValue, usage } from './input.ts';
import type { CommandSpec, OptionSpec } from './table/spec.ts';

export type Parsed =
  | { readonly kind: 'command'; readonly input: Input }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'version' };

/** Understands the arguments after `node main.js`; throws SallyportError `usage`. */
export function parseArguments(argv: readonly string[]): Parsed {
  const asked = helpAsked(argv);
  if (asked !== null) return asked;
  let found: Input | null = null;
  const program = new Command('sallyport').helpOption(false).helpCommand(false);
  quiet(program);
  for (const spec of COMMANDS) {
    const command = commandOf(program, spec);
    command.action(() => {
      found = new Input(spec.name, command.processedArgs.flat(), optionsOf(spec, command));
    });
  }
  try {
    program.parse(argv, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) throw usageOf(error, argv);
    throw error;
  }
  if (found === null) throw usage('no command was given');
  return { kind: 'command', input: found };
}

/** `help`, `--help`, `--version` and families without a command are answered before anything is parsed. */
function helpAsked(argv: readonly string[]): Parsed | null {
  const end = argv.indexOf('--');
  const words = end < 0 ? argv : argv.slice(0, end);
  if (words[0] === '--version' || words[0] === '-V') return { kind: 'version' };
  const [first, ...rest] = words;
  const help = first === 'help' || words.includes('--help') || words.includes('-h');
  const named = (first === 'help' ? rest : words).filter((word) => !word.startsWith('-'));
  if (!help) {
    const family =
      named.length === 1 && words.length === 1 && named[0] !== undefined && Object.hasOwn(FAMILIES, named[0]);
    if (family) throw usage(`${named[0]} needs a command: ${familyCommands(named[0] ?? '').join(', ')}`);
    return null;
  }
  if (named.length === 0) return { kind: 'text', text: overview(null) };
  const spec = COMMANDS.find(({ name }) => name === named[0] || name === `${named[0]} ${named[1]}`);
  if (spec !== undefined) return { kind: 'text', text: commandHelp(spec) };
  if (named[0] !== undefined && Object.hasOwn(FAMILIES, named[0])) return { kind: 'text', text: overview(named[0]) };
  throw unknownCommand(named[0] ?? '');
}

function familyCommands(family: string): string[] {
  return COMMANDS.filter(({ name }) => name.startsWith(`${family} `)).map(({ name }) => name.slice(family.length + 1));
}

function commandOf(program: Command, spec: CommandSpec): Command {
  const [first, second] = spec.name.split(' ');
  let parent = program;
  if (second !== undefined) {
    parent =
      program.commands.find((command) => command.name() === first) ??
      quiet(program.command(first ?? '')).helpCommand(false);
  }
  const command = quiet(parent.command(second ?? first ?? ''));
  for (const { name, required, repeat } of spec.arguments) {
    const word = repeat ? `${name}...` : name;
    command.argument(required ? `<${word}>` : `[${word}]`);
  }
  for (const option of [...spec.options, ...COMMON_OPTIONS]) command.addOption(optionFor(option));
  return command;
}

function optionFor(option: OptionSpec): Option {
  const made = new Option(option.value === null ? `--${option.name}` : `--${option.name} <${option.value}>`);
  if (option.choices !== undefined) made.choices([...option.choices]);
  // Not commander's variadic form: that would swallow the argument after it.
  if (option.repeat) made.argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);
  return made;
}

function quiet(command: Command): Command {
  return command
    .exitOverride()
    .helpOption(false)
    .allowExcessArguments(false)
    .showSuggestionAfterError(false)
    .configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
}

function optionsOf(spec: CommandSpec, command: Command): Map<string, OptionValue> {
  const values = command.opts<Record<string, OptionValue>>();
  const found = new Map<string, OptionValue>();
  for (const { name } of [...spec.options, ...COMMON_OPTIONS]) {
    const key = name.replace(/^no-/, '').replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const value = values[key];
    if (value !== undefined) found.set(name, name.startsWith('no-') ? value === false : value);
  }
  return found;
}

/** The parser's own words without its prefix, and the nearest spelling of what it did not know. */
function usageOf(error: CommanderError, argv: readonly string[]): Error {
  if (error.code === 'commander.unknownCommand' || error.code === 'commander.help')
    return unknownCommand(wordsOf(argv).join(' '));
  const message = (error.message.split('\n')[0] ?? '').replace(/^error: /, '');
  const spec = specOf(argv);
  if (error.code === 'commander.unknownOption' && spec !== undefined) {
    const options = [...spec.options, ...COMMON_OPTIONS].map(({ name }) => `--${name}`);
    const typed = /'([^']*)'/.exec(message)?.[1]?.split('=')[0] ?? '';
    const near = nearestSpelling(typed, options);
    return usage(message, near === null ? `${spec.name} takes ${options.join(', ')}.` : `Did you mean ${near}?`);
  }
  const name = spec?.name;
  return usage(message, name === undefined ? undefined : `\`sallyport help ${name}\` shows how it is written.`);
}

function wordsOf(argv: readonly string[]): string[] {
  const option = argv.findIndex((word) => word.startsWith('-'));
  return argv.slice(0, option < 0 ? 2 : Math.min(option, 2));
}

function specOf(argv: readonly string[]): (CommandSpec & { name: CommandName }) | undefined {
  const [first, second] = wordsOf(argv);
  return COMMANDS.find(({ name }) => name === first || name === `${first} ${second}`);
}

function unknownCommand(typed: string): Error {
  const first = typed.split(' ')[0] ?? '';
  const family = Object.hasOwn(FAMILIES, first);
  const names = COMMANDS.map(({ name }) => name);
  const near = nearestSpelling(typed, names) ?? nearestSpelling(first, [...names, ...Object.keys(FAMILIES), 'help']);
  const shown = family ? typed : first;
  const known = family ? `; ${first} has ${familyCommands(first).join(', ')}` : '';
  return usage(
    `there is no command ${JSON.stringify(shown)}${known}`,
    near === null || near === first ? undefined : `Did you mean \`sallyport ${near}\`?`,
  );
}
