// `sallyport explain HOST[:PORT]`: what the policy would answer, and why. It asks the same `decide` as the proxy and nothing
// else; names are not resolved, so the address guard (a name that resolves to a private address) has no say here.
import { OPERATOR_ERRORS, requestError } from '../../errors.ts';
import { type Authority, parseAuthority, parseHttpTarget } from '../../policy/authority.ts';
import type { Decision, Policy } from '../../policy/decide.ts';
import { ANONYMOUS, type Nearest } from '../../policy/record.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { policyInForce } from '../grants.ts';
import { type Input, identityOf, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

interface Asked {
  readonly authority: Authority;
  readonly kind: 'connect' | 'forward';
  readonly method: string;
  readonly path: string | null;
}

export async function explain(input: Input, ui: Ui, world: World): Promise<number> {
  const asked = askedOf(input.argument(0) ?? '', input.text('method'));
  const identity = identityOf(input) ?? ANONYMOUS;
  const loaded = loadFor(input, ui, world);
  const policy = await policyInForce(loaded, ui, world.now());
  const decision = policy.decide({ ...asked, carries: () => true, identity, now: world.now() });
  const passes = decision.verdict === 'allow' || decision.verdict === 'observe';
  const spec = decision.reason === 'allowed' ? null : requestError(decision.reason);
  const nearest = 'nearest' in decision ? decision.nearest : null;
  const hint = passes && decision.verdict === 'allow' ? null : hintOf(decision, asked, spec?.hint ?? '');
  if (ui.json) {
    const { rule } = decision;
    ui.object({
      host: asked.authority.host,
      port: asked.authority.port,
      kind: asked.kind,
      method: asked.method,
      verdict: decision.verdict === 'challenge' ? 'deny' : decision.verdict,
      reason: decision.reason,
      status: passes ? null : (spec?.status ?? null),
      rule:
        rule === null
          ? null
          : { id: rule.id, origin: rule.origin, group: rule.group, pattern: rule.pattern, layer: rule.layer ?? 'base' },
      protocol: passes ? decision.protocol : null,
      nearest,
      hint,
      policy: policy.digest,
    });
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
  if (passes) ui.line(`  protocol ${protocolText(decision.protocol, asked.kind)}`);
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

/** What to do about it: the fix of the nearest rule, else the line that would allow exactly this, else the registry's hint. */
function hintOf(decision: Decision, asked: Asked, fallback: string): string {
  const nearest = 'nearest' in decision ? decision.nearest : null;
  if (nearest !== null && nearest.fix !== '') return `Add under allow: - ${nearest.fix}`;
  if (decision.reason === 'host-not-allowed') return `Add under allow: - ${allowLine(asked)}`;
  return fallback.replaceAll('{host}', asked.authority.host).replaceAll('{port}', String(asked.authority.port));
}

function allowLine({ authority: { host, port }, kind }: Asked): string {
  if (kind === 'forward') return `{ host: ${host}, ports: [${port}], protocol: http }`;
  return port === 443 ? host : `{ host: ${host}, ports: [${port}] }`;
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
  if (/^http:\/\//i.test(text)) {
    const target = parseHttpTarget(text);
    if (!target.ok) throw malformed(text, target.problem);
    if (method?.toUpperCase() === 'CONNECT')
      return { authority: target.authority, kind: 'connect', method: 'CONNECT', path: null };
    return { authority: target.authority, kind: 'forward', method: method ?? 'GET', path: target.path };
  }
  const parsed = parseAuthority(
    /:\d*$/.test(text) && !isBareV6(text) ? text : `${isBareV6(text) ? `[${text}]` : text}:443`,
  );
  if (!parsed.ok) throw malformed(text, parsed.problem);
  if (method === null || method.toUpperCase() === 'CONNECT')
    return { authority: parsed.authority, kind: 'connect', method: 'CONNECT', path: null };
  return { authority: parsed.authority, kind: 'forward', method, path: '/' };
}

/** An IPv6 address typed without brackets has no port. */
function isBareV6(text: string): boolean {
  return !text.startsWith('[') && text.split(':').length > 2;
}

function malformed(text: string, problem: string): Error {
  return usage(`${JSON.stringify(text)} is not HOST[:PORT]: ${problem}`, OPERATOR_ERRORS.usage.hint);
}
