// Commands that read a policy or the catalog and say what it means. Words only; see args.ts.
import { AS, CONFIG, type CommandSpec, LOG, WHEN } from './spec.ts';

const NO_CONFIG_EXITS = { 0: 'done', 1: 'the catalog could not be read' } as const;

export const POLICY_COMMANDS = [
  {
    name: 'check',
    summary: 'Validate a policy with all its layers, say what it holds, and what a change of it gives and takes.',
    json: 'file, ok, digest, mode, rules (number), groups, listen, admin, tls (the certificates, or why a start here would be refused; or null), audit, usage, engine, inspect (the same of the CA), layers [{file, role (ceiling, pipeline), for, state (current, base-only), rules}], against {name, digest, mode {before, after}, changes [{for (null: everyone), gains and loses [{effect, host, ports (null: every), protocol, addresses, inspect (lines, or null), origin}]}]} or null, replay (as of `replay`) or null, problems [{code, severity, at {file, line, column} or null, message, hint}]; of a file that is not valid only file, ok, problems',
    about: [
      'With --against it compares with the same policy in a folder or in another commit: what each pipeline, and everyone, gains or loses, by what the rules let through and not by their text. With --log it plays the records against the policy: which refusals would pass now, and what would newly fail.',
      'markdown fits a comment of a pull request; junit shows the base, each layer and the records as test cases.',
    ],
    arguments: [
      {
        name: 'POLICY',
        about: 'The policy file, or the folder with sallyport.yaml; instead of --config.',
        required: false,
      },
    ],
    options: [
      CONFIG,
      { name: 'strict', value: null, about: 'Warnings (an expired rule, a useless rule) fail as well.' },
      {
        name: 'against',
        value: 'VERSION',
        about: 'What to compare with: a commit of its Git repository, or a folder.',
      },
      { ...LOG, repeat: true, about: 'An audit log, with its rotated files, to play against it.' },
      { name: 'since', value: 'WHEN', about: `Only records since then: ${WHEN}. All unless given.` },
      {
        name: 'format',
        value: 'FORMAT',
        choices: ['table', 'json', 'markdown', 'junit'],
        about: 'table unless given.',
      },
    ],
    exits: {
      0: 'the policy and its layers are valid, and nothing of the records would newly fail',
      1: 'errors, also of a layer; warnings with --strict; or nothing would newly fail in what could be read of a damaged log',
      3: 'valid, and something of the records would newly fail',
    },
    examples: [
      'sallyport check --config config/sallyport.yaml --strict',
      'sallyport check policy/ --against origin/main --log data/audit.jsonl --format markdown',
    ],
  },
  {
    name: 'policy',
    summary: 'Print the effective policy, each rule with the line it comes from.',
    json: 'digest, mode, rules [{effect, pattern, ports (null: every), protocol, mode, group, need, rule, origin, for, addresses, expires, expired, reason, owner, layer, inspect {allow and deny [{text, origin}], max_upload_bytes, max_response_bytes, websocket, upstream_ca} or null}]',
    arguments: [],
    options: [CONFIG, AS],
    exits: { 0: 'printed', 1: 'the file is not valid' },
    examples: [
      'sallyport policy --config config/sallyport.yaml',
      'sallyport policy --config config/sallyport.yaml --as pipeline=web,branch=main',
    ],
  },
  {
    name: 'explain',
    summary: 'Say whether a host would be let through, by which rule, or what comes nearest.',
    json: 'host, port, kind (connect or forward), method, path (of an https:// URL), verdict (allow, deny, observe), reason, status, rule {id, origin, group, pattern, layer} or null, inspected, line {text, origin} or null, protocol, nearest {pattern, rule, why, fix} or null, hint, policy',
    about: [
      'The port is 443 unless given. An http:// URL asks for plain HTTP forwarding instead of a tunnel. Nothing is resolved or contacted.',
      'An https:// URL asks for a tunnel and, where the rule of the host is inspected, for that method and path inside it. Header fields that a line of allow wants are taken as there, those that a line of deny names as absent.',
    ],
    arguments: [
      {
        name: 'HOST[:PORT]',
        about: 'What a client would ask for: host, host:port, or an http:// or https:// URL.',
        required: true,
      },
    ],
    options: [
      CONFIG,
      AS,
      {
        name: 'method',
        value: 'METHOD',
        about: 'Method of the request; GET unless given. CONNECT asks for a tunnel.',
      },
    ],
    exits: { 0: 'allowed', 1: 'denied (observe mode: would be denied, but passes, is 0), or the file is not valid' },
    examples: [
      'sallyport explain my-bucket.s3.us-west-2.amazonaws.com --config config/sallyport.yaml',
      'sallyport explain git.corp.example:22 --as pipeline=deploy-web --config config/sallyport.yaml',
      'sallyport explain http://mirror.example/pool/ --config config/sallyport.yaml',
      'sallyport explain https://github.com/acme/widget --method POST --config config/sallyport.yaml',
    ],
  },
  {
    name: 'catalog list',
    summary: 'List the groups of the catalog.',
    json: 'version, digest, groups [{id, title, need, source, hosts (number)}]',
    arguments: [],
    options: [],
    exits: NO_CONFIG_EXITS,
    examples: ['sallyport catalog list'],
  },
  {
    name: 'catalog show',
    summary: 'Show a group: its hosts, ports, purposes, parameters and sources.',
    json: 'the group as the catalog has it: id, title, need, source, section, parameters, notes, entries',
    arguments: [{ name: 'GROUP', about: 'Id of a group, as `catalog list` prints it.', required: true }],
    options: [],
    exits: { 0: 'shown', 1: 'no such group, or the catalog could not be read' },
    examples: ['sallyport catalog show amazon-s3'],
  },
  {
    name: 'catalog diff',
    summary: 'Compare the catalog that is accepted with the one of this program, or with a file.',
    json: 'lock (null: none), accepted {version}, offered {version, digest, from}, changes [{kind (added, removed, changed), group, entry, host, ports, need, what [texts]}]',
    about: [
      'Accepted is what sallyport.lock beside the policy file pins. Without one it is the catalog of the program, and an upgrade of the program may change the hosts behind a group.',
    ],
    arguments: [
      { name: 'FILE', about: 'An update: a catalog in one file. This program unless given.', required: false },
    ],
    options: [CONFIG],
    exits: { 0: 'no host is different', 1: 'a catalog could not be read', 3: 'hosts are different' },
    examples: ['sallyport catalog diff --config config/sallyport.yaml', 'sallyport catalog diff catalog-2026.12.yaml'],
  },
  {
    name: 'catalog accept',
    summary: 'Pin the catalog of this program, or of a file, in sallyport.lock.',
    json: 'lock, version, digest, changes (as catalog diff)',
    about: [
      'From then on the hosts behind groups change by this command alone. What a newer program would change is a warning of check and of the log; a host that it requires is one of its own.',
      'A file must be signed by a key under catalog.keys of the policy file, or --digest says which file was reviewed.',
    ],
    arguments: [
      { name: 'FILE', about: 'An update: a catalog in one file. This program unless given.', required: false },
    ],
    options: [
      CONFIG,
      { name: 'digest', value: 'SHA256', about: 'Accept this very catalog, as `catalog diff` prints its digest.' },
    ],
    exits: { 0: 'pinned', 1: 'it is not signed by a known key, or could not be read or written' },
    examples: [
      'sallyport catalog accept --config config/sallyport.yaml',
      'sallyport catalog accept catalog-2026.12.yaml --config config/sallyport.yaml',
    ],
  },
  {
    name: 'catalog bundle',
    summary: 'Write the catalog of this program into one file, signed with --key.',
    json: 'written, version, digest, key (null: not signed)',
    arguments: [{ name: 'FILE', about: 'The file to write.', required: true }],
    options: [
      { name: 'key', value: 'FILE', about: 'An Ed25519 private key in PEM: openssl genpkey -algorithm ed25519.' },
    ],
    exits: { 0: 'written', 1: 'the key could not be read, or the file not written' },
    examples: ['sallyport catalog bundle catalog-2026.12.yaml --key release.pem'],
  },
] as const satisfies readonly CommandSpec[];
