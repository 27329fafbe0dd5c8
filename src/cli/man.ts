// sallyport(1), made from the table of commands at build time. roff of the man(7) macros; it knows no command by name.
import { COMMANDS, COMMON_EXITS, COMMON_OPTIONS } from './args.ts';
import { optionAbout, optionText, usageLine } from './help.ts';
import type { CommandSpec, OptionSpec } from './table/spec.ts';

/** @param date `YYYY-MM-DD` of the release @param version of the program */
export function manPage(version: string, date: string): string {
  return [
    `.TH SALLYPORT 1 ${quoted(date)} ${quoted(`sallyport ${version}`)} "User Commands"`,
    '.SH NAME',
    'sallyport \\- an egress proxy with an allowlist for self\\-hosted Buildkite agents',
    '.SH SYNOPSIS',
    '.B sallyport',
    '.I COMMAND',
    '[\\fIoptions\\fR]',
    '.SH DESCRIPTION',
    text(
      'Lets builds reach what a policy lists, refuses the rest with a reason, records every decision before anything is dialled, and reports which hosts the builds really use.',
    ),
    '.SH OPTIONS OF EVERY COMMAND',
    ...COMMON_OPTIONS.flatMap(option),
    '.SH COMMANDS',
    ...COMMANDS.flatMap(command),
    '.SH EXIT STATUS',
    ...Object.entries({
      0: 'done',
      1: 'a finding or a failure',
      ...COMMON_EXITS,
      3: 'something newly fails, or has changed',
    })
      .sort(([a], [b]) => Number(a) - Number(b))
      .flatMap(([code, about]) => tagged(code, about)),
    '.SH ENVIRONMENT',
    ...tagged('SALLYPORT_CONFIG', 'The policy file where --config names none.'),
    ...tagged('NO_COLOR', 'No colours on a terminal.'),
    '.SH FILES',
    ...tagged('config/sallyport.yaml', 'The policy file where nothing names another.'),
    ...tagged('sallyport.lock', 'Beside the policy file: the catalog that is accepted.'),
    '',
  ].join('\n');
}

function command(spec: CommandSpec): string[] {
  return [
    `.SS ${quoted(spec.name)}`,
    text(spec.summary),
    ...(spec.about ?? []).flatMap((paragraph) => ['.PP', text(paragraph)]),
    '.PP',
    `.B ${text(usageLine(spec))}`,
    ...spec.arguments.flatMap(({ name, about }) => tagged(name, about)),
    ...spec.options.flatMap(option),
    ...Object.entries(spec.exits).flatMap(([code, about]) => tagged(`exit ${code}`, about)),
    '.PP',
    'Examples:',
    '.nf',
    ...spec.examples.map(text),
    '.fi',
  ];
}

function option(spec: OptionSpec): string[] {
  return tagged(optionText(spec), optionAbout(spec));
}

function tagged(tag: string, about: string): string[] {
  return ['.TP', `.B ${text(tag)}`, text(about)];
}

/** Words as roff shows them: a backslash, a hyphen that may be copied, and a first character that would be a request. */
function text(words: string): string {
  return words
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/, '\\&$1');
}

function quoted(words: string): string {
  return `"${text(words).replaceAll('"', '""')}"`;
}
