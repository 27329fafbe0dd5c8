// Every policy that a page shows is one: no key that does not exist, no value that is refused. Files of the reader's are not there; nothing else may be wrong.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parseDocument } from 'yaml';
import { loadCatalog } from '../../src/catalog/load.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { inFolderOfItsOwn, loadText } from './support.ts';

inFolderOfItsOwn();

const DOCS = join(import.meta.dirname, '../../docs');
/** What begins with these is for another program, or a file of catalog.d. */
const OTHERS = /^(?:apiVersion|scrape_configs|rules|format)$/;
const NOT_HERE = /^config-unreadable|names no CA that signs for its host$/;

interface Block {
  readonly name: string;
  readonly text: string;
  readonly first: string;
}

/** Blocks of YAML, those with two ways of saying something as two; a list stands for what is below `allow:`. */
function blocks(page: string): Block[] {
  const found = readFileSync(join(DOCS, page), 'utf8').matchAll(/^( *)```yaml\n(.*?)^ *```$/gms);
  return [...found]
    .flatMap(([, indent = '', text = '']) =>
      text.replaceAll(new RegExp(`^${indent}`, 'gm'), '').split(/^(?:# or|---)$/m),
    )
    .map((text, index) => {
      const whole = /^ *- /.test(text) ? `allow:\n${text}` : text;
      const [first = ''] = Object.keys(parseDocument(whole).toJS() ?? {});
      return { name: `${page} ${index + 1}: ${first}`, text: whole, first };
    });
}

const all = readdirSync(DOCS)
  .filter((name) => name.endsWith('.md'))
  .flatMap(blocks);
const policies = all.filter(({ first }) => !OTHERS.test(first));

it('there are many', () => expect(policies.length).toBeGreaterThan(20));

it.each(policies)('$name', ({ text }) => {
  const { problems } = loadText(/^version:/m.test(text) ? text : `version: 1\n${text}`);
  const errors = problems
    .filter(({ severity }) => severity === 'error')
    .map(({ code, message }) => `${code}: ${message}`);
  expect(errors.filter((error) => !NOT_HERE.test(error))).toEqual([]);
});

it('a file of catalog.d is one', () => {
  const [file, ...more] = all.filter(({ first }) => first === 'format');
  expect(more).toEqual([]);
  const dir = tempDir('catalog.d');
  writeFile(join(dir, 'tools.yaml'), file?.text ?? '');
  expect(loadCatalog([dir]).groups.get('corp-tools')?.entries).toHaveLength(1);
});
