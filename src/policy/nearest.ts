// The nearest miss of a refused request: the rule or catalog entry that almost fits, and why it does not. Computed only on
// denial, and denials may come 10,000 a second under attack: every search has a budget, and a search that runs out of it
// says nothing rather than anything slow. Never shows a rule whose `for` does not select the client.
import type { RequestErrorCode } from '../errors.ts';
import { ALLOW_EXACT, ALLOW_WILDCARD, type CompiledPolicy } from './compile.ts';
import type { Matcher, PolicyRequest } from './match.ts';
import {
  apexText,
  belowText,
  deniedText,
  expiredText,
  type HintMatch,
  hintText,
  othersText,
  pathText,
  portText,
  protocolText,
  typoText,
} from './nearest-text.ts';
import type { Identity, Nearest } from './record.ts';
import { bindTemplate, type Template, templateOf } from './template.ts';
import { childOf, headOf, isOneLetterOff, LABELS_MAX, labelOf, walkLabels } from './trie.ts';
import type { RuleViews } from './view.ts';

/** A domain with more names below it gets no spelling help: walking them costs more than the help is worth. */
const TYPO_SIBLINGS_MAX = 400;
/** Sibling labels compared for one denial; a candidate that leads nowhere counts as several. */
const TYPO_STEPS_MAX = 600;
const TYPO_CANDIDATE_STEPS = 20;
/** Rules looked at in one list, and catalog templates tried. */
const RULES_TRIED_MAX = 16;
const HINTS_TRIED_MAX = 64;
/** In shorter labels one letter is most of the name: `a.test` is no misspelling of `b.test`. */
const TYPO_LABEL_MIN = 4;

export class NearestFinder {
  readonly #compiled: CompiledPolicy;
  readonly #matcher: Matcher;
  readonly #views: RuleViews;
  readonly #hintPath = new Int32Array(LABELS_MAX + 1);
  #templates: readonly Template[] | null = null;

  constructor(compiled: CompiledPolicy, matcher: Matcher, views: RuleViews) {
    this.#compiled = compiled;
    this.#matcher = matcher;
    this.#views = views;
  }

  /** The nearest miss of the request that the matcher scanned last; `rule` is the rule that refused it, or -1. */
  find(reason: RequestErrorCode, request: PolicyRequest, rule: number): Nearest | null {
    const matcher = this.#matcher;
    const views = this.#views;
    switch (reason) {
      case 'host-denied':
        return deniedText(request, views.at(rule));
      case 'port-not-allowed':
        return portText(request, views.at(matcher.portMiss));
      case 'protocol-not-allowed': {
        const miss = matcher.protocolMiss;
        return protocolText(request, views.at(miss), matcher.protocolOf(miss, request.authority.port));
      }
      case 'rule-expired':
        return expiredText(request, views.at(matcher.expiredMiss));
      case 'identity-not-allowed':
        return othersText(request);
      case 'path-not-allowed':
        return pathText(views.at(rule));
      case 'host-not-allowed':
        return this.#search(request);
      default:
        return null;
    }
  }

  /** No rule names the host: catalog entry, the name above a wildcard, a slip of the pen, a name below an exact entry. */
  #search(request: PolicyRequest): Nearest | null {
    const labels = request.authority.host.split('.');
    const hint = this.#hint(request, labels);
    if (hint !== null) return hintText(request, hint);
    return this.#apex(request) ?? this.#typo(request, labels) ?? this.#below(request);
  }

  /** The first rule of a list that this client may see and that is still valid; -1 without one. */
  #usable(head: number, identity: Identity, now: number): number {
    const { next } = this.#compiled.trie;
    let tried = 0;
    for (let rule = head; rule >= 0 && tried < RULES_TRIED_MAX; rule = next[rule] ?? -1) {
      tried += 1;
      if (!this.#matcher.expired(rule, now) && this.#matcher.visible(rule, identity)) return rule;
    }
    return -1;
  }

  #rule(node: number, list: number, request: PolicyRequest): number {
    return this.#usable(headOf(this.#compiled.trie, node, list), request.identity, request.now);
  }

  #apex(request: PolicyRequest): Nearest | null {
    const { whole, found, path } = this.#matcher;
    if (!whole) return null;
    const rule = this.#rule(path[found] ?? 0, ALLOW_WILDCARD, request);
    return rule < 0 ? null : apexText(request, this.#views.at(rule));
  }

  #below(request: PolicyRequest): Nearest | null {
    const { whole, found, path } = this.#matcher;
    for (let depth = whole ? found - 1 : found; depth > 0; depth -= 1) {
      const rule = this.#rule(path[depth] ?? 0, ALLOW_EXACT, request);
      if (rule >= 0) return belowText(request, this.#views.at(rule));
    }
    return null;
  }

  /** A label that is one letter off what stands in the trie, the others equal; deepest first. */
  #typo(request: PolicyRequest, labels: readonly string[]): Nearest | null {
    const { trie } = this.#compiled;
    const { path, found } = this.#matcher;
    let steps = TYPO_STEPS_MAX;
    for (let depth = Math.min(found, labels.length - 1); depth >= 0; depth -= 1) {
      const node = path[depth] ?? 0;
      const at = labels.length - 1 - depth;
      const label = labels[at] ?? '';
      const children = trie.childCount[node] ?? 0;
      if (label.length < TYPO_LABEL_MIN || children > TYPO_SIBLINGS_MAX) continue;
      steps -= children;
      if (steps < 0) return null;
      for (let child = trie.firstChild[node] ?? 0; child !== 0; child = trie.nextSibling[child] ?? 0) {
        if (!isOneLetterOff(trie, child, label, 0, label.length)) continue;
        const rule = this.#ruleBelow(child, labels, at, request);
        if (rule >= 0) return typoText(this.#views.at(rule), labels.with(at, labelOf(trie, child)).join('.'));
        steps -= TYPO_CANDIDATE_STEPS;
        if (steps < 0) return null;
      }
    }
    return null;
  }

  /** The rule that would match the labels before `at`, with `node` standing for labels[at]; -1 without one. */
  #ruleBelow(node: number, labels: readonly string[], at: number, request: PolicyRequest): number {
    let here = node;
    let wildcard = -1;
    for (let next = at - 1; next >= 0; next -= 1) {
      const covers = this.#rule(here, ALLOW_WILDCARD, request);
      if (covers >= 0) wildcard = covers;
      const label = labels[next] ?? '';
      here = childOf(this.#compiled.trie, here, label, 0, label.length);
      if (here === 0) return wildcard;
    }
    const exact = this.#rule(here, ALLOW_EXACT, request);
    return exact >= 0 ? exact : wildcard;
  }

  /** The catalog entry, not in use, that covers the host and port: the one with the best score. */
  #hint(request: PolicyRequest, labels: readonly string[]): HintMatch | null {
    const { hints, hintTrie } = this.#compiled;
    if (hints.length === 0) return null;
    this.#templates ??= hints.map((hint) => templateOf(hint.pattern, hint.enabled));
    const walked = walkLabels(hintTrie, request.authority.host, this.#hintPath);
    let tried = 0;
    let best: HintMatch | null = null;
    let bestScore = -1;
    for (let depth = walked < 0 ? -1 - walked : walked; depth > 0; depth -= 1) {
      let item = headOf(hintTrie, this.#hintPath[depth] ?? 0, 0);
      for (; item >= 0 && tried < HINTS_TRIED_MAX; item = hintTrie.next[item] ?? -1) {
        tried += 1;
        const hint = hints[item];
        const template = this.#templates[item];
        if (hint === undefined || template === undefined || template.score <= bestScore) continue;
        if (!hint.ports.includes(request.authority.port)) continue;
        const values = bindTemplate(template, labels);
        if (values === null) continue;
        bestScore = template.score;
        best = { pattern: hint.pattern, group: hint.group, enabled: hint.enabled, values };
      }
    }
    return best;
  }
}
