// Which engine a start takes.
import { expect, it } from 'vitest';
import { chooseEngine } from '../../src/cli/engine.ts';
import { loadNative, type NativeLoaded } from '../../src/proxy/native-binding.ts';
import { tempDir, writeFile } from '../support/temp.ts';

const absent = (): NativeLoaded => ({ ok: false, why: 'there is none' });
const present = (): NativeLoaded => ({ ok: true, module: { selfCheck: () => null } as never });

it.each([
  ['auto', present, 'native', null],
  ['auto', absent, 'js', 'there is none'],
  ['native', present, 'native', null],
  ['js', present, 'js', null],
  ['js', absent, 'js', null],
] as const)('%s', (wanted, load, kind, instead) => {
  expect(chooseEngine(wanted, load)).toMatchObject({ kind, instead });
});

it('refuses to start where the native engine is demanded and not there', () => {
  expect(() => chooseEngine('native', absent)).toThrow(
    expect.objectContaining({ code: 'engine-unavailable', message: expect.stringContaining('there is none') }),
  );
});

it('says where a file is not there, and what is wrong with one that is none', () => {
  const dir = tempDir('native');
  expect(loadNative(`${dir}/none.node`)).toMatchObject({
    ok: false,
    why: expect.stringContaining('none.node is not there'),
  });
  const text = writeFile(`${dir}/text.node`, 'not a library');
  expect(loadNative(text)).toMatchObject({ ok: false, why: expect.stringContaining('cannot be loaded') });
});
