// A strict reader of CSV for the tests of what writes it.

/** RFC 4180, strictly: what a spreadsheet would see. */
export function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let at = 0;
  while (at < text.length) {
    let cell = '';
    if (text[at] === '"') {
      at += 1;
      for (;;) {
        if (text[at] === '"' && text[at + 1] === '"') {
          cell += '"';
          at += 2;
        } else if (text[at] === '"') break;
        else {
          cell += text[at];
          at += 1;
        }
      }
      at += 1;
    } else while (at < text.length && text[at] !== ',' && text[at] !== '\r') cell += text[at++];
    row.push(cell);
    if (text[at] === ',') at += 1;
    else {
      if (text.slice(at, at + 2) !== '\r\n')
        throw new Error(`no line end at ${at}: ${JSON.stringify(text.slice(at, at + 20))}`);
      at += 2;
      rows.push(row);
      row = [];
    }
  }
  return rows;
}
