// Commands for the hosts of agents: they need no policy file and no running proxy of their own. Words only; see args.ts.
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
      { name: 'timeout', value: 'SECONDS', about: 'Time until the proxy has answered, 1 to 600; 30 unless given.' },
    ],
    exits: { 0: 'both sides ended in order', 1: 'no tunnel, or it broke: standard error says which' },
    examples: [
      'sallyport connect ssh.github.com 443',
      'sallyport connect --proxy http://proxy.corp.example:3128 git.corp.example 22',
    ],
  },
] as const satisfies readonly CommandSpec[];
