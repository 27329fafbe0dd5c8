// Reads an HTML report as a browser does (parse5), for the tests of what it is made of.
import { type DefaultTreeAdapterMap, parse } from 'parse5';

export type Element = DefaultTreeAdapterMap['element'];
type Node = DefaultTreeAdapterMap['node'];

export class Page {
  readonly elements: readonly Element[];
  /** What the parser had to mend. */
  readonly errors: readonly string[];

  constructor(elements: readonly Element[], errors: readonly string[]) {
    this.elements = elements;
    this.errors = errors;
  }

  all(tag: string): Element[] {
    return this.elements.filter(({ tagName }) => tagName === tag);
  }

  byId(id: string): Element[] {
    return this.elements.filter((element) => attribute(element, 'id') === id);
  }
}

export function parseHtml(text: string): Page {
  const errors: string[] = [];
  const document = parse(text, { onParseError: ({ code }) => errors.push(code) });
  const elements: Element[] = [];
  const walk = (node: Node): void => {
    if ('tagName' in node) elements.push(node);
    if ('childNodes' in node) for (const child of node.childNodes) walk(child);
  };
  walk(document);
  return new Page(elements, errors);
}

export function attribute(element: Element, name: string): string | null {
  return element.attrs.find((each) => each.name === name)?.value ?? null;
}

export function textOf(node: Node): string {
  if ('value' in node) return node.value;
  return 'childNodes' in node ? node.childNodes.map(textOf).join('') : '';
}

/** Elements and their attributes without the texts: what no name may change. */
export function skeletonOf(page: Page): string[] {
  return page.elements.map((element) => [element.tagName, ...element.attrs.map(({ name }) => name)].join(' '));
}
