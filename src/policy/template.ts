// Host templates of the catalog (`*.s3.{region}.amazonaws.com`) read backwards: which parameters make one cover a host.
// Matching is by labels and by the literal text around a parameter; no regular expression is made from what a catalog says.

export interface Template {
  readonly labels: readonly string[];
  readonly wildcard: boolean;
  /** More characters outside of parameters is better; then one that is preferred; then fewer parameters to give. */
  readonly score: number;
}

/** @param pattern a pattern as in the policy, with `{name}` for a label or a part of one */
export function templateOf(pattern: string, preferred: boolean): Template {
  const wildcard = pattern.startsWith('*.');
  const rest = wildcard ? pattern.slice(2) : pattern;
  // The dot of `*.` counts as that of `{bucket}.` does.
  let literal = wildcard ? 1 : 0;
  let parameters = 0;
  let inside = false;
  for (const character of rest) {
    if (character === '{') {
      inside = true;
      parameters += 1;
    } else if (character === '}') inside = false;
    else if (!inside) literal += 1;
  }
  return {
    labels: rest.split('.'),
    wildcard,
    score: literal * 8 + (preferred ? 4 : 0) + 3 - Math.min(parameters, 3),
  };
}

/** The parameters that make the template cover the host, given by its labels; null where none do. */
export function bindTemplate(template: Template, labels: readonly string[]): Map<string, string> | null {
  const extra = labels.length - template.labels.length;
  if (template.wildcard ? extra < 1 : extra !== 0) return null;
  const values = new Map<string, string>();
  for (let at = 0; at < template.labels.length; at += 1) {
    if (!bindLabel(template.labels[at] ?? '', labels[at + extra] ?? '', values)) return null;
  }
  return values;
}

/** Binds the parameters of one template label, `prod-{region}-bucket`; false where the label does not fit. */
function bindLabel(template: string, label: string, values: Map<string, string>): boolean {
  let t = 0;
  let l = 0;
  while (t < template.length) {
    const open = template.indexOf('{', t);
    const literal = open < 0 ? template.slice(t) : template.slice(t, open);
    if (!label.startsWith(literal, l)) return false;
    l += literal.length;
    if (open < 0) return l === label.length;
    const close = template.indexOf('}', open);
    if (close < 0) return false;
    const nextOpen = template.indexOf('{', close);
    const after = template.slice(close + 1, nextOpen < 0 ? template.length : nextOpen);
    let end = label.length;
    if (nextOpen >= 0) end = label.indexOf(after, l + 1);
    else if (after !== '') end = label.endsWith(after) ? label.length - after.length : -1;
    if (end <= l) return false;
    const name = template.slice(open + 1, close);
    const value = label.slice(l, end);
    if ((values.get(name) ?? value) !== value) return false;
    values.set(name, value);
    l = end;
    t = close + 1;
  }
  return l === label.length;
}
