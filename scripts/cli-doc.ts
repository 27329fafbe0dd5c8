// Makes docs/cli.md from the table of commands in src/cli/table/; test/cli/parse.test.ts holds the two equal.
// Usage: node scripts/cli-doc.ts            writes the page
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cliMarkdown } from '../src/cli/help.ts';

writeFileSync(join(import.meta.dirname, '..', 'docs', 'cli.md'), cliMarkdown());
