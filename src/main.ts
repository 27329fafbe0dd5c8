#!/usr/bin/env node
// The entry. It has no static import, so that a Node too old to link the rest still says so in one line; then the CLI takes
// over. It alone ends the process: everything else returns its exit code.

// What it starts with. What it is tested with stands in package.json, and npm warns of others: distributions mend theirs under an old number.
const MINIMUM = [22, 14] as const;
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1])) {
  process.stderr.write(
    `sallyport: error: node-version: Node.js ${process.versions.node} is too old; sallyport needs ${MINIMUM.join('.')} or later (in a checkout, use npm start or npx sallyport)\n`,
  );
  process.exit(1);
}

/** Nothing that a command leaves open keeps it from ending. */
const LEFT_OPEN_MS = 1_000;
/** And nothing that Node waits for at its end. */
const END_MS = 3_000;

const { run } = await import('./cli/run.ts');
const { loadNative } = await import('./proxy/native-binding.ts');
process.exitCode = await run(process.argv.slice(2));
// The process ends as its event loop runs dry. process.exit joins V8's threads, and one that compiles and waits for the main thread to
// collect garbage waits for ever then; the natural end may wait for such a thread too, seldom (nodejs/node#54918).
const native = loadNative();
if (native.ok) native.module.endWithin(process.exitCode, END_MS);
setTimeout(() => process.exit(), LEFT_OPEN_MS).unref();
