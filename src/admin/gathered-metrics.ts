// The metrics pages of several workers as one: each family once, each sample with the worker that it is of. They are not added up: a
// scraper does that better, and a worker that is alone in its trouble would not be seen in a sum.

export interface WorkerText {
  /** Value of the label `worker`. */
  readonly worker: string;
  readonly text: string;
}

interface Family {
  /** Its HELP and TYPE lines. */
  readonly about: string[];
  readonly samples: string[];
}

const ABOUT = /^# (?:HELP|TYPE) (\S+)/;

/** Pages in Prometheus' text format → one page. Families stand in the order in which they are first met. */
export function gatherMetrics(pages: readonly WorkerText[]): string {
  const families = new Map<string, Family>();
  for (const { worker, text } of pages) {
    let family: Family | null = null;
    for (const line of text.split('\n')) {
      const name = ABOUT.exec(line)?.[1];
      if (name !== undefined) {
        family = families.get(name) ?? { about: [], samples: [] };
        families.set(name, family);
        if (!family.about.includes(line)) family.about.push(line);
      } else if (line !== '' && !line.startsWith('#')) family?.samples.push(labelled(line, worker));
    }
  }
  return [...families.values()].flatMap(({ about, samples }) => [...about, ...samples, '']).join('\n');
}

/** `name{a="b"} 1` or `name 1`, with one label more. */
function labelled(line: string, worker: string): string {
  const at = /^[a-zA-Z_:][\w:]*/.exec(line)?.[0].length ?? 0;
  const label = `worker="${worker}"`;
  const rest = line.slice(at);
  return line.slice(0, at) + (rest.startsWith('{') ? `{${label},${rest.slice(1)}` : `{${label}}${rest}`);
}
