// The few texts that are needed of a store's XML: flat elements without attributes, whose content has no elements. PURE.

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The content of each element of this name, in order. */
export function xmlTexts(xml: string, name: string): string[] {
  const found: string[] = [];
  const open = `<${name}>`;
  const close = `</${name}>`;
  for (let at = xml.indexOf(open); at >= 0; at = xml.indexOf(open, at + open.length)) {
    const end = xml.indexOf(close, at);
    const text = end < 0 ? '<' : xml.slice(at + open.length, end);
    if (!text.includes('<')) found.push(unescaped(text));
  }
  return found;
}

/** The first one; null where there is none. */
export function xmlText(xml: string, name: string): string | null {
  return xmlTexts(xml, name)[0] ?? null;
}

function unescaped(text: string): string {
  return text.replace(/&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9A-Fa-f]{1,6}));/g, (whole, name, decimal, hex) => {
    if (name !== undefined) return NAMED[name] ?? whole;
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
