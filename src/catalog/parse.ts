// Catalog files → groups: the checks inside each group and over all files, after the shape of each was read.
// PURE: it gets values that were read already and answers with problems that carry a path, not a line.
// Must not let catalog.d redefine anything shipped, nor open the metadata class: that is how a small file widens a policy.
import type { OperatorErrorCode } from '../errors.ts';
import type { PathRule } from '../policy/paths.ts';
import { parsePattern } from '../policy/pattern.ts';
import {
  type Catalog,
  type CatalogEntry,
  type CatalogGroup,
  fillTemplate,
  type NeverProxy,
  templateParameters,
  type WatchedHost,
} from './catalog.ts';
import { nearestSpelling } from './nearest.ts';
import { type Path, type PathProblem, type RawEntry, type RawGroup, type RawPath, readShape } from './shape.ts';

/** One file, already read. `shipped`: it belongs to the product; otherwise it stands in catalog.d. */
export interface CatalogFile {
  readonly file: string;
  readonly shipped: boolean;
  readonly value: unknown;
}

/** All but the digest, which is made of it. */
export type CatalogContent = Omit<Catalog, 'digest'>;

type Report = (path: Path, code: OperatorErrorCode, message: string, hint: string) => void;

/** Where an id was first seen. */
interface Seen {
  readonly file: string;
  readonly shipped: boolean;
}

/** Checks the files in their order and joins them; the content is complete only when there are no problems. */
export function assembleCatalog(files: readonly CatalogFile[]): {
  content: CatalogContent;
  problems: readonly PathProblem[];
} {
  const problems: PathProblem[] = [];
  const groups = new Map<string, CatalogGroup>();
  const seen = { group: new Map<string, Seen>(), entry: new Map<string, Seen>() };
  const neverProxy: NeverProxy[] = [];
  const watch: WatchedHost[] = [];
  const versions: string[] = [];
  const snapshot: string[] = [];
  for (const file of files) {
    const report: Report = (path, code, message, hint) =>
      problems.push({ file: file.file, path, key: false, code, message, hint });
    const shape = readShape(file.file, file.value);
    if (!shape.ok) {
      problems.push(...shape.problems);
      continue;
    }
    const { version, snapshot: read, groups: rawGroups, never_proxy, watch: watched } = shape.raw;
    if (version !== undefined) checkVersion(version, file, versions, report);
    snapshot.push(...(read ?? []));
    for (const [index, raw] of rawGroups.entries()) {
      const path = ['groups', index];
      claim(seen.group, 'group', raw.id, file, [...path, 'id'], report);
      for (const [at, entry] of raw.entries.entries()) {
        claim(seen.entry, 'entry', entry.id, file, [...path, 'entries', at, 'id'], report);
      }
      checkGroup(raw, file, path, report);
      if (!groups.has(raw.id)) groups.set(raw.id, finishGroup(raw, file.shipped));
    }
    for (const [index, entry] of never_proxy.entries()) {
      checkHost(entry.host, entry.host, ['never_proxy', index, 'host'], report);
      neverProxy.push(entry);
    }
    for (const [index, entry] of watched.entries()) {
      checkHost(entry.host, entry.host, ['watch', index, 'host'], report);
      watch.push(entry);
    }
  }
  const first = files[0];
  if (versions.length === 0 && problems.length === 0 && first !== undefined) {
    const message = 'no shipped catalog file names its version';
    problems.push({
      file: first.file,
      path: [],
      key: false,
      code: 'config-missing-key',
      message,
      hint: 'Reinstall it.',
    });
  }
  return { content: { version: versions[0] ?? '', snapshot, groups, neverProxy, watch }, problems };
}

function checkVersion(version: string, file: CatalogFile, versions: string[], report: Report): void {
  if (!file.shipped) {
    const message = 'version names the shipped catalog; a file in catalog.d has none';
    report(['version'], 'config-conflict', message, 'Remove the line.');
  } else if (versions.length > 0) {
    report(
      ['version'],
      'config-conflict',
      `version stands in two files, as ${versions[0]} and ${version}`,
      'Keep one.',
    );
  } else versions.push(version);
}

function claim(
  seen: Map<string, Seen>,
  what: 'group' | 'entry',
  id: string,
  file: CatalogFile,
  path: Path,
  report: Report,
): void {
  const before = seen.get(id);
  if (before === undefined) {
    seen.set(id, { file: file.file, shipped: file.shipped });
    return;
  }
  if (before.shipped && !file.shipped) {
    report(
      path,
      'config-conflict',
      `${what} id ${id} belongs to the shipped catalog (${before.file}); catalog.d may add, not redefine`,
      'Choose another id.',
    );
  } else {
    report(
      path,
      'config-conflict',
      `${what} id ${id} stands twice; it was first used in ${before.file}`,
      'Ids are unique over all catalog files: choose another.',
    );
  }
}

function checkGroup(group: RawGroup, file: CatalogFile, path: Path, report: Report): void {
  const source = group.source ?? (file.shipped ? undefined : 'operator');
  if (source === undefined)
    report(
      path,
      'config-missing-key',
      `group ${group.id} does not say its source`,
      'Write source: published or source: companion.',
    );
  else checkSource(source, file.shipped, [...path, 'source'], report);
  if (group.requires !== undefined && !file.shipped) {
    report(
      [...path, 'requires'],
      'config-conflict',
      'only shipped groups such as instance-metadata open the metadata class',
      'Remove the line.',
    );
  }
  const declared = new Set<string>();
  group.parameters.forEach((parameter, index) => {
    if (declared.has(parameter.name))
      report(
        [...path, 'parameters', index, 'name'],
        'config-conflict',
        `parameter ${parameter.name} stands twice`,
        'Remove one of the two.',
      );
    declared.add(parameter.name);
    if (!group.entries.some((entry) => templateParameters(entry.host).includes(parameter.name))) {
      report(
        [...path, 'parameters', index, 'name'],
        'config-useless',
        `no host of group ${group.id} uses parameter ${parameter.name}`,
        `Write {${parameter.name}} into a host, or remove the parameter.`,
      );
    }
  });
  const hosts = new Set<string>();
  group.entries.forEach((entry, index) => {
    const at = [...path, 'entries', index];
    if (hosts.has(entry.host))
      report(
        [...at, 'host'],
        'config-conflict',
        `host ${entry.host} stands twice in group ${group.id}`,
        'Join the two entries: ports is a list.',
      );
    hosts.add(entry.host);
    checkEntry(entry, group, file.shipped, at, report);
  });
}

function checkSource(source: string, shipped: boolean, path: Path, report: Report): void {
  if (shipped === (source !== 'operator')) return;
  const allowed = shipped ? 'published or companion' : 'operator';
  report(
    path,
    'config-value',
    `source ${source} is not allowed here; allowed is ${allowed}`,
    shipped ? 'Say where the fact comes from.' : 'Remove the line: entries of catalog.d are the operator’s own.',
  );
}

function checkEntry(entry: RawEntry, group: RawGroup, shipped: boolean, at: Path, report: Report): void {
  const source = entry.source ?? group.source ?? 'operator';
  if (entry.source !== undefined) checkSource(entry.source, shipped, [...at, 'source'], report);
  const names = templateParameters(entry.host);
  const known = group.parameters.map((parameter) => parameter.name);
  const unknown = names.filter((name) => !known.includes(name));
  for (const name of unknown) {
    const near = nearestSpelling(name, known);
    report(
      [...at, 'host'],
      'config-parameter',
      `host ${entry.host} uses parameter ${name}, which group ${group.id} does not declare`,
      near === null ? `Declare ${name} under parameters:.` : `Did you mean {${near}}?`,
    );
  }
  if (unknown.length === 0) checkHost(entry.host, sampleHost(entry.host, group), [...at, 'host'], report);
  if (entry.ports === undefined && (entry.scheme !== 'https' || source === 'published')) {
    report(
      at,
      'config-missing-key',
      `entry ${entry.id} has no ports`,
      entry.scheme === 'https' ? 'A published entry states its ports.' : 'Only https has a default port here (443).',
    );
  }
  if (source === 'companion') {
    if (entry.cite === undefined)
      report(at, 'config-missing-key', `companion ${entry.id} has no cite`, 'Say where it was read.');
    if (entry.confidence === undefined)
      report(
        at,
        'config-missing-key',
        `companion ${entry.id} has no confidence`,
        'Write doc, list, observed-in-code or assumed.',
      );
    const optional = new Set(
      group.parameters.filter((parameter) => !parameter.required).map((parameter) => parameter.name),
    );
    if (group.source === 'published' && !names.some((name) => optional.has(name))) {
      report(
        [...at, 'source'],
        'config-conflict',
        `companion ${entry.id} would be let through by the published group ${group.id} without being asked for`,
        'Give it a group of its own, or an optional parameter.',
      );
    }
  } else if (source === 'published' && group.source !== 'published') {
    report(
      [...at, 'source'],
      'config-conflict',
      `published entry ${entry.id} stands in a ${group.source ?? 'operator'} group`,
      'Move it to a published group.',
    );
  }
  if (entry.paths !== undefined && entry.scheme !== 'http') {
    report(
      [...at, 'paths'],
      'config-conflict',
      'paths are seen only in plain HTTP',
      'Remove paths, or write scheme: http.',
    );
  }
  if (group.requires !== undefined && (entry.via !== 'direct' || entry.paths === undefined)) {
    report(
      at,
      'config-conflict',
      `entry ${entry.id} of the metadata group needs via: direct and paths`,
      'Without paths the credentials of the proxy host would pass.',
    );
  }
}

/** The template with the examples filled in: what a pattern of this entry will look like. */
function sampleHost(host: string, group: RawGroup): string {
  return fillTemplate(
    host,
    Object.fromEntries(group.parameters.map((parameter) => [parameter.name, parameter.example])),
  );
}

function checkHost(host: string, sample: string, path: Path, report: Report): void {
  const parsed = parsePattern(sample);
  if (parsed.ok) return;
  const shown =
    host === sample ? JSON.stringify(host) : `${JSON.stringify(host)} (with its example: ${JSON.stringify(sample)})`;
  report(
    path,
    'config-pattern',
    `host ${shown} is not allowed: ${parsed.problem}`,
    parsed.suggestion === null ? 'Write an exact name, or *.domain.' : `Write ${parsed.suggestion}.`,
  );
}

function finishGroup(raw: RawGroup, shipped: boolean): CatalogGroup {
  const source = raw.source ?? (shipped ? 'companion' : 'operator');
  const { entries, provider, section, requires, ...rest } = raw;
  return {
    ...rest,
    source,
    ...(provider === undefined ? {} : { provider }),
    ...(section === undefined ? {} : { section }),
    ...(requires === undefined ? {} : { requires }),
    entries: entries.map((entry) => finishEntry(entry, raw, source)),
  };
}

function finishEntry(raw: RawEntry, group: RawGroup, source: CatalogGroup['source']): CatalogEntry {
  const { agent_versions, cite, confidence, caution, paths, ...rest } = raw;
  return {
    ...rest,
    group: group.id,
    need: raw.need ?? group.need,
    ports: raw.ports ?? [443],
    source: raw.source ?? source,
    ...(agent_versions === undefined ? {} : { agent_versions }),
    ...(cite === undefined ? {} : { cite }),
    ...(confidence === undefined ? {} : { confidence }),
    ...(caution === undefined ? {} : { caution }),
    ...(paths === undefined ? {} : { paths: paths.map(finishPath) }),
  };
}

/** zod's optional keys are there as undefined; ours are absent. */
function finishPath({ field, ...rule }: RawPath): PathRule {
  if (field === undefined) return rule;
  const { name, value } = field;
  return { ...rule, field: value === undefined ? { name } : { name, value } };
}
