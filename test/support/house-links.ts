// The part of the law about where pages lead: a link has its target, an anchor its heading, and a file that is named is there.
// Pure but for the question whether a path exists.
import { posix } from 'node:path';
import type { Tree } from './house-rules.ts';

type Exists = (path: string) => boolean;

/** A page without what stands in it as code. */
function prose(page: string): string {
  return page.replace(/^ *```.*?^ *```$/gms, '').replace(/`[^`\n]*`/g, '');
}

/** The anchors of a page's headings, as GitHub makes them. */
export function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of page.replace(/^ *```.*?^ *```$/gms, '').matchAll(/^#{1,6} (.+)$/gm)) {
    const slug = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-');
    let anchor = slug;
    for (let more = 1; anchors.has(anchor); more++) anchor = `${slug}-${more}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** Links and images of pages whose target is not there, or has no such heading. Addresses elsewhere are not asked for. */
export function deadLinks(tree: Tree, exists: Exists): string[] {
  const anchors = new Map<string, Set<string>>();
  const hasAnchor = (page: string, anchor: string): boolean => {
    const known = anchors.get(page) ?? anchorsOf(tree.get(page) ?? '');
    anchors.set(page, known);
    return known.has(anchor);
  };
  return pagesOf(tree).flatMap(([page, text]) => {
    const targets = [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, url = '']) => url);
    return targets
      .filter((url) => !/^[a-z][a-z0-9+.-]*:/i.test(url))
      .filter((url) => {
        const [file = '', anchor] = url.split('#', 2);
        const target = file === '' ? page : posix.join(posix.dirname(page), decodeURIComponent(file));
        return !exists(target) || (anchor !== undefined && !hasAnchor(target, anchor));
      })
      .map((url) => `${page} leads to ${url}, which is not there`);
  });
}

/** What the benchmark writes, and git does not keep. */
const MADE = /^test\/bench\/out\b/;

/** Files and folders of this repository that a page or a source names, and that are not there. */
export function deadNames(tree: Tree, exists: Exists): string[] {
  const endings = new Set([...tree.keys()].flatMap(endingsOf));
  return [...tree]
    .filter(([path]) => path.endsWith('.md') || !path.startsWith('test/'))
    .flatMap(([path, text]) => {
      const pages = named(text, /(?<![\w/.-])docs\/[\w-]+\.md\b/g);
      const places = path.endsWith('.md')
        ? named(text, /(?<![\w/.-])(?:deploy|scripts|src|test)\/[\w./-]+(?![\w*])/g)
        : [];
      const sources = /\.(?:md|ts|tsx|mjs|cc|h)$/.test(path)
        ? named(text, /(?<![\w/.-])(?!node_modules)(?:\w[\w-]*\/)*\w[\w-]*(?:\.test)?\.(?:ts|tsx|mjs|cc)\b/g)
        : [];
      const dead = [
        ...[...pages, ...places].filter((name) => !exists(name) && !MADE.test(name)),
        ...sources.filter((name) => !endings.has(name)),
      ];
      return [...new Set(dead)].map((name) => `${path} names ${name}, which is not there`);
    });
}

function named(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([name]) => name.replace(/[./-]+$/, ''));
}

/** A file by its path from any folder above it: how people name it who are at home there. */
function endingsOf(path: string): string[] {
  const parts = path.split('/');
  return parts.map((_, at) => parts.slice(at).join('/'));
}

function pagesOf(tree: Tree): [string, string][] {
  return [...tree].filter(([path]) => path.endsWith('.md'));
}
