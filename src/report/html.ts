// HTML that cannot be broken by what stands in it: a template escapes every value that is not itself made by it. PURE.
import { htmlText } from './inert.ts';

/** Finished markup; only the template and `trusted` make it. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Value = string | number | Html | readonly Html[];

/** html`<td>${host}</td>`: values are escaped, or are Html. Attribute values must stand in double quotes. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  let text = parts[0] ?? '';
  for (const [place, value] of values.entries()) {
    if (value instanceof Html) text += value.text;
    else if (typeof value === 'string' || typeof value === 'number') text += htmlText(value);
    else for (const inner of value) text += inner.text;
    text += parts[place + 1] ?? '';
  }
  return new Html(text);
}

/** Markup that was written by hand: never anything that came from outside. */
export function trusted(text: string): Html {
  return new Html(text);
}
