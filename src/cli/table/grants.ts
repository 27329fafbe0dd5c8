// Commands that give somebody a host for a while, and say who has which policy. Words only; see args.ts.
import { CONFIG, type CommandSpec } from './spec.ts';

const GRANT_JSON = 'id, host, port, protocol, addresses, for, created, expires, revoked, reason, owner, by, revoked_by';

export const GRANT_COMMANDS = [
  {
    name: 'grant',
    summary: 'Let somebody reach a host for a while, inside the ceiling, on every proxy that shares the usage store.',
    json: `${GRANT_JSON}, in_force (null: no proxy runs here), why`,
    about: [
      'It adds one rule for those alone whom --for names, and changes no file. It must be inside the ceiling of the policy (layers.ceiling) and last no longer than limits.grant_duration_max_h; each proxy judges that again, by its own ceiling, and records in its audit log what it takes. Deny rules stay.',
      'Waits until the audit log of the proxy here says that it is in force.',
    ],
    arguments: [
      { name: 'HOST[:PORT]', about: 'What may be reached, as in a rule; port 443 unless given.', required: true },
    ],
    options: [
      CONFIG,
      {
        name: 'for',
        value: 'KEY=VALUE',
        repeat: true,
        about: 'Whom it is for, as in a selector: pipeline=web,branch=main.',
      },
      {
        name: 'expires',
        value: 'WHEN',
        about: 'Until when: a span from now (90m, 24h, 7d) or an ISO 8601 date or time (UTC).',
      },
      { name: 'reason', value: 'TEXT', about: 'Why; stands in the audit log.' },
      { name: 'owner', value: 'TEXT', about: 'Who answers for it.' },
      {
        name: 'protocol',
        value: 'PROTOCOL',
        choices: ['tls', 'http', 'ssh', 'any'],
        about: 'As in a rule; by the port unless given.',
      },
      {
        name: 'address',
        value: 'CIDR',
        repeat: true,
        about: 'Addresses besides public ones that the host may resolve into.',
      },
    ],
    exits: { 0: 'granted', 1: 'not granted, or the proxy here has not confirmed it' },
    examples: [
      'sallyport grant files.corp.example --for pipeline=web --expires 24h --reason "release 4.2, INC-42" --owner web-team',
    ],
  },
  {
    name: 'revoke',
    summary: 'End a grant now, on every proxy that shares the usage store.',
    json: 'id, revoked, in_force, why',
    about: ['What it let through and is open stays open or is cut, as `on_reload` says.'],
    arguments: [{ name: 'ID', about: 'Its id, as `grants list` prints it.', required: true }],
    options: [CONFIG],
    exits: { 0: 'revoked', 1: 'no such grant stands, or the proxy here has not confirmed it' },
    examples: ['sallyport revoke 0b5e1f6c2a90 --config config/sallyport.yaml'],
  },
  {
    name: 'grants list',
    summary: 'List the grants that stand, who has them, until when, and whether they are used.',
    json: `grants [{${GRANT_JSON}, state (in-force, refused, expired, revoked), why, requests, last_used}]`,
    about: ['What the proxies counted of each is as fresh as the usage store.'],
    arguments: [],
    options: [CONFIG, { name: 'all', value: null, about: 'Those that expired or were revoked too, for 400 days.' }],
    exits: { 0: 'listed', 1: 'the file or the store could not be read' },
    examples: ['sallyport grants list --config config/sallyport.yaml'],
  },
  {
    name: 'fleet',
    summary: 'List the proxies that share the usage store: version, policy in force, and how far each has counted.',
    json: 'same (whether all that live have one policy and mode), nodes [{name, host, pid, version, policy (digest), mode, source, layers_broken, grants, since, seen, lag (bytes of its audit log not counted then), lives}]',
    arguments: [],
    options: [CONFIG],
    exits: {
      0: 'all that live have the same policy',
      1: 'the file or the store could not be read',
      3: 'they do not have the same policy',
    },
    examples: ['sallyport fleet --config config/sallyport.yaml'],
  },
] as const satisfies readonly CommandSpec[];
