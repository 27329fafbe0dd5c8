// The trie against plain maps and a textbook edit distance.

import { expect, test } from 'vitest';
import {
  childOf,
  headOf,
  isOneLetterOff,
  LABELS_MAX,
  labelOf,
  TrieBuilder,
  walkLabels,
} from '../../src/policy/trie.ts';
import fc from '../support/property.ts';

const host = fc
  .array(fc.string({ unit: fc.constantFrom('a', 'b', '-', '1'), minLength: 1, maxLength: 3 }), {
    minLength: 1,
    maxLength: 5,
  })
  .map((labels) => labels.join('.'));

test('every host is found with its items in the order of adding, and no other host is', () => {
  fc.assert(
    fc.property(fc.array(host, { maxLength: 60 }), fc.array(host, { maxLength: 20 }), (hosts, others) => {
      const builder = new TrieBuilder(2, hosts.length);
      const expected = new Map<string, number[]>();
      hosts.forEach((name, item) => {
        const list = item % 2;
        builder.add(name, list, item);
        const key = `${name} ${list}`;
        expected.set(key, [...(expected.get(key) ?? []), item]);
      });
      const trie = builder.build();
      const path = new Int32Array(LABELS_MAX + 1);
      for (const name of [...hosts, ...others]) {
        const found = walkLabels(trie, name, path);
        for (const list of [0, 1]) {
          const items: number[] = [];
          const head = found < 0 ? -1 : headOf(trie, path[found] ?? 0, list);
          for (let item = head; item >= 0; item = trie.next[item] ?? -1) items.push(item);
          expect(items).toEqual(expected.get(`${name} ${list}`) ?? []);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test('a host that leaves the trie says after how many labels', () => {
  const builder = new TrieBuilder(1, 1);
  builder.add('a.b.c', 0, 0);
  const trie = builder.build();
  const path = new Int32Array(LABELS_MAX + 1);
  expect(walkLabels(trie, 'a.b.c', path)).toBe(3);
  expect(walkLabels(trie, 'b.c', path)).toBe(2);
  expect(walkLabels(trie, 'x.b.c', path)).toBe(-3);
  expect(walkLabels(trie, 'x', path)).toBe(-1);
  expect(labelOf(trie, childOf(trie, 0, 'c', 0, 1))).toBe('c');
});

test('a host with more labels than DNS has ends the walk', () => {
  const name = Array.from({ length: 200 }, () => 'a').join('.');
  const builder = new TrieBuilder(1, 1);
  builder.add(name, 0, 0);
  expect(walkLabels(builder.build(), name, new Int32Array(LABELS_MAX + 1))).toBe(-1 - LABELS_MAX);
});

test('growing past every first size loses nothing', () => {
  const count = 5_000;
  const builder = new TrieBuilder(4, count);
  for (let item = 0; item < count; item += 1) builder.add(`n${item}.zone${item % 7}.test`, item % 4, item);
  const trie = builder.build();
  const path = new Int32Array(LABELS_MAX + 1);
  for (let item = 0; item < count; item += 1) {
    const found = walkLabels(trie, `n${item}.zone${item % 7}.test`, path);
    expect(found).toBe(3);
    const heads = [0, 1, 2, 3].map((list) => headOf(trie, path[3] ?? 0, list));
    expect(heads).toEqual([0, 1, 2, 3].map((list) => (list === item % 4 ? item : -1)));
  }
  expect(trie.childCount[0]).toBe(1);
});

/** Optimal string alignment distance: edits and swaps of neighbours. */
function distance(left: string, right: string): number {
  const rows = Array.from({ length: left.length + 1 }, (_, i) => [i]);
  for (let j = 0; j <= right.length; j += 1) rows[0]![j] = j;
  for (let i = 1; i <= left.length; i += 1) {
    for (let j = 1; j <= right.length; j += 1) {
      const cost = left[i - 1] === right[j - 1] ? 0 : 1;
      let best = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, rows[i - 1]![j - 1]! + cost);
      if (i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1]) {
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      }
      rows[i]![j] = best;
    }
  }
  return rows[left.length]![right.length]!;
}

test('one letter off is an edit distance of exactly one, a swap of neighbours included', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(word, word, (label, text) => {
      const builder = new TrieBuilder(1, 1);
      builder.add(label, 0, 0);
      const trie = builder.build();
      const node = childOf(trie, 0, label, 0, label.length);
      const padded = `xx${text}yy`;
      expect(isOneLetterOff(trie, node, padded, 2, 2 + text.length)).toBe(distance(label, text) === 1);
    }),
    { numRuns: 1_000 },
  );
});
