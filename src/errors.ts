// The registry of everything that can go wrong and be met by a person: one stable code each, whose fault it is,
// what the client is told, and what to do next. docs/errors.md lists the same set (test/house.test.ts holds them equal).
// A code is public for ever: clients, auditors and dashboards match on it, never on a message.

/** Whose fault it is: the client asked wrongly, the origin failed, the proxy failed, or the operator configured it so. */
export type ErrorSource = 'client' | 'upstream' | 'proxy' | 'operator';

export interface ErrorSpec {
  readonly source: ErrorSource;
  /** HTTP status of the refusal; absent where no client is involved (config, audit and store errors). */
  readonly status?: number;
  /** Proxy-Status error type, RFC 9209 §2.3; absent where the status line alone says it. */
  readonly proxyStatus?: string;
  /** What happened, in one sentence without values. */
  readonly title: string;
  /** The next thing to do; `{host}`, `{port}` and, as `sallyport explain` takes it, `{asked}` are filled in where a request is refused. */
  readonly hint: string;
}

const ASK = 'Run `sallyport explain {asked}` to see the nearest rule, then ask for that line in the policy.';
const RETRY = 'Retry later; if it lasts, the platform team sees the cause in the operational log.';
const SPELL = 'Send `CONNECT host:port HTTP/1.1` with an ASCII host name and a decimal port.';

/** Refusals and failures of a request. The keys are the `reason` and `outcome` codes of the audit log. */
// biome-ignore format: a table, one code a line
export const REQUEST_ERRORS = {
  // 400: what cannot be parsed is refused, and nothing is guessed.
  'authority-malformed': { source: 'client', status: 400, proxyStatus: 'http_request_error', title: 'The host or port asked for is malformed.', hint: SPELL },
  'target-malformed': { source: 'client', status: 400, proxyStatus: 'http_request_error', title: 'The request-target is not one that a forward proxy accepts.', hint: 'Use CONNECT host:port for TLS, or an absolute http:// URL for plain HTTP.' },
  'request-malformed': { source: 'client', status: 400, proxyStatus: 'http_request_error', title: 'The request is not well-formed HTTP/1.', hint: 'Send an HTTP/1.1 request; TLS or SOCKS to this port is not understood.' },
  'http-version': { source: 'client', status: 400, proxyStatus: 'http_request_error', title: 'Only HTTP/1.0 and HTTP/1.1 are spoken here.', hint: 'Let the client use HTTP/1.1 towards the proxy.' },
  'connect-with-body': { source: 'client', status: 400, proxyStatus: 'http_request_error', title: 'A CONNECT request must not announce a body.', hint: 'Remove Content-Length and Transfer-Encoding from the CONNECT request.' },
  'host-header': { source: 'client', status: 400, proxyStatus: 'http_request_error', title: 'The Host header is missing, doubled or malformed.', hint: 'Send exactly one Host header.' },
  'method-not-allowed': { source: 'client', status: 405, proxyStatus: 'http_request_error', title: 'This method is not forwarded.', hint: 'Methods are case-sensitive: write CONNECT, GET, POST in capitals.' },
  'authority-mismatch': { source: 'client', status: 421, proxyStatus: 'http_request_error', title: 'The request names another host than its connection was opened for.', hint: 'Open a connection of its own for each host; HTTP/2 connections are not shared here.' },
  'upload-budget': { source: 'client', status: 413, proxyStatus: 'http_request_error', title: 'This job has uploaded as much to this host as its rule lets it.', hint: 'Ask the owner of the rule to raise `max_upload_mb`.' },
  'head-timeout': { source: 'client', status: 408, proxyStatus: 'http_request_error', title: 'The request head did not arrive in time.', hint: 'Send the whole request head at once.' },
  'head-too-large': { source: 'client', status: 431, proxyStatus: 'http_request_error', title: 'The request head is larger than the limit.', hint: 'Send fewer or shorter headers; the operator may raise limits.head_bytes or limits.head_fields.' },
  'proxy-header-invalid': { source: 'client', status: 400, title: 'A load balancer opened a connection without a valid PROXY protocol header of version 2.', hint: 'Let it send version 2 on every connection (HAProxy: send-proxy-v2), or take its address out of proxy_protocol.from.' },
  // 403: the policy says no.
  'host-not-allowed': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The host is not on the allowlist.', hint: ASK },
  'host-denied': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'A deny rule names this host.', hint: 'A deny always wins; ask the owner of that line why it is there.' },
  'port-not-allowed': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The host is allowed, but not on this port.', hint: 'Ask for `ports: [{port}]` on the rule that allows {host}.' },
  'protocol-not-allowed': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The host is allowed, but not for this kind of request.', hint: 'CONNECT needs a rule with protocol tls, ssh or any; a plain http:// request needs protocol http or any.' },
  'rule-expired': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The rule that allowed this host has expired.', hint: 'Ask the owner of the rule to renew `expires`.' },
  'identity-not-allowed': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The host is allowed for others, not for this client.', hint: 'Ask for a rule whose `for:` selects this pipeline or queue.' },
  'path-not-allowed': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'This host is reachable only for its documented paths.', hint: 'Instance metadata passes only the tag paths that the agent documents; credentials never pass.' },
  'request-not-allowed': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The host is allowed, but not for this method and path.', hint: 'Run `sallyport explain https://{host}/PATH --method METHOD` to see the nearest line, then ask for one under the rule of {host}.' },
  'request-denied': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'A deny line under the rule of this host names this request.', hint: 'A deny always wins; ask the owner of that line why it is there.' },
  'request-ambiguous': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The request can be read in more than one way, so nobody can say whether it is allowed.', hint: 'Send the path without encoded slashes or dots, dot segments, doubled slashes and semicolons, and each key of the query once.' },
  'ip-literal-not-allowed': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'IP addresses are refused unless the policy lists that very address.', hint: 'Use the host name, or ask for a rule with `host: {host}`.' },
  'client-not-allowed': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'This client address may not use the proxy.', hint: 'The operator lists client networks in clients.from.' },
  'address-prohibited': { source: 'upstream', status: 403, proxyStatus: 'destination_ip_prohibited', title: 'The host resolves only to addresses that are not public.', hint: 'If it is an internal service, ask for `addresses: [CIDR]` on its rule.' },
  'metadata-prohibited': { source: 'upstream', status: 403, proxyStatus: 'destination_ip_prohibited', title: 'Instance metadata is not reached through a proxy: it would answer for the proxy, not for the client.', hint: 'Put the metadata addresses into NO_PROXY: `sallyport env` prints the line.' },
  'self-prohibited': { source: 'upstream', status: 403, proxyStatus: 'proxy_loop_detected', title: 'The destination is this proxy itself.', hint: 'Point the request at its real destination; a name that resolves to the proxy is a loop.' },
  // After 200: the tunnel is cut, the record says why.
  'sni-mismatch': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The TLS server name is not the host that was asked for.', hint: 'Let the client send the name of the CONNECT request as SNI, or ask for `protocol: any` on the rule.' },
  'sni-missing': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The TLS ClientHello carries no server name.', hint: 'Enable SNI in the client, or ask for `protocol: any` on the rule.' },
  'not-tls': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The tunnel does not start with a TLS ClientHello.', hint: 'Only TLS is tunnelled to this host; other protocols need `protocol: ssh` or `any` on the rule.' },
  'not-ssh': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The tunnel does not start with an SSH version line.', hint: 'Only SSH is tunnelled to this port; other protocols need `protocol: any` on the rule.' },
  'hello-timeout': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The first bytes of the tunnel did not arrive in time.', hint: 'The client opened a tunnel and stayed silent; see limits.hello_timeout_ms.' },
  'hello-too-large': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The TLS ClientHello is larger than the limit.', hint: 'See limits.hello_bytes.' },
  'client-rejected-ca': { source: 'client', status: 403, proxyStatus: 'tls_alert_received', title: 'The client does not trust the CA of inspection.', hint: 'Let the client trust the bundle (`sallyport env --for shell` and others), or take `inspect` off the rule where it pins the certificate of {host}.' },
  'client-tls': { source: 'client', status: 403, proxyStatus: 'tls_protocol_error', title: 'The TLS handshake of the client failed on an inspected connection.', hint: 'TLS 1.2 or 1.3 and a certificate of P-256 are spoken; the detail has what OpenSSL says.' },
  'hello-incomplete': { source: 'client', status: 403, proxyStatus: 'http_request_denied', title: 'The client closed before its first message was complete.', hint: 'Look at the client: it gave up during the TLS or SSH greeting.' },
  // 407: credentials are wanted.
  'credentials-required': { source: 'client', status: 407, title: 'A rule would allow this host, but it selects who asks, and no credentials were sent.', hint: 'Put the credentials into the proxy URL: http://NAME:PASSWORD@proxy:3128, or http://buildkite:TOKEN@proxy:3128 for a job.' },
  'credentials-malformed': { source: 'client', status: 407, title: 'The Proxy-Authorization header cannot be read.', hint: 'Use Basic credentials: http://PIPELINE%2FJOB:@proxy:3128.' },
  'credentials-invalid': { source: 'client', status: 407, title: 'The credentials are not valid.', hint: 'Check name and password; a pipeline and job are named without one: http://PIPELINE%2FJOB:@proxy:3128.' },
  'attempts-exceeded': { source: 'client', status: 407, title: 'Too many wrong passwords came from this address.', hint: 'Mend the credentials of whoever sends wrong ones from this address, and wait a minute; see limits.password_attempts_per_min.' },
  // 407: the token of a job, each fault by its own name; said only where it matters to whoever may know.
  'token-malformed': { source: 'client', status: 407, title: 'The password is not a token of a job.', hint: 'With the user name buildkite, the password is what `buildkite-agent oidc request-token` prints, unchanged.' },
  'token-algorithm': { source: 'client', status: 407, title: 'The token is signed in a way that is not accepted here.', hint: 'Tokens of Buildkite are signed with RS256; see oidc.algorithms.' },
  'token-key-unknown': { source: 'client', status: 407, title: 'The token is signed with a key that its issuer does not publish.', hint: 'Ask for a new token; where the keys come from a file, the operator must bring it up to date (oidc.jwks.file).' },
  'token-signature': { source: 'client', status: 407, title: 'The signature of the token is wrong.', hint: 'Send the token exactly as the agent printed it.' },
  'token-issuer': { source: 'client', status: 407, title: 'The token was issued by somebody else.', hint: 'Tokens of oidc.issuer are accepted, and no others.' },
  'token-audience': { source: 'client', status: 407, title: 'The token was made for another audience.', hint: 'Ask for it with the audience of this proxy: `buildkite-agent oidc request-token --audience`; see oidc.audience.' },
  'token-expired': { source: 'client', status: 407, title: 'The token has expired.', hint: 'Ask for it with a --lifetime of at least the time-out of the job.' },
  'token-not-yet-valid': { source: 'client', status: 407, title: 'The token is not valid yet.', hint: 'Compare the clocks: of this proxy and of the token issuer; see oidc.leeway_s.' },
  'token-organization': { source: 'client', status: 407, title: 'The token is of another organization.', hint: 'Every organization has the same issuer; those listed in oidc.organizations are accepted.' },
  'token-claims': { source: 'client', status: 407, title: 'The token does not say which job it is of.', hint: 'It must have the claims organization_slug, pipeline_slug, job_id, iat and exp, as those of buildkite-agent have.' },
  'token-source': { source: 'client', status: 407, title: 'The token is in use from another address.', hint: 'A token belongs to the first address that uses it; ask for one on each machine, or see oidc.bind_source.' },
  // The job API on http://sallyport.invalid; what is 407 above is 401 there.
  'job-path': { source: 'client', status: 404, title: 'The job API has no such address.', hint: 'Known are POST and DELETE http://sallyport.invalid/v1/jobs/JOB/lease and GET http://sallyport.invalid/v1/jobs/JOB/report.' },
  'job-method': { source: 'client', status: 405, title: 'The job API does not take this method there.', hint: 'A lease takes POST and DELETE, a report takes GET.' },
  'job-request': { source: 'client', status: 400, title: 'The request to the job API is not understood.', hint: 'Send no body, one Authorization header, and of parameters format=json or format=markdown, and wait_ms, to a report.' },
  'job-token-required': { source: 'client', status: 401, title: 'The job API wants the token of the job.', hint: 'Send `Authorization: Bearer TOKEN` with what `buildkite-agent oidc request-token` prints.' },
  'job-of-others': { source: 'client', status: 403, title: 'The token is of another job.', hint: 'A job asks for itself alone, by its own id.' },
  'job-api-off': { source: 'client', status: 404, title: 'This proxy takes no tokens of jobs, so it has no job API.', hint: 'The operator switches it on with `oidc` in the policy.' },
  // 502, 504: allowed, but the other side failed.
  'dns-failed': { source: 'upstream', status: 502, proxyStatus: 'dns_error', title: 'The host name could not be resolved.', hint: 'Check the spelling; then check the resolver that the proxy uses (`dns` in the config).' },
  'dns-timeout': { source: 'upstream', status: 504, proxyStatus: 'dns_timeout', title: 'The resolver did not answer in time.', hint: RETRY },
  'connect-refused': { source: 'upstream', status: 502, proxyStatus: 'connection_refused', title: 'The origin refused the connection.', hint: 'The origin is down or does not listen on port {port}.' },
  'connect-failed': { source: 'upstream', status: 502, proxyStatus: 'destination_ip_unroutable', title: 'The origin cannot be reached.', hint: 'Check the route from the proxy to the origin.' },
  'connect-timeout': { source: 'upstream', status: 504, proxyStatus: 'connection_timeout', title: 'The origin did not answer the connection in time.', hint: 'Check the route from the proxy to the origin; see limits.connect_timeout_ms.' },
  'upstream-certificate': { source: 'upstream', status: 502, proxyStatus: 'tls_certificate_error', title: 'The certificate of the origin is not valid for this host, or nobody who is trusted has issued it.', hint: 'Mend the certificate of the origin, or name who issues it as `upstream_ca` on the rule; it is never believed unverified.' },
  'upstream-tls': { source: 'upstream', status: 502, proxyStatus: 'tls_protocol_error', title: 'The TLS handshake with the origin failed.', hint: 'The origin must speak TLS 1.2 or 1.3; the detail has what OpenSSL says.' },
  'upstream-malformed': { source: 'upstream', status: 502, proxyStatus: 'http_protocol_error', title: 'The origin sent a response that is not well-formed HTTP/1.', hint: 'Look at the origin: its framing is ambiguous, so nothing of it was passed on.' },
  'response-too-large': { source: 'upstream', status: 502, proxyStatus: 'http_response_body_size', title: 'The response is larger than the rule of this host lets it be.', hint: 'Ask the owner of the rule to raise `max_response_mb`.' },
  'upstream-closed': { source: 'upstream', status: 502, proxyStatus: 'http_response_incomplete', title: 'The origin closed before its response was complete.', hint: RETRY },
  'upstream-timeout': { source: 'upstream', status: 504, proxyStatus: 'http_response_timeout', title: 'The origin did not send its response in time.', hint: RETRY },
  // 5xx: this proxy cannot serve now; nothing was let through.
  'audit-unavailable': { source: 'proxy', status: 503, proxyStatus: 'proxy_internal_error', title: 'The request cannot be recorded, so it is not let through.', hint: 'The platform team must mend the audit log (disk full, permissions); see `sallyport check`.' },
  'connections-full': { source: 'proxy', status: 503, proxyStatus: 'connection_limit_reached', title: 'The proxy holds as many connections as it may.', hint: RETRY },
  'tunnels-full': { source: 'proxy', status: 503, proxyStatus: 'connection_limit_reached', title: 'The proxy holds as many tunnels as it may.', hint: RETRY },
  'client-full': { source: 'client', status: 503, proxyStatus: 'connection_limit_reached', title: 'This client holds as many connections or tunnels as one client may.', hint: 'Close idle connections; see limits.client_connections_max and limits.client_tunnels_max.' },
  'inspection-unavailable': { source: 'proxy', status: 503, proxyStatus: 'proxy_internal_error', title: 'The rule wants this host inspected, and the proxy has no CA that may stand for it.', hint: 'The operator makes one for it: `sallyport ca init`, or `sallyport ca rotate` where the one there does not cover the host.' },
  'credentials-busy': { source: 'proxy', status: 503, proxyStatus: 'proxy_internal_error', title: 'Too many credentials are being verified; these were not looked at.', hint: RETRY },
  'token-keys-unavailable': { source: 'proxy', status: 503, proxyStatus: 'proxy_internal_error', title: "The token issuer's keys are not at hand, so the token was not looked at.", hint: 'The operational log says why they cannot be fetched; see oidc.jwks.' },
  'leases-full': { source: 'proxy', status: 503, proxyStatus: 'proxy_internal_error', title: 'As many jobs have a lease as may.', hint: 'Leases end with their tokens; see limits.leases_max. The token in the proxy URL works without a lease.' },
  'job-reports-full': { source: 'proxy', status: 503, proxyStatus: 'proxy_internal_error', title: 'As many reports are being made as may.', hint: RETRY },
  'job-report-unavailable': { source: 'proxy', status: 503, proxyStatus: 'proxy_internal_error', title: 'The report cannot be made now.', hint: 'The operational log has the cause; the usage store may be away. `sallyport report --job` reads it later.' },
  draining: { source: 'proxy', status: 503, proxyStatus: 'proxy_internal_error', title: 'The proxy is shutting down.', hint: RETRY },
  'internal-error': { source: 'proxy', status: 500, proxyStatus: 'proxy_internal_error', title: 'The proxy failed; nothing was let through.', hint: 'Report it with the request id; the operational log has the cause.' },
} as const satisfies Record<string, ErrorSpec>;

/** How a request ended where nothing failed, and how an open tunnel was cut: the other `outcome` codes. */
export const OUTCOMES = {
  closed: 'Both sides closed in order.',
  'client-reset': 'The client reset the connection.',
  'upstream-reset': 'The origin reset the connection.',
  'client-gone': 'The client left before the origin answered.',
  idle: 'No byte passed for limits.tunnel_idle_ms.',
  killed: 'An operator cut the tunnel.',
  'policy-changed': 'A reload refused what was let through before, and `on_reload` is `cut`.',
  drained: 'The proxy shut down while the tunnel was open.',
  interrupted: 'The proxy ended without recording the end; written at the next start.',
} as const;

/** Problems an operator meets: configuration, catalog, policy, audit log, store, command line. */
// biome-ignore format: a table, one code a line
export const OPERATOR_ERRORS = {
  'config-unreadable': { source: 'operator', title: 'The file cannot be read.', hint: 'Check the path and its permissions.' },
  'config-empty': { source: 'operator', title: 'The file is empty.', hint: '`sallyport init` writes a commented policy to start from.' },
  'config-too-large': { source: 'operator', title: 'The file is larger than the limit.', hint: 'Split the policy, or use wildcards.' },
  'config-syntax': { source: 'operator', title: 'The file is not valid YAML.', hint: 'Fix the line named; indentation is by spaces.' },
  'config-duplicate-key': { source: 'operator', title: 'A key stands twice.', hint: 'Remove one of the two.' },
  'config-unknown-key': { source: 'operator', title: 'The key is not known here.', hint: 'docs/configuration.md lists the keys.' },
  'config-missing-key': { source: 'operator', title: 'A required key is missing.', hint: 'docs/configuration.md lists the keys.' },
  'config-value': { source: 'operator', title: 'The value is not allowed here.', hint: 'docs/configuration.md lists the values.' },
  'config-pattern': { source: 'operator', title: 'The host pattern is not allowed.', hint: 'Write an exact host name, or *.domain for one or more labels below it.' },
  'config-cidr': { source: 'operator', title: 'The address range is malformed.', hint: 'Write an address and a prefix length: 10.0.0.0/8.' },
  'config-group': { source: 'operator', title: 'The catalog has no such group.', hint: '`sallyport catalog list` names the groups.' },
  'config-parameter': { source: 'operator', title: 'A parameter of the group is missing, unknown or malformed.', hint: '`sallyport catalog show GROUP` names its parameters.' },
  'config-limit': { source: 'operator', title: 'The limit is out of its range, or contradicts another.', hint: 'docs/configuration.md gives each limit, its default and its range.' },
  'config-conflict': { source: 'operator', title: 'Two settings contradict each other.', hint: 'Change one of the two.' },
  'config-ceiling': { source: 'operator', title: 'The rule is outside the ceiling: it grants what may not be granted.', hint: 'Take the rule out, or ask the owner of the ceiling for a line that covers it.' },
  'config-useless': { source: 'operator', title: 'The rule can have no effect.', hint: 'Remove it, or see what stands before it.' },
  // Findings of the policy lint: warnings, each acceptable on its line as `accept: [name without lint-]`.
  'lint-expired': { source: 'operator', title: 'The rule has expired and is inert.', hint: 'Remove it, or renew `expires`.' },
  'lint-duplicate': { source: 'operator', title: 'Another rule lets the same through, or denies the same.', hint: 'Remove one of the two.' },
  'lint-shadowed': { source: 'operator', title: 'The rule can never win: a deny or a rule before it always does.', hint: 'Remove it, or move it up.' },
  'lint-dead': { source: 'operator', title: 'The rule can never match.', hint: 'Remove it, or mend what it selects.' },
  'lint-wide-host': { source: 'operator', title: 'The wildcard covers the whole domain of somebody else.', hint: 'List the hosts that builds need; the catalog has groups.' },
  'lint-wide-addresses': { source: 'operator', title: 'The address ranges are so wide that the address guard guards nothing.', hint: 'List the ranges that the host really resolves into.' },
  'lint-wide-ports': { source: 'operator', title: 'The rule lists so many ports that it is as good as all.', hint: 'List the ports that builds need.' },
  'lint-wide-protocol': { source: 'operator', title: 'Nothing that is spoken on port 443 is checked.', hint: 'Remove `protocol`, so that the server name is checked.' },
  'lint-multi-tenant': { source: 'operator', title: 'Anyone may own a name under the wildcard.', hint: 'List the names that are yours.' },
  'lint-doh': { source: 'operator', title: 'The rule lets builds resolve names over HTTPS, past the log of names.', hint: 'Remove the host: the proxy resolves names.' },
  'lint-exfiltration': { source: 'operator', title: 'The rule lets builds reach a service that hands data to anyone.', hint: 'Remove the host, or deny it.' },
  'lint-metadata': { source: 'operator', title: 'Instance metadata is reachable through the proxy.', hint: 'Let agents reach it directly: `sallyport env` prints NO_PROXY.' },
  'lint-address-identity': { source: 'operator', title: 'A source address alone selects who may use the rule.', hint: 'An address proves a machine and every job on it; accept it where that is enough.' },
  'lint-loose-selector': { source: 'operator', title: 'Whom the rule is for depends on names that others can choose.', hint: 'Name the pipeline by `pipeline_id`, its UUID; accept it where whoever names pipelines or branches may have the rule.' },
  'lint-inspect-all': { source: 'operator', title: 'The rule is inspected and lets every request through.', hint: 'Write the paths that builds need, or take `inspect` off.' },
  'lint-accept': { source: 'operator', title: 'The rule accepts a finding that it does not have.', hint: 'Remove the name from `accept`.' },
  'bundle-invalid': { source: 'operator', title: 'The policy bundle cannot be taken.', hint: 'Make it anew: `sallyport bundle make DIR --key FILE`; `sallyport bundle verify` says what is wrong.' },
  'bundle-unreachable': { source: 'operator', title: 'The policy bundle cannot be fetched.', hint: 'Check the URL, the route to it, and its certificate.' },
  'grant-refused': { source: 'operator', title: 'The grant may not be given.', hint: 'Ask for less, or ask the owner of the ceiling for a line that covers it.' },
  'grant-unknown': { source: 'operator', title: 'No grant of that id stands.', hint: '`sallyport grants list` names them.' },
  'policy-test-failed': { source: 'operator', title: 'A test of the policy file fails.', hint: 'Change the rule or the test: `sallyport explain HOST` shows the decision.' },
  'catalog-invalid': { source: 'operator', title: 'The catalog is damaged.', hint: 'Reinstall the shipped catalog, or fix the file in catalog.d.' },
  'file-unwritable': { source: 'operator', title: 'The file cannot be written.', hint: 'Check the folder, its permissions and the free space.' },
  'catalog-required': { source: 'operator', title: 'A host that the newer catalog requires is not accepted.', hint: '`sallyport catalog diff` shows it; `sallyport catalog accept` lets it in.' },
  'catalog-pending': { source: 'operator', title: 'The newer catalog has changes that are not accepted.', hint: '`sallyport catalog diff` shows them; `sallyport catalog accept` takes them over.' },
  'signing-key': { source: 'operator', title: 'The file is no key that catalogs, policy bundles or audit checkpoints are signed with.', hint: 'Make one: openssl genpkey -algorithm ed25519 -out key.pem; its public half: openssl pkey -in key.pem -pubout.' },
  'catalog-unsigned': { source: 'operator', title: 'The catalog is not signed by a key that the policy file names.', hint: 'Name its public key under catalog.keys, or say with --digest which catalog was reviewed.' },
  'audit-unwritable': { source: 'operator', title: 'The audit log cannot be written.', hint: 'Check the directory, its permissions and the free space.' },
  'audit-damaged': { source: 'operator', title: 'A line of the audit log is damaged.', hint: '`sallyport audit verify` names the line; `sallyport audit repair` sets a broken tail aside.' },
  'audit-locked': { source: 'operator', title: 'Another process writes this audit log.', hint: 'Give each proxy an audit file of its own.' },
  'ship-failed': { source: 'operator', title: 'The second place of the audit log does not take what is shipped, or does not give it back.', hint: 'Nothing is lost: it stays in the log and is tried again. Check the place, the way to it and its answer; docs/audit-log.md says what it must allow.' },
  'ship-credentials': { source: 'operator', title: 'The second place of the audit log does not know who asks, or does not let them.', hint: 'Check the credentials, what they may do (docs/audit-log.md lists it), and the clock of this host.' },
  'ship-conflict': { source: 'operator', title: 'In the second place another file has the name of a segment of the audit log.', hint: 'Somebody has changed it, or another log has the same node name: look at both before anything is removed.' },
  'store-unreadable': { source: 'operator', title: 'The usage store cannot be opened.', hint: 'Check the path and its permissions; `sallyport report --log FILE` needs no store.' },
  'store-damaged': { source: 'operator', title: 'The usage store is damaged.', hint: '`sallyport usage rebuild` makes it anew from the audit log.' },
  'export-unwritable': { source: 'operator', title: 'The usage export cannot be written.', hint: 'Check the directory, its permissions and the free space.' },
  'export-invalid': { source: 'operator', title: 'The file is not a whole usage export.', hint: 'Write it again: `sallyport usage export FILE`.' },
  'flow-log-invalid': { source: 'operator', title: 'The file is no log of flows that is understood.', hint: 'docs/flow-logs.md shows the formats; name one with --format.' },
  'listen-failed': { source: 'operator', title: 'The address cannot be listened on.', hint: 'Another process has the port, or the address is not of this host.' },
  'engine-unavailable': { source: 'operator', title: 'The native engine was asked for and cannot be used here.', hint: 'Set `engine: auto` to go on with the JavaScript engine, which does the same with more CPU; or mend what the message names.' },
  'admin-token': { source: 'operator', title: 'The token file of the admin listener cannot be used.', hint: 'It must be a regular file of the user that runs the proxy, mode 0600. Remove it, and the next start writes a new one.' },
  'admin-unauthorized': { source: 'operator', title: 'The admin listener asks for its token.', hint: 'Send `Authorization: Bearer` with the text of the token file; docs/admin.md says where it is.' },
  'admin-origin': { source: 'operator', title: 'The request was made by another site, or for another host.', hint: 'Open the admin listener by its address, by localhost, or by a name of its certificate.' },
  'admin-request': { source: 'operator', title: 'The request to the admin listener is not understood.', hint: '/v1/openapi.json describes each request.' },
  'admin-not-found': { source: 'operator', title: 'The admin listener has nothing there.', hint: '/v1/openapi.json lists what it has.' },
  'admin-busy': { source: 'operator', title: 'The admin listener does as much at once as it may.', hint: 'Try it again in a moment; see the limits that begin with admin_.' },
  'admin-failed': { source: 'operator', title: 'The admin listener could not answer.', hint: 'The operational log of the proxy has the cause.' },
  'admin-unreachable': { source: 'operator', title: 'The admin listener of the proxy cannot be reached.', hint: 'Check that the proxy runs with this policy file on this host, and that `admin` has an address with a port there.' },
  'worker-failed': { source: 'operator', title: 'A worker did not become ready, so none serves.', hint: 'Mend what the worker itself has said before; `workers: 1` runs the proxy without workers.' },
  'upgrade-failed': { source: 'operator', title: 'The new process did not become ready; the old one goes on.', hint: 'Mend what the message names; the operational log has the whole of it.' },
  'upgrade-running': { source: 'operator', title: 'An upgrade is under way already, or the process is ending.', hint: 'Wait until it is over: the audit log and the operational log say how it ended.' },
  'upgrade-unsupported': { source: 'operator', title: 'This process cannot be replaced in place: its supervisor would take its end for the end of the service.', hint: 'Replace it by another instance and let this one drain; docs/operations.md says how.' },
  'proxy-not-found': { source: 'operator', title: 'No running proxy was found.', hint: 'It is found by the lock of its audit log: name the policy file that it runs with, on its host.' },
  'proxy-unset': { source: 'operator', title: 'No proxy is named.', hint: 'Give --proxy http://HOST:PORT, or set HTTPS_PROXY: `sallyport env` prints the line.' },
  'proxy-unreachable': { source: 'operator', title: 'The proxy cannot be reached, or does not speak HTTP.', hint: 'Check the proxy URL, and that this machine may reach it.' },
  'meta-unreachable': { source: 'operator', title: "Buildkite's Meta API could not be asked.", hint: 'Check the network, the proxy that is named, and that its policy allows the host.' },
  'meta-invalid': { source: 'operator', title: "The answer of Buildkite's Meta API is not a list that can be believed.", hint: 'Ask again later; if it lasts, look at the answer by hand before any rule is changed.' },
  'meta-cache': { source: 'operator', title: 'The file with the last answer cannot be used.', hint: 'Remove the file, or name another one with --cache; the next answer is then the first.' },
  'tunnel-refused': { source: 'operator', title: 'The proxy refused the tunnel.', hint: 'The status line says why; docs/errors.md explains its code.' },
  'tunnel-broken': { source: 'operator', title: 'The tunnel broke before both sides had ended.', hint: 'The record of the request says who ended it: look for its host in the audit log.' },
  'tls-invalid': { source: 'operator', title: 'A certificate of the proxy cannot be used.', hint: 'Name a certificate (with its chain) and its key as PEM files that the proxy may read.' },
  'inspection-ca': { source: 'operator', title: 'The CA of inspection cannot be used.', hint: '`sallyport ca show` says what is there; `sallyport ca init` makes one.' },
  'user-unknown': { source: 'operator', title: 'There is no such user.', hint: '`sallyport user list` names the users.' },
  'users-unwritable': { source: 'operator', title: 'The users file cannot be written.', hint: 'Check the folder, its permissions and the free space.' },
  usage: { source: 'operator', title: 'The command line is not understood.', hint: '`sallyport help` lists the commands.' },
  'node-version': { source: 'operator', title: 'This Node.js is too old.', hint: 'Use Node.js 24, the newest of it; docs/releases.md says which others are supported.' },
} as const satisfies Record<string, ErrorSpec>;

export type RequestErrorCode = keyof typeof REQUEST_ERRORS;
export type OperatorErrorCode = keyof typeof OPERATOR_ERRORS;
export type OutcomeCode = keyof typeof OUTCOMES;

/** A place in a text file; line and column count from 1. */
export interface SourcePlace {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One finding about something an operator wrote. `message` has the value and what is allowed; `hint` what to do. */
export interface Problem {
  readonly code: OperatorErrorCode;
  readonly severity: 'error' | 'warning';
  readonly at: SourcePlace | null;
  readonly message: string;
  readonly hint: string;
}

/** An operating error that a person meets: never shown as a stack trace. Programmer errors are plain `Error`s. */
export class SallyportError extends Error {
  readonly code: OperatorErrorCode;
  readonly hint: string;
  readonly problems: readonly Problem[];

  constructor(
    code: OperatorErrorCode,
    message: string,
    options: { hint?: string; problems?: readonly Problem[]; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SallyportError';
    this.code = code;
    this.hint = options.hint ?? OPERATOR_ERRORS[code].hint;
    this.problems = options.problems ?? [];
  }
}

/** The registry entry of a refusal, typed loosely so that optional fields can be read. */
export function requestError(code: RequestErrorCode): ErrorSpec {
  return REQUEST_ERRORS[code];
}

/** What the registry says to do about a refusal of this host and port; '' where the code is none: stores and logs hold any text. */
export function refusalHint(code: string, host: string, port: number): string {
  if (!Object.hasOwn(REQUEST_ERRORS, code)) return '';
  const { hint } = requestError(code as RequestErrorCode);
  return hint.replaceAll('{asked}', `${host}:${port}`).replaceAll('{host}', host).replaceAll('{port}', String(port));
}
