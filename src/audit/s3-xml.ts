// The few texts that are needed of a store's XML: flat elements without attributes, whose content has no elements. PURE.

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The content of each element of this name, in order. */
export function xmlTexts(xml: string, name: string): string[] {
  const found: string[] = [];
  const open = `<${name}>`;
  const close = `</${name}>`;
  for (let at = xml.indexOf(open); at >= 0; at = xml.indexOf(open, at + open.length)) {
    const end = xml.indexOf('<', at + open.length);
    if (end >= 0 && xml.startsWith(close, end)) found.push(unescaped(xml.slice(at + open.length, end)));
  }
  return found;
}

/** The first one; null where there is none. */
export function xmlText(xml: string, name: string): string | null {
  return xmlTexts(xml, name)[0] ?? null;
}

/** The code of a refusal, for messages; empty where what is there is none. */
export function codeOf(xml: string): string {
  const code = xmlText(xml, 'Code') ?? '';
  return /^[A-Za-z0-9.]{1,64}$/.test(code) ? code : '';
}

/** Half of a pair of UTF-16 becomes a mark: nobody could write it into an address. */
function unescaped(text: string): string {
  const plain = text.replace(
    /&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9A-Fa-f]{1,6}));/g,
    (whole, name, decimal, hex) => {
      if (name !== undefined) return NAMED[name] ?? whole;
      const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal);
      return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    },
  );
  return plain.toWellFormed();
}
