// Completions in the shells themselves, and the man page in its reader: both are made from the table of commands.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/cli/args.ts';
import { completionScript, SHELLS } from '../../src/cli/completion.ts';
import { manPage } from '../../src/cli/man.ts';
import { hasProgram } from '../support/programs.ts';
import { run } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { type } from './console.ts';

let dir = '';
beforeAll(() => {
  dir = tempDir('shells');
  for (const shell of SHELLS) writeFileSync(join(dir, `_${shell}`), completionScript(shell));
});

/** What bash offers for a line that ends here; files aside. */
async function bash(...words: string[]): Promise<string[]> {
  const line = words.map((word) => `'${word}'`).join(' ');
  const script = `source ${dir}/_bash; COMP_WORDS=(sallyport ${line}); COMP_CWORD=${words.length}; _sallyport; printf '%s\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, code } = await run(['bash', '--norc', '-uc', script], { cwd: dir });
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
  return stdout.split('\n').filter((word) => word !== '');
}

async function fish(line: string): Promise<string[]> {
  const script = `source ${dir}/_fish; complete -C ${JSON.stringify(line)}`;
  const { stdout, stderr } = await run(['fish', '--no-config', '-c', script], { cwd: dir, env: { HOME: dir } });
  expect(stderr).toBe('');
  return stdout.split('\n').flatMap((text) => (text === '' ? [] : [text.split('\t')[0] ?? '']));
}

describe.skipIf(!hasProgram('bash'))('bash completes', () => {
  it('commands, and those of a family', async () => {
    expect(await bash('rep')).toEqual(['report', 'replay']);
    expect(await bash('audit', '')).toEqual(
      COMMANDS.flatMap(({ name }) => (name.startsWith('audit ') ? [name.slice(6)] : [])),
    );
    expect(await bash('')).toContain('help');
  });

  it('options of the command, and the choices of an option', async () => {
    expect(await bash('check', '--st')).toEqual(['--strict']);
    expect(await bash('audit', 'query', '--ho')).toEqual(['--host']);
    expect(await bash('report', '--format', 'm')).toEqual(['markdown']);
  });

  it('files where nothing else is known', async () => {
    expect(await bash('check', '--config', '_ba')).toEqual(['_bash']);
  });
});

describe.skipIf(!hasProgram('fish'))('fish completes', () => {
  it('commands, families, options and choices', async () => {
    expect(await fish('sallyport repl')).toEqual(['replay']);
    expect(await fish('sallyport audit ver')).toEqual(['verify']);
    expect(await fish('sallyport check --str')).toEqual(['--strict']);
    expect(await fish('sallyport report --format mark')).toContain('markdown');
  });
});

it.skipIf(!hasProgram('zsh'))('zsh reads its script, and completes commands', async () => {
  // Without the terminal that zsh wants, _describe and _arguments say what they were asked.
  const script = [
    `compdef() { :; }; _describe() { print -l -- \${(P)2}; }; _arguments() { print -l -- "$@"; }; _files() { :; }`,
    `words=(sallyport ''); CURRENT=2; source ${dir}/_zsh`,
    `words=(sallyport audit query --h); CURRENT=4; _sallyport`,
  ].join('\n');
  const { stdout, stderr, code } = await run(['zsh', '--no-rcs', '-c', script], { cwd: dir });
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
  const lines = stdout.split('\n');
  expect(lines.some((line) => line.startsWith('replay:'))).toBe(true);
  expect(lines.some((line) => /^\*?--host\[.*\]:/.test(line))).toBe(true);
});

it('another shell is refused with those that are known', async () => {
  const { code, err } = await type(['completion', 'tcsh']);
  expect(code).toBe(2);
  expect(err).toContain('bash, zsh, fish');
});

it.skipIf(!hasProgram('man'))('the man page is one without a warning, and has every command', async () => {
  const file = join(dir, 'sallyport.1');
  writeFileSync(file, manPage('1.2.3', '2026-11-26'));
  const env = { MANWIDTH: '100', LC_ALL: 'C.UTF-8', PATH: process.env['PATH'] ?? '' };
  const { stdout, stderr, code } = await run(['man', '--warnings', '-l', '-P', 'cat', '-E', 'UTF-8', file], { env });
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
  for (const { name } of COMMANDS) expect(stdout).toMatch(new RegExp(`^   ${name}$`, 'm'));
  expect(stdout).toContain('sallyport explain HOST[:PORT]');
  expect(stdout).toContain('--for-minutes N');
});
