// `sallyport explain HOST[:PORT]`: what the policy would answer, and why. It asks the same `decide` as the proxy and nothing
// else; names are not resolved, so the address guard (a name that resolves to a private address) has no say here.
import { OPERATOR_ERRORS, requestError } from '../../errors.ts';
import type { Decision, Policy } from '../../policy/decide.ts';
import type { RequestAnswer } from '../../policy/inspect.ts';
import { ANONYMOUS, type Nearest } from '../../policy/record.ts';
import { shownTarget } from '../../policy/shown-target.ts';
import { type Asked, type Explained, explainRequest, parseAsked } from '../../report/explanation.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { policyInForce } from '../grants.ts';
import { type Input, identityOf, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

export async function explain(input: Input, ui: Ui, world: World): Promise<number> {
  const asked = askedOf(input.argument(0) ?? '', input.text('method'));
  const identity = identityOf(input) ?? ANONYMOUS;
  const loaded = loadFor(input, ui, world);
  const policy = await policyInForce(loaded, ui, world.now());
  const explained = explainRequest(policy, asked, identity, world.now());
  const { decision, passes, hint } = explained;
  if (ui.json) {
    ui.object(explained.json);
    return passes ? EXIT.ok : EXIT.failed;
  }
  if (explained.answer !== null) return below({ ...explained, answer: explained.answer }, asked, ui);
  const spec = decision.reason === 'allowed' ? null : requestError(decision.reason);
  const nearest = 'nearest' in decision ? decision.nearest : null;
  ui.line(
    `${verdictText(decision, ui)} ${asked.method} ${inert(asked.authority.text)}${asked.path === null ? '' : inert(asked.path)}`,
  );
  if (spec !== null) ui.line(`  reason   ${decision.reason}: ${spec.title}`);
  ruleLine(decision, ui);
  if ('protocol' in decision) ui.line(`  protocol ${protocolText(decision.protocol, asked.kind)}`);
  if (nearest !== null)
    ui.line(`  nearest  ${inert(nearest.pattern)}${placeOf(policy, nearest)}: ${inert(nearest.why)}`);
  if (nearest !== null && nearest.fix !== '')
    ui.line(`  fix      under allow: ${ui.paint('bold', `- ${inert(nearest.fix)}`)}`);
  else if (hint !== null) ui.line(`  hint     ${inert(hint)}`);
  if (decision.verdict === 'observe') ui.line(OBSERVED);
  if (asked.below !== null && passes)
    ui.line('  inside   not looked at: the rule is not inspected, so any method and path passes');
  return passes ? EXIT.ok : EXIT.failed;
}

const OBSERVED = '  mode     observe: it passes and is recorded as would-deny';

/** What is asked inside a CONNECT to an inspected host. */
function below(
  { decision, answer, passes, hint }: Explained & { readonly answer: RequestAnswer },
  asked: Asked,
  ui: Ui,
): number {
  const { method = '', target = '' } = asked.below ?? {};
  const said =
    answer.verdict === 'allow'
      ? ui.paint('green', 'allow')
      : passes
        ? ui.paint('yellow', 'would deny')
        : ui.paint('red', 'deny');
  ui.line(`${said} ${inert(method)} https://${inert(asked.authority.text)}${inert(shownTarget(target))}`);
  if (answer.verdict === 'deny') ui.line(`  reason   ${answer.reason}: ${requestError(answer.reason).title}`);
  ruleLine(decision, ui);
  const { entry } = answer;
  if (entry !== null) ui.line(`  line     ${inert(entry.text)} at ${inert(entry.origin)}`);
  if (answer.verdict === 'deny' && answer.nearest !== null) {
    const { pattern, why, fix } = answer.nearest;
    if (entry === null && pattern !== '') ui.line(`  nearest  ${inert(pattern)}: ${inert(why)}`);
    if (fix !== '') ui.line(`  fix      under the rule: ${ui.paint('bold', `- ${inert(fix)}`)}`);
    else if (hint !== null) ui.line(`  hint     ${inert(hint)}`);
  }
  if (answer.verdict === 'deny' && passes) ui.line(OBSERVED);
  return passes ? EXIT.ok : EXIT.failed;
}

function ruleLine({ rule }: Decision, ui: Ui): void {
  if (rule === null) return;
  const group = rule.group === null ? '' : `, group ${inert(rule.group)}`;
  const layer = rule.layer === null ? '' : ', a layer';
  ui.line(`  rule     ${inert(rule.pattern)} (${inert(rule.id)}${group}) at ${inert(rule.origin)}${layer}`);
}

/** Where the nearest rule stands; '' for what no rule says, and where the sentence says it. */
function placeOf(policy: Policy, { rule, pattern, why }: Nearest): string {
  if (rule === null) return '';
  for (const { id, pattern: own, origin } of policy.rules()) {
    if (id === rule && own === pattern) return why.includes(origin) ? '' : ` at ${inert(origin)}`;
  }
  return '';
}

function verdictText(decision: Decision, ui: Ui): string {
  if (decision.verdict === 'allow') return ui.paint('green', 'allow');
  if (decision.verdict === 'observe') return ui.paint('yellow', 'would deny');
  if (decision.verdict === 'challenge') return ui.paint('yellow', 'asks for credentials');
  return ui.paint('red', 'deny');
}

function protocolText(protocol: string, kind: Asked['kind']): string {
  if (kind === 'forward') return 'plain http, forwarded';
  if (protocol === 'tls') return 'tls: the server name in the ClientHello must be this host';
  if (protocol === 'ssh') return 'ssh: the first line must be an SSH version';
  return `${protocol}: the content is not checked`;
}

/** HOST, HOST:PORT, [V6]:PORT, http://… or https://…; the strict parsers of the proxy judge it, nothing here repairs it. */
function askedOf(text: string, method: string | null): Asked {
  const parsed = parseAsked(text, method);
  if (!parsed.ok) throw malformed(text, parsed.problem);
  return parsed.asked;
}

function malformed(text: string, problem: string): Error {
  return usage(`${JSON.stringify(text)} is not HOST[:PORT]: ${problem}`, OPERATOR_ERRORS.usage.hint);
}
