// Words made from the table of commands: --help for one command, the overview, and docs/cli.md. It knows no command by name.
import { COMMANDS, COMMON_EXITS, COMMON_OPTIONS, FAMILIES } from './args.ts';
import type { CommandSpec, OptionSpec } from './table/spec.ts';

const COLUMN = 26;
const WIDTH = 100;

/** Help of one command, for a terminal. */
export function commandHelp(spec: CommandSpec): string {
  const parts = [`Usage: ${usageLine(spec)}`, '', spec.summary];
  for (const paragraph of spec.about ?? []) parts.push('', wrap(paragraph, 0));
  if (spec.arguments.length > 0) parts.push('', 'Arguments:', ...spec.arguments.map((a) => entry(a.name, a.about)));
  parts.push('', 'Options:', ...optionsOf(spec).map((option) => entry(optionText(option), optionAbout(option))));
  parts.push('', 'Exit codes:', ...exitsOf(spec).map(([code, about]) => entry(code, about)));
  parts.push('', 'Examples:', ...spec.examples.map((example) => `  ${example}`));
  return `${parts.join('\n')}\n`;
}

/** The list of commands; `family` narrows it to one family, for example "catalog". */
export function overview(family: string | null): string {
  const shown = COMMANDS.filter((spec) => family === null || spec.name.startsWith(`${family} `));
  const about =
    family === null
      ? 'Sallyport: an egress proxy with an allowlist for self-hosted Buildkite agents.'
      : (FAMILIES[family] ?? '');
  const parts = [
    `Usage: sallyport ${family === null ? 'COMMAND' : `${family} COMMAND`} [options]`,
    '',
    about,
    '',
    'Commands:',
  ];
  parts.push(...shown.map((spec) => entry(spec.name, spec.summary)));
  if (family === null) {
    parts.push(entry('help [COMMAND]', 'Print this list, or the help of a command.'));
    parts.push('', 'Options:', entry('--version', 'Print the version.'));
    parts.push(...COMMON_OPTIONS.map((option) => entry(optionText(option), option.about)));
  }
  parts.push('', '`sallyport help COMMAND` explains one of them.');
  return `${parts.join('\n')}\n`;
}

/** The whole of docs/cli.md. */
export function cliMarkdown(): string {
  const parts = [
    '# Command line',
    '',
    '<!-- Made by scripts/cli-doc.ts from src/cli/table/; a test holds them equal. Do not edit by hand. -->',
    '',
    'Every command takes `--json` (one JSON object on standard output; an error is `{"error": {"code", "message", "hint", "problems"}}`),',
    '`--no-color` and `--help`. Errors go to standard error as `sallyport: error: …`, with the place and a hint. Exit codes: 0 done,',
    '1 a finding or a failure, 2 the command line is not understood, 3 kept for "something newly fails or changed", 70 a fault of sallyport.',
    '',
    '| command | what it does |',
    '| --- | --- |',
    ...COMMANDS.map((spec) => `| [\`${spec.name}\`](#${spec.name.replaceAll(' ', '-')}) | ${spec.summary} |`),
    '',
  ];
  for (const spec of COMMANDS) parts.push(...commandMarkdown(spec));
  return parts.join('\n');
}

/** How a command is typed: `sallyport explain HOST[:PORT] [--config FILE] …`. */
export function usageLine(spec: CommandSpec): string {
  const words = ['sallyport', spec.name];
  for (const argument of spec.arguments) {
    const name = argument.repeat ? `${argument.name}…` : argument.name;
    words.push(argument.required ? name : `[${name}]`);
  }
  for (const option of spec.options) words.push(`[${optionText(option)}]${option.repeat ? '…' : ''}`);
  return words.join(' ');
}

function commandMarkdown(spec: CommandSpec): string[] {
  const parts = [`## ${spec.name}`, '', spec.summary, ''];
  for (const paragraph of spec.about ?? []) parts.push(paragraph, '');
  parts.push('```text', usageLine(spec), '```', '');
  if (spec.arguments.length + spec.options.length > 0) {
    parts.push('| argument or option | |', '| --- | --- |');
    parts.push(...spec.arguments.map((argument) => `| \`${argument.name}\` | ${cell(argument.about)} |`));
    parts.push(...spec.options.map((option) => `| \`${optionText(option)}\` | ${cell(optionAbout(option))} |`), '');
  }
  parts.push(
    '| exit code | |',
    '| --- | --- |',
    ...exitsOf(spec).map(([code, about]) => `| ${code} | ${cell(about)} |`),
    '',
  );
  parts.push('```sh', ...spec.examples, '```', '', `\`--json\`: ${spec.json}.`, '');
  return parts;
}

function optionsOf(spec: CommandSpec): readonly OptionSpec[] {
  return [...spec.options, ...COMMON_OPTIONS];
}

function exitsOf(spec: CommandSpec): [string, string][] {
  return Object.entries({ ...spec.exits, ...COMMON_EXITS });
}

/** `--config FILE`. */
export function optionText(option: OptionSpec): string {
  return option.value === null ? `--${option.name}` : `--${option.name} ${option.value}`;
}

/** What it is for, with its choices. */
export function optionAbout(option: OptionSpec): string {
  const choices = option.choices === undefined ? '' : `${option.choices.join(', ')}; `;
  return `${choices}${option.about}${option.repeat ? ' May be repeated.' : ''}`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function entry(left: string, right: string): string {
  const gap = left.length + 2 >= COLUMN ? `\n${' '.repeat(COLUMN)}` : ' '.repeat(COLUMN - left.length - 2);
  return `  ${left}${gap}${wrap(right, COLUMN)}`;
}

function wrap(text: string, indent: number): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length + 1 > WIDTH - indent) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.join(`\n${' '.repeat(indent)}`);
}
