// Makes docs/errors.md from the registry in src/errors.ts; test/house.test.ts holds the two equal.
// Usage: node scripts/errors-doc.ts            writes the page
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ErrorSpec, OPERATOR_ERRORS, OUTCOMES, REQUEST_ERRORS } from '../src/errors.ts';

const FAULT: Readonly<Record<ErrorSpec['source'], string>> = {
  client: 'the client',
  upstream: 'the origin',
  proxy: 'the proxy',
  operator: 'the operator',
};

const row = (...cells: readonly string[]): string =>
  `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;

function table(head: readonly string[], rows: readonly string[]): string {
  return [row(...head), row(...head.map(() => '---')), ...rows].join('\n');
}

/** The whole page, with its final newline. */
export function renderErrorsDoc(): string {
  const requests = Object.entries<ErrorSpec>(REQUEST_ERRORS).map(([code, spec]) =>
    row(`\`${code}\``, String(spec.status ?? ''), spec.proxyStatus ?? '', FAULT[spec.source], spec.title, spec.hint),
  );
  const outcomes = Object.entries(OUTCOMES).map(([code, meaning]) => row(`\`${code}\``, meaning));
  const operator = Object.entries<ErrorSpec>(OPERATOR_ERRORS).map(([code, spec]) =>
    row(`\`${code}\``, spec.title, spec.hint),
  );
  return `# Errors

<!-- Made by \`node scripts/errors-doc.ts\` from src/errors.ts; edit that file, then run it again. -->

A code is public for ever: match on it, never on a message. The same code stands in every place where a refusal is seen.

\`\`\`
$ curl -sv -x http://127.0.0.1:3128 https://pastebin.example/
< HTTP/1.1 403 host-not-allowed                        the status line, for clients that show nothing else
< Proxy-Status: sallyport; error=http_request_denied …  RFC 9209: who refused, which type, which details
\`\`\`

The body says the same as text, or as JSON where the client sends \`Accept: application/json\`: code, rule or nearest rule, what to do next, and the id of
the request. The audit log has the code as \`reason\` (why it was refused) or \`outcome\` (how it ended), under the same id.

## Refused and failed requests

Codes of status 403 that name a tunnel's first bytes (\`sni-mismatch\` to \`hello-incomplete\`) are met after \`200\`: no status can be sent any more, so
the tunnel is closed before one byte reaches the origin, and the code stands in the audit log and in the report alone.

${table(['Code', 'Status', 'Proxy-Status type', 'Whose fault', 'Meaning', 'What to do'], requests)}

## Outcomes where nothing failed

How an exchange that was let through ended, in the \`outcome\` of its \`ended\` line; any code of the table above may stand there too.

${table(['Outcome', 'Meaning'], outcomes)}

## What an operator meets

Printed by the commands as \`sallyport: error: …\` with the place (file:line:column) where there is one, and in the operational log.

${table(['Code', 'Meaning', 'What to do'], operator)}
`;
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(join(import.meta.dirname, '..', 'docs', 'errors.md'), renderErrorsDoc());
}
