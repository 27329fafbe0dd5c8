// What may be typed, what is refused, and that help, parser and documentation say the same.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMMANDS, COMMON_OPTIONS } from '../../src/cli/args.ts';
import { cliMarkdown, commandHelp } from '../../src/cli/help.ts';
import { identityOf, moment } from '../../src/cli/input.ts';
import { parseArguments } from '../../src/cli/parse.ts';
import { createUi } from '../../src/cli/ui.ts';
import { SallyportError } from '../../src/errors.ts';
import { NOW, pipes, policyFile, type, typeJson } from './console.ts';

const ROOT = join(import.meta.dirname, '..', '..');

function inputOf(...argv: string[]) {
  const parsed = parseArguments(argv);
  if (parsed.kind !== 'command') throw new Error(`no command: ${parsed.kind}`);
  return parsed.input;
}

function refusal(act: () => unknown): { code: string; message: string; hint: string } {
  try {
    act();
  } catch (error) {
    if (error instanceof SallyportError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('a command line', () => {
  it('gives its command, arguments and options', () => {
    const input = inputOf('explain', 'git.example:22', '--as', 'pipeline=web', '--as', 'queue=x', '--config=a.yaml');
    expect(input.command).toBe('explain');
    expect(input.argument(0)).toBe('git.example:22');
    expect(input.list('as')).toEqual(['pipeline=web', 'queue=x']);
    expect(input.text('config')).toBe('a.yaml');
    expect(input.text('method')).toBeNull();
  });

  it('may have its options before its argument, and an argument that looks like an option after --', () => {
    expect(inputOf('explain', '--as', 'queue=x', 'h.example').argument(0)).toBe('h.example');
    expect(inputOf('explain', '--', '-x').argument(0)).toBe('-x');
    expect(inputOf('init', '--', '--help').argument(0)).toBe('--help');
  });

  it.each([
    [['explian', 'x'], 'there is no command "explian"', 'Did you mean `sallyport explain`?'],
    [
      ['catalog', 'lst'],
      'there is no command "catalog lst"; catalog has list, show',
      'Did you mean `sallyport catalog list`?',
    ],
    [['catalog'], 'catalog needs a command: list, show', null],
    [['mode', 'audit'], 'there is no command "mode audit"; mode has observe, enforce, status, clear', null],
    [['check', '--confg', 'f'], "unknown option '--confg'", 'Did you mean --config?'],
    [['check', '--strictt'], "unknown option '--strictt'", 'Did you mean --strict?'],
    [['explain'], "missing required argument 'HOST[:PORT]'", null],
    [['check', 'policy', 'extra'], "too many arguments for 'check'", null],
    [['report', '--format', 'xml'], 'Allowed choices are table, json, csv, markdown, html', null],
    [['check', '--config'], "option '--config <FILE>' argument missing", null],
    [['constructor'], 'there is no command "constructor"', null],
    [['help', 'toString'], 'there is no command "toString"', null],
  ])('%j is refused', async (argv, message, hint) => {
    const error = refusal(() => parseArguments(argv));
    expect(error.code).toBe('usage');
    expect(error.message).toContain(message);
    if (hint !== null) expect(error.hint).toBe(hint);
    expect((await type(argv)).code).toBe(2);
  });

  it('without anything prints the commands on standard error and exits 2', async () => {
    const { code, out, err } = await type([]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain('explain');
  });

  it('an error is printed without a stack trace, and as JSON with --json', async () => {
    const { code, out, err } = await type(['check', '--confg', 'x']);
    expect([code, out]).toEqual([2, '']);
    expect(err).toBe("sallyport: error: unknown option '--confg'\n  usage\n  hint: Did you mean --config?\n");
    const { code: same, json } = await typeJson(['check', '--confg', 'x']);
    expect(same).toBe(2);
    expect(json).toEqual({
      error: { code: 'usage', message: "unknown option '--confg'", hint: 'Did you mean --config?', problems: [] },
    });
  });
});

describe('help', () => {
  it.each(COMMANDS.map((spec) => [spec.name, spec] as const))(
    '%s: both spellings print the same, with every option and exit code',
    async (name, spec) => {
      const asked = await type([...name.split(' '), '--help']);
      expect(asked).toMatchObject({ code: 0, err: '', out: commandHelp(spec) });
      expect((await type(['help', ...name.split(' ')])).out).toBe(asked.out);
      for (const option of [...spec.options, ...COMMON_OPTIONS]) expect(asked.out).toContain(`--${option.name}`);
      for (const code of Object.keys(spec.exits)) expect(asked.out).toMatch(new RegExp(`^  ${code} `, 'm'));
      for (const line of asked.out.split('\n').slice(1)) expect(line.length).toBeLessThanOrEqual(130);
    },
  );

  // docs/cli.md is made of the table, and shows how a command is typed, with brackets.
  const PAGES = [...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`), 'README.md', 'CONTRIBUTING.md'];
  const shown = PAGES.filter((page) => page.endsWith('.md') && page !== 'docs/cli.md').flatMap((page) =>
    readFileSync(join(ROOT, page), 'utf8')
      .split('\n')
      .filter((line) => /^(?:npx )?sallyport [a-z]/.test(line))
      .map((line) => [page, line] as const),
  );

  it('the documents show commands', () => expect(shown.length).toBeGreaterThan(30));

  it.each(shown)('%s: %s', (_page, line) => {
    // What the shell does with it is not ours.
    const typed = line.replace(/ +(?:#|>|\||&&|2>).*$/, '').replace(/ …$/, '');
    const words = [...typed.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
      (match) => match[1] ?? match[2] ?? match[3] ?? '',
    );
    expect(() => parseArguments(words.slice(words.indexOf('sallyport') + 1))).not.toThrow();
  });

  it.each(COMMANDS.flatMap((spec) => spec.examples.map((example) => [example] as const)))(
    'the example %s can be typed',
    (example) => {
      // What a pipe leads to is not ours.
      const inner = (/\$\((.*)\)/.exec(example)?.[1] ?? example).split(' | ')[0] ?? '';
      const words = [...inner.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2] ?? '');
      expect(words[0]).toBe('sallyport');
      expect(() => parseArguments(words.slice(1))).not.toThrow();
    },
  );

  it('a family lists its commands', async () => {
    const { code, out } = await type(['help', 'catalog']);
    expect(code).toBe(0);
    expect(out).toContain('catalog show');
    expect(out).not.toContain('mode observe');
  });

  it('docs/cli.md is what scripts/cli-doc.ts makes', () => {
    expect(readFileSync(join(ROOT, 'docs', 'cli.md'), 'utf8')).toBe(cliMarkdown());
  });

  it('--version prints that of package.json', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    expect(await type(['--version'])).toMatchObject({ code: 0, out: `${version}\n`, err: '' });
  });
});

describe('values', () => {
  it.each([
    ['90m', NOW - 90 * 60_000],
    ['24h', NOW - 24 * 3_600_000],
    ['7d', NOW - 7 * 86_400_000],
    ['2w', NOW - 14 * 86_400_000],
    ['2026-11-20', Date.parse('2026-11-20T00:00:00Z')],
    ['2026-11-20T09:30', Date.parse('2026-11-20T09:30:00Z')],
    ['2026-11-20T09:30:00+02:00', Date.parse('2026-11-20T07:30:00Z')],
  ])('--since %s is a moment', (text, expected) => expect(moment(text, 'since', NOW)).toBe(expected));

  it.each(['', '7', 'd', '-1d', '7 d', '2026-02-31', '2026-13-01', 'yesterday', '20/11/2026', '1e3d'])(
    '--since %j is refused',
    (text) => {
      expect(refusal(() => moment(text, 'since', NOW)).message).toContain('--since');
    },
  );

  it('--as makes a proven identity', () => {
    expect(identityOf(inputOf('explain', 'h', '--as', 'pipeline=web', '--as', 'branch=a=b'))).toEqual({
      kind: 'job',
      attributes: { pipeline: 'web', branch: 'a=b' },
      claimed: {},
    });
    expect(identityOf(inputOf('explain', 'h', '--as', 'queue=x'))?.kind).toBe('address');
    expect(identityOf(inputOf('explain', 'h', '--as', 'user=x'))?.kind).toBe('user');
    expect(identityOf(inputOf('explain', 'h'))).toBeNull();
  });

  it('--as with an unknown key names the nearest', () => {
    expect(refusal(() => identityOf(inputOf('explain', 'h', '--as', 'pipelin=web'))).hint).toBe(
      'Did you mean pipeline?',
    );
    expect(refusal(() => identityOf(inputOf('explain', 'h', '--as', 'pipeline'))).message).toContain(
      'is not KEY=VALUE',
    );
  });

  it('a window that ends before it begins is refused', async () => {
    const { file } = policyFile({ allow: ['ok.example'] });
    const { code, err } = await type(['report', '--config', file, '--since', '1h', '--until', '2h']);
    expect(code).toBe(2);
    expect(err).toContain('the window ends before it begins');
  });
});

describe('what is thrown', () => {
  const shown = (error: unknown, json: boolean): string => {
    const printed: string[] = [];
    const sink = { write: (text: string) => void printed.push(text) };
    const world = {
      stdout: sink,
      stderr: sink,
      env: {},
      now: () => NOW,
      user: 'operator',
      pipes,
      stdin: { isTTY: false },
      secret: async () => null,
    };
    createUi(world, { json, color: true }).failure(error);
    return printed.join('');
  };

  it('a fault of sallyport shows its message, never a stack trace', () => {
    expect(shown(new TypeError('x is undefined'), false)).toBe(
      'sallyport: error: sallyport failed: x is undefined\n  internal\n  hint: This is a fault of sallyport; report it with the command that you typed.\n',
    );
    expect(JSON.parse(shown('text', true))).toMatchObject({
      error: { code: 'internal', message: 'sallyport failed: text' },
    });
  });

  it('every problem is shown with its place', () => {
    const at = { file: 'a.yaml', line: 3, column: 5 };
    const problem = {
      code: 'config-cidr',
      severity: 'error',
      at,
      message: 'bad range',
      hint: 'write it right',
    } as const;
    const error = new SallyportError('config-cidr', 'a.yaml:3:5: bad range', {
      problems: [problem, { ...problem, severity: 'warning', at: null }],
    });
    expect(shown(error, false)).toBe(
      'sallyport: error: bad range\n  config-cidr a.yaml:3:5\n  hint: write it right\nsallyport: warning: bad range\n  config-cidr\n  hint: write it right\n',
    );
  });
});
