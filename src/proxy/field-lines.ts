// The lines of a head. Read, once its shape is known to be plain: one expression says what a line may be, one loop takes them apart, for the
// readers of the short roads (connect-head.ts, plain-head.ts). Written, for whoever has no object of Node's that does it. PURE.

/** RFC 9112 §5 without folding: a token, a colon, a value without control characters. For use within an expression. */
export const FIELD_LINES = "(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\\t -~\\x80-\\xff]*\\r\\n)*";

/** Names and values in turn, without the white space around a value. `lines` are `name ":" value CRLF` from there on. */
export function fieldLines(lines: string, from: number): string[] {
  const raw: string[] = [];
  for (let start = from; start < lines.length; ) {
    const end = lines.indexOf('\r\n', start);
    const colon = lines.indexOf(':', start);
    raw.push(lines.slice(start, colon), trimmed(lines, colon + 1, end));
    start = end + 2;
  }
  return raw;
}

/** The lines of these names and values in turn, each with its line end. */
export function linesText(fields: readonly string[]): string {
  let text = '';
  for (let i = 0; i + 1 < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return text;
}

const TAB = 0x09;
const SPACE = 0x20;

/** OWS is spaces and tabs only; String.trim would take a no-break space too. */
function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isWhite(text.charCodeAt(start))) start++;
  while (end > start && isWhite(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isWhite(code: number): boolean {
  return code === SPACE || code === TAB;
}
