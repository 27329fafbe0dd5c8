// Commands for the hosts of agents: they need no policy file and no running proxy of their own. Words only; see args.ts.
import { META_FORMATS } from '../../buildkite/meta-text.ts';
import type { CommandSpec } from './spec.ts';

export const AGENT_COMMANDS = [
  {
    name: 'connect',
    summary: "Carry standard input and output through a CONNECT tunnel: ssh's ProxyCommand.",
    json: 'nothing: standard output carries the tunnel',
    about: [
      'The proxy is --proxy, else https_proxy, HTTPS_PROXY, http_proxy or HTTP_PROXY, the first that is set; NO_PROXY does not count here. An https:// proxy is spoken to over TLS.',
      'Credentials are USER:PASSWORD in --credentials-file, else in $SALLYPORT_PROXY_CREDENTIALS, else in the URL of the proxy. On the command line they would stand in the process list.',
      'Each side may end by itself. A refusal shows the status line of the proxy and its hint on standard error; `sallyport env --for ssh` prints the lines for ~/.ssh/config.',
    ],
    arguments: [
      { name: 'HOST', about: 'Host to reach: a name or an address.', required: true },
      { name: 'PORT', about: 'Its port.', required: true },
    ],
    options: [
      { name: 'proxy', value: 'URL', about: 'http[s]://[USER[:PASSWORD]@]HOST[:PORT] of the proxy.' },
      { name: 'credentials-file', value: 'FILE', about: 'A file with one line USER:PASSWORD for the proxy.' },
      {
        name: 'proxy-ca',
        value: 'FILE',
        about: 'PEM certificates to trust for an https:// proxy, besides the usual ones.',
      },
      {
        name: 'cert',
        value: 'FILE',
        about: 'PEM certificate of this client, for an https:// proxy that asks for one.',
      },
      { name: 'key', value: 'FILE', about: 'Its key, PEM.' },
      { name: 'timeout', value: 'SECONDS', about: 'Time until the proxy has answered, 1 to 600; 30 unless given.' },
    ],
    exits: { 0: 'both sides ended in order', 1: 'no tunnel, or it broke: standard error says which' },
    examples: [
      'sallyport connect ssh.github.com 443',
      'sallyport connect --proxy http://proxy.corp.example:3128 git.corp.example 22',
    ],
  },
  {
    name: 'doctor',
    summary: "From an agent's host: do its jobs reach what they need through the proxy, and what mends what is wrong.",
    json: 'proxy, checks [{area (variables, proxy, host, stream, tool), subject, state (ok, warn, fail, skip), message, fix or null, ms or null}], ok, warn, fail, skip (counts)',
    about: [
      'Looks at the proxy variables in both cases and at NO_PROXY; asks through the proxy for each required host of the catalog, each HOST that is named, and with --config each single host that the policy allows (CONNECT, the whole TLS chain, an HTTP/2 ping where the host speaks it); and at the settings of git, ssh, npm, pip, Docker and Java that override or ignore the variables. Nothing is changed, and no request is sent to a host.',
      'Run it as the user that jobs run as, with the environment that they have.',
    ],
    arguments: [{ name: 'HOST', about: 'Further hosts, HOST[:PORT].', required: false, repeat: true }],
    options: [
      { name: 'config', value: 'FILE', about: 'A policy file whose single hosts are asked for too.' },
      { name: 'proxy', value: 'URL', about: 'The proxy that is to be used; what the environment names unless given.' },
      { name: 'credentials-file', value: 'FILE', about: 'A file with one line USER:PASSWORD for the proxy.' },
      { name: 'ca', value: 'FILE', about: 'PEM certificates to trust, besides the usual ones.' },
      {
        name: 'cert',
        value: 'FILE',
        about: 'PEM certificate of this client, for an https:// proxy that asks for one.',
      },
      { name: 'key', value: 'FILE', about: 'Its key, PEM.' },
      { name: 'only', value: null, about: 'Only the hosts that are named, not the required ones.' },
      { name: 'long', value: null, about: 'Leave a tunnel idle for 150 s and see whether it still carries.' },
      { name: 'idle', value: 'SECONDS', about: 'The same for so many seconds, 1 to 3600.' },
      { name: 'timeout', value: 'SECONDS', about: 'Time for each step, 1 to 600; 10 unless given.' },
      { name: 'strict', value: null, about: 'Exit 1 for what is to look at, too.' },
    ],
    exits: { 0: 'nothing to mend', 1: 'something is to mend' },
    examples: [
      'sallyport doctor',
      'sallyport doctor registry.corp.example --proxy http://proxy.corp.example:3128 --long',
    ],
  },
  {
    name: 'platform-ips',
    summary: "Print the addresses that Buildkite's webhooks come from, or say whether they have changed.",
    json: 'url, etag, fetched_at, webhook_ips, fresh (false: unchanged by ETag), changed, added, removed, cache (file)',
    about: [
      'Asks the Meta API of Buildkite. These are sources of what comes in, for a firewall in front of an internal Git server; they never become rules for what goes out.',
      'The last answer is kept in a file with its ETag. An answer that is no JSON, empty, cut off, not public or too wide is an error, and the last one stays.',
      'The proxy is --proxy, else that of the environment where NO_PROXY does not name the host.',
    ],
    arguments: [],
    options: [
      {
        name: 'format',
        value: 'FORMAT',
        choices: META_FORMATS,
        about: 'text (one range a line) unless given.',
      },
      {
        name: 'watch',
        value: null,
        about: 'Print only what was added (+) and removed (-) since the last answer; exit 3 where that is anything.',
      },
      {
        name: 'cache',
        value: 'FILE',
        about: 'The file of the last answer; sallyport/platform-ips.json in the cache folder of the user unless given.',
      },
      { name: 'url', value: 'URL', about: 'Another address of the API, https only.' },
      { name: 'ca', value: 'FILE', about: 'PEM certificates to trust, besides the usual ones.' },
      { name: 'proxy', value: 'URL', about: 'http[s]://[USER[:PASSWORD]@]HOST[:PORT] of a proxy.' },
      { name: 'timeout', value: 'SECONDS', about: 'Time for the whole answer, 1 to 600; 20 unless given.' },
    ],
    exits: {
      0: 'printed; with --watch: unchanged, or the first answer',
      1: 'no answer that can be believed',
      3: 'with --watch: changed',
    },
    examples: [
      'sallyport platform-ips --format nft',
      'sallyport platform-ips --watch --cache /var/lib/sallyport/platform-ips.json',
    ],
  },
] as const satisfies readonly CommandSpec[];
