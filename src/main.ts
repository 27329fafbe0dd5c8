#!/usr/bin/env node
// The entry. It has no static import, so that a Node too old to link the rest still says so in one line; then the CLI takes
// over. The only process.exit of the project: everything else returns its exit code.

// What it starts with. What it is tested with stands in package.json, and npm warns of others: distributions mend theirs under an old number.
const MINIMUM = [22, 14] as const;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1])) {
  process.stderr.write(
    `sallyport: error: node-version: Node.js ${process.versions.node} is too old; sallyport needs ${MINIMUM.join('.')} or later (in a checkout, use npm start or npx sallyport)\n`,
  );
  process.exit(1);
}

const { run } = await import('./cli/run.ts');
process.exit(await run(process.argv.slice(2)));
