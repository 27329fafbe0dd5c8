// What the running proxy says and keeps of the layers of its policy: one that is broken is told at the start and at each reload, in the
// operational log and in the audit log, and the text that is in force of each goes into the next reload.
import type { Logger } from 'pino';
import type { LoadedConfig } from '../config/load.ts';
import type { LastGood } from '../config/load-layers.ts';

type Detail = Record<string, string | number>;

/** Names of broken layers in one note: the operational log has all of them. */
const NAMED_MAX = 10;

/** What is in force of each layer, by its file. */
export function lastGood({ layers }: LoadedConfig): LastGood {
  return Object.fromEntries(layers.flatMap(({ file, text }) => (text === null ? [] : [[file, text]])));
}

export function brokenCount({ layers }: LoadedConfig): number {
  return layers.filter(({ state, problems }) => state !== 'current' || problems.length > 0).length;
}

/** For a note of the audit log: nothing where all is well. */
export function brokenLayers(loaded: LoadedConfig): Detail {
  const count = brokenCount(loaded);
  if (count === 0) return {};
  const broken = loaded.layers.filter(({ state }) => state !== 'current');
  const names = broken.slice(0, NAMED_MAX).map(({ file, state }) => `${file} ${state}`);
  return { layers_broken: count, layers: names.join(', ') };
}

export function sayBrokenLayers({ layers }: LoadedConfig, log: Logger): void {
  for (const { file, state, problems } of layers) {
    for (const { code, at, message } of problems) log.error({ code, at, layer: file }, message);
    if (state === 'last-good') log.error({ layer: file }, 'the layer is broken: what was in force of it before stays');
    if (state === 'base-only')
      log.error({ layer: file }, 'the layer is broken and nothing of it is in force: the base alone counts');
  }
}
