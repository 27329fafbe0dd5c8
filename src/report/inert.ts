// Makes untrusted text harmless for the place it is shown in: a terminal, a CSV cell, a Markdown table, an HTML page.
// Host names, pipelines, jobs and user agents come from clients; an ESC could repaint a terminal, a bidi mark could turn a
// host name around (CVE-2021-42574), a leading = is a formula in a spreadsheet. Nothing untrusted is printed without one of these.

// Controls and format characters (ESC, bidi and zero-width marks, soft hyphen, byte-order mark, tags), line separators, halves
// of surrogate pairs, and whatever is shown as nothing: all that moves the cursor, hides, or reorders what stands beside it.
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** The text with every such character written as \u{HEX}: it fits one line and shows what it is. */
export function inert(text: string): string {
  return text.replace(UNSAFE, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);
}

/** One CSV cell (RFC 4180 §2): quoted where it must be; a cell that a spreadsheet would run gets a leading apostrophe. */
export function csvCell(value: string | number | null): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  // White space before it does not stop every spreadsheet, and some take the full-width forms (U+FF1D …) for the plain ones.
  const dangerous = /^\s*[=+\-@]|^[\t\r]/.test(value.normalize('NFKC'));
  const text = `${dangerous ? "'" : ''}${inert(value)}`;
  return /[",\n\r]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}

// A colon only where it makes a link (http://) or an emoji (:tada:); a dot only after www, which GitHub makes a link of.
const MARKDOWN = /[\\`*_[\]<>|~&@#]|:(?=[/a-z])|(?<=\bwww)\./gi;

// At the beginning of a list item these would make a code block or a list in it.
const MARKDOWN_START = /^(?:[ \t]|[-+](?=[ \t]|$)|\d{1,9}(?=[.)](?:[ \t]|$)))/;

/** One cell of a Markdown table, or the text of a list item: no markup, no HTML, no link, no mention can come of it (CommonMark §2.4, §2.5, GFM §6.9). */
export function markdownCell(value: string | number | null): string {
  if (value === null) return '';
  const reference = (found: string): string => found.replace(/./gs, (c) => `&#${c.charCodeAt(0)};`);
  return inert(String(value)).replace(MARKDOWN, reference).replace(MARKDOWN_START, reference);
}

const HTML = /[&<>"'`=]/g;

/** Text or a quoted attribute value of an HTML page or of SVG in it. */
export function htmlText(value: string | number): string {
  return inert(String(value)).replace(HTML, (c) => `&#${c.charCodeAt(0)};`);
}
