// `sallyport policy`: the effective policy, rule by rule, each with the line it comes from. With --as only what counts for
// that identity, and its mode. It prints what was compiled, not what was written.
import { GRANTS_LAYER } from '../../policy/grant.ts';
import type { Identity } from '../../policy/record.ts';
import { selectorMatches } from '../../policy/selector.ts';
import type { RuleView } from '../../policy/view.ts';
import { ruleObject } from '../../report/explanation.ts';
import { inert } from '../../report/inert.ts';
import { textTable } from '../../report/text-table.ts';
import { EXIT } from '../args.ts';
import { policyInForce } from '../grants.ts';
import { type Input, identityOf } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

export async function policy(input: Input, ui: Ui, world: World): Promise<number> {
  const identity = identityOf(input);
  const loaded = loadFor(input, ui, world);
  const compiled = await policyInForce(loaded, ui, world.now());
  const rules = [...compiled.rules()].filter((rule) => counts(rule, identity));
  const mode = identity === null ? loaded.policy.mode : compiled.modeFor(identity, null);
  if (ui.json) {
    ui.object({ digest: compiled.digest, mode, rules: rules.map((rule) => ruleObject(rule, world.now())) });
    return EXIT.ok;
  }
  ui.line(`policy ${inert(compiled.digest)}, mode ${mode}, ${rules.length} rules`);
  const rows = rules.map((rule) => {
    const shown = ruleObject(rule, world.now());
    const selector = rule.for === null ? '' : JSON.stringify(rule.for);
    const mark = shown.expired ? 'expired' : '';
    const until = rule.expires === null ? '' : `until ${new Date(rule.expires).toISOString().slice(0, 10)}`;
    return [
      rule.effect,
      rule.pattern,
      shown.ports === null ? 'every' : shown.ports.join(','),
      shown.protocol,
      rule.mode ?? '',
      rule.group === null ? rule.id : `${rule.group}: ${rule.id}`,
      rule.origin,
      layerText(rule),
      [mark, until, selector, rule.addresses.map(({ text }) => text).join(' '), insideText(shown.inspect)]
        .filter((part) => part !== '')
        .join(' '),
    ];
  });
  if (rows.length > 0)
    ui.raw(
      textTable(['effect', 'host', 'ports', 'protocol', 'mode', 'rule', 'origin', 'layer', ''], rows, {
        width: ui.width,
        right: [],
      }),
    );
  return EXIT.ok;
}

/** The origin names the file; which kind of layer that is says this. */
function layerText({ layer }: RuleView): string {
  if (layer === null) return 'base';
  return layer === GRANTS_LAYER ? 'grant' : 'pipeline';
}

function insideText(inspect: ReturnType<typeof ruleObject>['inspect']): string {
  if (inspect === null) return '';
  const deny = inspect.deny.map(({ text }) => `not ${text}`);
  return `inspected: ${[...inspect.allow.map(({ text }) => text), ...deny].join('; ')}`;
}

/** A rule counts for an identity where its selector matches, or it has none. */
function counts(rule: RuleView, identity: Identity | null): boolean {
  return identity === null || rule.for === null || selectorMatches(rule.for, identity.attributes);
}
