// Shell completions, made from the table of commands: the words of commands, their options and the choices that these have.
import { COMMANDS, COMMON_OPTIONS, FAMILIES } from './args.ts';
import type { OptionSpec } from './table/spec.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A script that the shell sources. */
export function completionScript(shell: Shell): string {
  return { bash: bash, zsh: zsh, fish: fish }[shell]();
}

/** "audit query" as the shell sees it after the first words; options of every command included. */
interface Completed {
  readonly words: readonly string[];
  readonly about: string;
  readonly options: readonly OptionSpec[];
}

function completed(): Completed[] {
  return COMMANDS.map(({ name, summary, options }) => ({
    words: name.split(' '),
    about: summary,
    options: [...options, ...COMMON_OPTIONS],
  }));
}

/** What may follow nothing, or the first word of a family; with the sentence that says what it is. */
function next(first: string | null): [word: string, about: string][] {
  if (first !== null)
    return completed().flatMap(({ words, about }) =>
      words[0] === first && words[1] !== undefined ? [[words[1], about]] : [],
    );
  const own = completed().flatMap<[string, string]>(({ words, about }) =>
    words.length === 1 ? [[words[0] ?? '', about]] : [],
  );
  return [
    ...own,
    ...families().map<[string, string]>((family) => [family, FAMILIES[family] ?? '']),
    ['help', 'Print help.'],
  ];
}

function families(): string[] {
  return [...new Set(completed().flatMap(({ words }) => (words.length > 1 ? [words[0] ?? ''] : [])))];
}

function bash(): string {
  const flags = ({ options }: Completed): string => options.map(({ name }) => `--${name}`).join(' ');
  const values = ({ words, options }: Completed): string[] =>
    options.flatMap(({ name, choices }) =>
      choices === undefined ? [] : [`    '${words.join(' ')} --${name}') words='${choices.join(' ')}' ;;`],
    );
  return [
    '# bash completion of sallyport: source it, or put it into /etc/bash_completion.d/.',
    '_sallyport() {',
    `  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}`,
    `  local command=\${COMP_WORDS[1]-} words=`,
    '  COMPREPLY=()',
    '  if [ "$COMP_CWORD" -eq 1 ]; then',
    `    COMPREPLY=($(compgen -W '${next(null)
      .map(([word]) => word)
      .join(' ')}' -- "$current"))`,
    '    return',
    '  fi',
    '  case $command in',
    `    ${families().join('|')})`,
    '      if [ "$COMP_CWORD" -eq 2 ]; then',
    '        case $command in',
    ...families().map(
      (family) =>
        `          ${family}) words='${next(family)
          .map(([word]) => word)
          .join(' ')}' ;;`,
    ),
    '        esac',
    '        COMPREPLY=($(compgen -W "$words" -- "$current"))',
    '        return',
    '      fi',
    `      command="$command \${COMP_WORDS[2]}" ;;`,
    '  esac',
    '  case "$command $previous" in',
    ...completed().flatMap(values),
    '  esac',
    '  if [ -n "$words" ]; then',
    '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
    '    return',
    '  fi',
    '  case $command in',
    ...completed().map((one) => `    '${one.words.join(' ')}') words='${flags(one)}' ;;`),
    '  esac',
    '  case $current in',
    '    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;',
    '    *) COMPREPLY=($(compgen -f -- "$current")) ;;',
    '  esac',
    '}',
    'complete -o filenames -F _sallyport sallyport',
    '',
  ].join('\n');
}

function zsh(): string {
  const described = (pairs: readonly [string, string][]): string =>
    pairs.map(([word, about]) => `'${word}:${about.replaceAll("'", "'\\''").replaceAll(':', '\\:')}'`).join(' ');
  const flag = ({ name, value, about, repeat, choices }: OptionSpec): string => {
    const words = about.replaceAll("'", "'\\''").replace(/[[\]:\\]/g, '\\$&');
    const what = value === null ? '' : `:${value}:${choices === undefined ? '_files' : `(${choices.join(' ')})`}`;
    return `'${repeat ? '*' : ''}--${name}[${words}]${what}'`;
  };
  return [
    '#compdef sallyport',
    '# zsh completion of sallyport: put it as _sallyport into a folder of $fpath.',
    '_sallyport() {',
    '  local -a words_here',
    '  local command=$words[2]',
    '  if (( CURRENT == 2 )); then',
    `    words_here=(${described(next(null))})`,
    "    _describe 'command' words_here",
    '    return',
    '  fi',
    '  case $command in',
    ...families().flatMap((family) => [
      `    ${family})`,
      '      if (( CURRENT == 3 )); then',
      `        words_here=(${described(next(family))})`,
      "        _describe 'command' words_here",
      '        return',
      '      fi',
      '      command="$command $words[3]" ;;',
    ]),
    '  esac',
    '  case $command in',
    ...completed().map(
      (one) => `    '${one.words.join(' ')}') _arguments ${one.options.map(flag).join(' ')} '*:file:_files' ;;`,
    ),
    '  esac',
    '}',
    '_sallyport "$@"',
    '',
  ].join('\n');
}

function fish(): string {
  const quoted = (words: string): string => `'${words.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const seen = (words: readonly string[]): string =>
    words.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
  const lines = [
    '# fish completion of sallyport: put it into ~/.config/fish/completions/sallyport.fish.',
    'complete -c sallyport -f',
  ];
  for (const [word, about] of next(null))
    lines.push(`complete -c sallyport -n __fish_use_subcommand -a ${word} -d ${quoted(about)}`);
  for (const family of families()) {
    const words = next(family);
    const none = `__fish_seen_subcommand_from ${family}; and not __fish_seen_subcommand_from ${words.map(([word]) => word).join(' ')}`;
    for (const [word, about] of words)
      lines.push(`complete -c sallyport -n ${quoted(none)} -a ${word} -d ${quoted(about)}`);
  }
  for (const { words, options } of completed())
    for (const { name, value, about, choices } of options) {
      const more = value === null ? '' : choices === undefined ? ' -r -F' : ` -x -a ${quoted(choices.join(' '))}`;
      lines.push(`complete -c sallyport -n ${quoted(seen(words))} -l ${name}${more} -d ${quoted(about)}`);
    }
  return `${lines.join('\n')}\n`;
}
