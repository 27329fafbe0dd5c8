// `sallyport suggest`: catches up with the audit log, reads who asked for what, and prints the smallest policy that it needs:
// the whole file, or the difference as a patch. The file itself is never written: the operator applies what he has read.
import { buildSuggestion, policyText, rulesFile, type Suggestion, suggestionJson } from '../../report/suggestion.ts';
import { EXIT } from '../args.ts';
import { configFile } from '../config-file.ts';
import { openCountedStore } from '../counted-store.ts';
import { type Input, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';
import { windowOf } from '../window.ts';

const SINCE_DEFAULT = '14d';
const BUILDS_DEFAULT = '2';
/** What runs weekly has run four times by then, and most of what runs monthly once. */
const UNUSED_DAYS_DEFAULT = '30';

export async function suggestCommand(input: Input, ui: Ui, world: World): Promise<number> {
  const now = world.now();
  const { from, to } = windowOf(input, now, SINCE_DEFAULT);
  const jobsMin = wholeNumber(input, 'min-builds', BUILDS_DEFAULT);
  const unusedDays = wholeNumber(input, 'unused-after', UNUSED_DAYS_DEFAULT);
  const loaded = loadFor(input, ui, world, { quiet: true });
  const file = rulesFile(configFile(input), loaded);
  const { settings } = loaded;
  const text = policyText(file, loaded);
  const store = await openCountedStore(settings, ui);
  try {
    const [pipeline, scoped] = [input.text('pipeline'), input.flag('scoped')];
    const asked = { file, text, loaded, from, to, now, pipeline, jobsMin, scoped, unusedDays };
    print(await buildSuggestion(store, asked), input.flag('diff'), text, ui);
    return EXIT.ok;
  } finally {
    await store.close();
  }
}

function print(suggestion: Suggestion, asDiff: boolean, text: string, ui: Ui): void {
  ui.settle();
  const { remarks, policy, diff } = suggestion;
  if (ui.json) {
    ui.object(suggestionJson(suggestion));
    return;
  }
  // Before a patch begins, patch(1) reads over what it does not know; a text without a patch it refuses, and an empty one not.
  if (asDiff && diff === '') for (const line of remarks) ui.note(line);
  else if (asDiff) ui.raw(`${remarks.map((line) => `# ${line}\n`).join('')}${diff}`);
  else {
    const eol = /\r?\n/.exec(text)?.[0] ?? '\n';
    const mark = policy.startsWith('\uFEFF') ? 1 : 0;
    ui.raw(`${policy.slice(0, mark)}${remarks.map((line) => `# ${line}${eol}`).join('')}${policy.slice(mark)}`);
  }
}

function wholeNumber(input: Input, option: string, otherwise: string): number {
  const text = input.text(option) ?? otherwise;
  if (!/^[1-9]\d{0,5}$/.test(text)) throw usage(`--${option} ${text} is not a whole number from 1`);
  return Number(text);
}
