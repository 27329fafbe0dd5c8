// A shipped folder and a catalog.d of one test, and the problems that loading them gives.
// Fresh for every test: a file that one test wrote must not be a problem of the next.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { type Problem, SallyportError } from '../../src/errors.ts';

export let home: string;
export let shipped: string;
export let added: string;

/** Said by each file whose tests use them. */
export function freshFolders(): void {
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'sallyport-catalog-'));
    shipped = join(home, 'catalog');
    added = join(home, 'catalog.d');
    mkdirSync(shipped);
    mkdirSync(added);
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));
}

export const GOOD = `format: 1
version: "1"
groups:
  - id: one
    title: One
    source: companion
    entries:
      - id: first
        host: one.example
        purpose: A host
        cite: the manual
        confidence: doc
`;

export const OWN = `format: 1
groups:
  - id: corp
    title: Corp
    entries:
      - id: corp-git
        host: git.corp.example
        purpose: Our Git host
`;

export function write(folder: string, name: string, text: string | Buffer): void {
  writeFileSync(join(folder, name), text);
}

export function load(): Catalog {
  return loadCatalog([added], shipped);
}

export function problems(): readonly Problem[] {
  try {
    load();
  } catch (error) {
    expect(error).toBeInstanceOf(SallyportError);
    if (error instanceof SallyportError) {
      expect(error.code).toBe('catalog-invalid');
      return error.problems;
    }
  }
  return [];
}

/** As "name:line:column code". */
export function places(): string[] {
  return problems().map(({ at, code }) => `${at?.file.slice(home.length + 1)}:${at?.line}:${at?.column} ${code}`);
}
