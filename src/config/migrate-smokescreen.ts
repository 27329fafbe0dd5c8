// Stripe's Smokescreen: its ACL file (version v1) as a policy. PURE. A service is the role of a client certificate there, and becomes a
// user here; what a service may reach is for that user alone.
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { Migration } from './migrate.ts';

/** Smokescreen looks at no port. These are what builds use; others are to be added by hand. */
const PORTS = [80, 443];
const ACTIONS = ['open', 'report', 'enforce'] as const;
type Action = (typeof ACTIONS)[number];

/** @returns null where the text is no ACL of version v1 */
export function migrateSmokescreen(text: string): Migration | null {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: false });
  const root = document.contents;
  if (document.errors.length > 0 || !isMap(root) || String(root.get('version')) !== 'v1') return null;
  const migration = new Migration();
  const lineOf = (node: unknown): number => lines.linePos((node as Node | undefined)?.range?.[0] ?? 0).line;
  const hosts = (node: unknown, effect: 'allow' | 'deny', user: string | null, mode: 'observe' | null): void => {
    for (const item of isSeq(node) ? node.items : []) {
      const host = isScalar(item) ? String(item.value) : '';
      migration.rule({ effect, host, ports: effect === 'allow' ? PORTS : [], user, mode, line: lineOf(item) });
    }
  };

  const global = root.get('global_deny_list', true);
  hosts(global, 'deny', null, null);
  hosts(root.get('global_allow_list', true), 'allow', null, null);
  const services = root.get('services', true);
  for (const service of isSeq(services) ? services.items : []) readService(service, false);
  const fallback = root.get('default', true);
  if (fallback !== undefined) readService(fallback, true);
  if (migration.users.length > 0 && isMap(fallback) && fallback.has('allowed_domains'))
    migration.leave(
      lineOf(fallback),
      'default',
      'it is for services that are not listed there; its hosts are for everybody here, so for those that are listed too',
    );
  noteWhole(migration);
  for (const key of root.items.map((pair) => String(isScalar(pair.key) ? pair.key.value : pair.key)))
    if (!['version', 'services', 'default', 'global_deny_list', 'global_allow_list'].includes(key))
      migration.leave(lineOf(root.get(key, true)), key, 'this key is not known');
  return migration;

  /** `default` is a service without a name, for everybody. */
  function readService(node: unknown, isDefault: boolean): void {
    if (!isMap(node)) return migration.leave(lineOf(node), '', 'a service that is no mapping');
    const name = isDefault ? null : String(node.get('name') ?? '');
    if (name === '') return migration.leave(lineOf(node), '', 'a service without a name');
    const typed = String(node.get('action') ?? '');
    const action = ACTIONS.find((one) => one === typed);
    if (action === undefined)
      return migration.leave(
        lineOf(node),
        name ?? 'default',
        `action ${typed} is not known: nothing of it is let through`,
      );
    hosts(node.get('allowed_domains', true), 'allow', name, null);
    readAction(action, name, lineOf(node));
    for (const key of ['allowed_external_proxies', 'mitm_domains'])
      if (node.has(key))
        migration.leave(
          lineOf(node.get(key, true)),
          key,
          'there is no such thing here: the hosts themselves are listed',
        );
  }

  function readAction(action: Action, name: string | null, line: number): void {
    if (name !== null) migration.users.push({ name, mode: action === 'enforce' ? 'enforce' : 'observe' });
    if (action === 'open')
      migration.leave(
        line,
        name ?? 'default',
        'action open lets everything through: it observes here, so that the report says what it was',
      );
    if (action !== 'enforce' && name === null)
      migration.leave(
        line,
        'default',
        `action ${action} for everybody is not carried over: write mode: observe if that is still wanted`,
      );
  }
}

/** What holds for the file as a whole. */
function noteWhole(migration: Migration): void {
  const ports = PORTS.join(' and ');
  migration.leave(
    0,
    '',
    `Smokescreen looks at no port: each host is let through on ${ports}; add others that builds need`,
  );
  if (migration.users.length > 0)
    migration.leave(
      0,
      '',
      'services are roles of client certificates: say under certificates: which certificate is which user (docs/identity.md)',
    );
}
