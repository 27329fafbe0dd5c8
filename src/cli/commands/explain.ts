// `sallyport explain HOST[:PORT]`: what the policy would answer, and why. It asks the same `decide` as the proxy and nothing
// else; names are not resolved, so the address guard (a name that resolves to a private address) has no say here.
import { OPERATOR_ERRORS, requestError } from '../../errors.ts';
import type { Decision, Policy } from '../../policy/decide.ts';
import { ANONYMOUS, type Nearest } from '../../policy/record.ts';
import { type Asked, explainRequest, parseAsked } from '../../report/explanation.ts';
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
  const { decision, passes, hint, json } = explainRequest(policy, asked, identity, world.now());
  const spec = decision.reason === 'allowed' ? null : requestError(decision.reason);
  const nearest = 'nearest' in decision ? decision.nearest : null;
  if (ui.json) {
    ui.object(json);
    return passes ? EXIT.ok : EXIT.failed;
  }
  ui.line(
    `${verdictText(decision, ui)} ${asked.method} ${inert(asked.authority.text)}${asked.path === null ? '' : inert(asked.path)}`,
  );
  if (spec !== null) ui.line(`  reason   ${decision.reason}: ${spec.title}`);
  if (decision.rule !== null) {
    const { rule } = decision;
    ui.line(
      `  rule     ${inert(rule.pattern)} (${inert(rule.id)}${rule.group === null ? '' : `, group ${inert(rule.group)}`}) at ${inert(rule.origin)}${rule.layer === null ? '' : ', a layer'}`,
    );
  }
  if ('protocol' in decision) ui.line(`  protocol ${protocolText(decision.protocol, asked.kind)}`);
  if (nearest !== null)
    ui.line(`  nearest  ${inert(nearest.pattern)}${placeOf(policy, nearest)}: ${inert(nearest.why)}`);
  if (nearest !== null && nearest.fix !== '')
    ui.line(`  fix      under allow: ${ui.paint('bold', `- ${inert(nearest.fix)}`)}`);
  else if (hint !== null) ui.line(`  hint     ${inert(hint)}`);
  if (decision.verdict === 'observe') ui.line('  mode     observe: it passes and is recorded as would-deny');
  return passes ? EXIT.ok : EXIT.failed;
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

/** HOST, HOST:PORT, [V6]:PORT or http://…; the strict parsers of the proxy judge it, nothing here repairs it. */
function askedOf(text: string, method: string | null): Asked {
  if (/^https:\/\//i.test(text)) {
    const host = text.slice('https://'.length).split('/')[0] ?? '';
    throw usage(
      `${JSON.stringify(text)}: the proxy sees only the host of an https:// URL`,
      `Write: sallyport explain ${inert(host)}`,
    );
  }
  const parsed = parseAsked(text, method);
  if (!parsed.ok) throw malformed(text, parsed.problem);
  return parsed.asked;
}

function malformed(text: string, problem: string): Error {
  return usage(`${JSON.stringify(text)} is not HOST[:PORT]: ${problem}`, OPERATOR_ERRORS.usage.hint);
}
