// `sallyport bundle make` and `bundle verify`: a policy repository in one signed file, for nodes that follow a URL. Only a policy that is valid
// with all its layers goes into one.
import { dirname, join, relative } from 'node:path';
import { readKey } from '../../catalog/signing-key.ts';
import { makeBundle, readBundle } from '../../config/load-bundle.ts';
import { loadConfigHere } from '../../config/load-here.ts';
import { keysOfMachine } from '../../config/load-source.ts';
import { readTextFile } from '../../config/load-text.ts';
import { BASE_NAME } from '../../config/source-schema.ts';
import { SallyportError } from '../../errors.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { type Input, usage } from '../input.ts';
import { layerProblems } from '../load.ts';
import { readText } from '../text-file.ts';
import type { Ui, World } from '../ui.ts';
import { writeWhole } from '../write-whole.ts';

const FILE_MODE = 0o644;

export function bundleMake(input: Input, ui: Ui, world: World): number {
  const folder = input.argument(0) ?? '';
  const base = join(folder, BASE_NAME);
  const now = world.now();
  const keyFile = input.need('key', 'FILE');
  const key = readKey(keyFile, readText(keyFile), 'private');
  const loaded = loadConfigHere({ file: base, now, shared: true });
  const broken = layerProblems(loaded);
  const [first] = broken;
  if (first !== undefined) throw new SallyportError(first.code, first.message, { hint: first.hint, problems: broken });
  const foreign = keysOfMachine(base);
  if (foreign.length > 0)
    throw new SallyportError('config-conflict', `${base} has ${foreign.join(', ')}, which belong to each machine`, {
      hint: 'Move them into the file of the machine, the one that has policy.source.',
    });
  const files = Object.fromEntries(loaded.files.map(({ file }) => [relative(folder, file), readTextFile(file).text]));
  const outside = Object.keys(files).find((name) => name.startsWith('..'));
  if (outside !== undefined) throw usage(`${outside} is not below ${folder}`);
  const serial = serialOf(input.text('serial'), now);
  const out = input.need('out', 'FILE');
  const made = new Date(now).toISOString();
  writeWhole(out, makeBundle(files, serial, made, key), { mode: FILE_MODE, code: 'bundle-invalid' });
  const names = Object.keys(files).sort();
  if (ui.json) ui.object({ file: out, serial, made, policy: loaded.policy.digest, files: names });
  else
    ui.line(
      `${inert(out)}: number ${serial}, policy ${loaded.policy.digest}, ${names.length} files of ${inert(dirname(base))}`,
    );
  return EXIT.ok;
}

export function bundleVerify(input: Input, ui: Ui): number {
  const file = input.argument(0) ?? '';
  const keys = input.list('public-key').map((name) => readKey(name, readText(name), 'public'));
  if (keys.length === 0) throw usage('--public-key FILE is missing', 'Name the key that it is to be signed with.');
  const { serial, made, files, signature } = readBundle(file, readText(file), keys);
  const names = Object.keys(files).sort();
  if (ui.json) ui.object({ file, serial, made, key: signature.key, files: names });
  else
    ui.line(
      `${inert(file)}: number ${serial}, made ${inert(made)}, ${names.length} files, signed by ${inert(signature.key)}`,
    );
  return EXIT.ok;
}

function serialOf(text: string | null, now: number): number {
  if (text === null) return now;
  const serial = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(serial)) return serial;
  throw usage(`--serial ${JSON.stringify(text)} is not a whole number from 1`);
}
