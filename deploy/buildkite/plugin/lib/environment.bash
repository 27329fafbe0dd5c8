# shellcheck shell=bash
# The environment hook: makes the tools of the job use the proxy, and tells the proxy which job this host's connections are.
# It never fails a job because of itself, unless SALLYPORT_REQUIRED says so.

# Loopback, and the addresses of instance metadata: through a proxy they would answer for the proxy. Each literally, because
# tools disagree about ranges. A test holds the list equal to the one of `sallyport env`.
SALLYPORT_NEVER_PROXY=localhost,127.0.0.1,::1,169.254.169.254,metadata.google.internal,169.254.170.2,169.254.170.23,fd00:ec2::254,168.63.129.16

# Host and port of the proxy without scheme, credentials and path.
sallyport_place() {
  local place=${1#*://}
  place=${place##*@}
  printf '%s\n' "${place%%/*}"
}

# Hosts that go around the proxy.
sallyport_exceptions() {
  local host
  host=$(sallyport_place "$SALLYPORT_PROXY")
  case "$host" in *:*) host=${host%:*} ;; esac
  printf '%s\n' "$SALLYPORT_NEVER_PROXY,${host//[\[\]]/}${SALLYPORT_NO_PROXY:+,$SALLYPORT_NO_PROXY}"
}

# sallyport_proxy URL: the variables in both cases: curl reads only http_proxy, others only HTTP_PROXY.
sallyport_proxy() {
  local exceptions
  exceptions=$(sallyport_exceptions)
  export HTTP_PROXY=$1 HTTPS_PROXY=$1 NO_PROXY=$exceptions
  export http_proxy=$1 https_proxy=$1 no_proxy=$exceptions
}

# sallyport_tools URL: what the variables do not reach.
sallyport_tools() {
  local url=$1 place host port
  place=$(sallyport_place "$url")
  host=${place%:*}
  port=${place##*:}
  if [ "$host" = "$place" ]; then port=80; fi
  # A .npmrc would win over the variables, and these win over it. pip has no key that would respect NO_PROXY.
  export npm_config_proxy=$url npm_config_https_proxy=$url npm_config_noproxy=$NO_PROXY
  export YARN_HTTP_PROXY=$url YARN_HTTPS_PROXY=$url
  # fetch() of Node 22.21, 24 and later reads the variables only when told.
  export NODE_USE_ENV_PROXY=1
  sallyport_java "$host" "$port" "$NO_PROXY"
  sallyport_git
  sallyport_docker "$url" "$NO_PROXY"
}

# Java reads no variables but this one; it reaches Gradle and Maven daemons too. Lists are separated by |, IPv6 has brackets.
sallyport_java() {
  local host=$1 port=$2 entry list=
  case "${JAVA_TOOL_OPTIONS:-}" in *https.proxyHost=*) return 0 ;; esac
  local IFS=,
  for entry in $3; do
    case "$entry" in *:*) entry="[$entry]" ;; .*) entry="*$entry" ;; esac
    list="$list${list:+|}$entry"
  done
  export JAVA_TOOL_OPTIONS="${JAVA_TOOL_OPTIONS:+$JAVA_TOOL_OPTIONS }-Dhttp.proxyHost=$host -Dhttp.proxyPort=$port -Dhttps.proxyHost=$host -Dhttps.proxyPort=$port -Dhttp.nonProxyHosts=$list"
}

# git takes http.proxy of its configuration before the variables, and answers a 407 only with a method that it was told.
sallyport_git() {
  local at=${GIT_CONFIG_COUNT:-0}
  case "$at" in '' | *[!0-9]*) return 0 ;; esac
  printf -v "GIT_CONFIG_KEY_$at" '%s' http.proxyAuthMethod
  printf -v "GIT_CONFIG_VALUE_$at" '%s' basic
  export "GIT_CONFIG_KEY_$at" "GIT_CONFIG_VALUE_$at"
  export GIT_CONFIG_COUNT=$((at + 1))
  if sallyport_is_on "${SALLYPORT_SSH:-}" && [ -z "${GIT_SSH_COMMAND:-}" ]; then
    if sallyport_has sallyport; then
      export GIT_SSH_COMMAND="ssh -o ProxyCommand='sallyport connect %h %p'"
    else
      sallyport_say 'ssh is on, but the command sallyport is not on the path: git over ssh goes around the proxy'
    fi
  fi
}

# Containers and builds take the proxy from the client's configuration. A file that is there is somebody's: it is not touched.
sallyport_docker() {
  local url=$1 exceptions=$2 file="${DOCKER_CONFIG:-${HOME:-/nonexistent}/.docker}/config.json"
  if ! sallyport_has docker; then return 0; fi
  if [ -e "$file" ]; then
    if ! grep -q '"proxies"' "$file" 2>/dev/null; then
      sallyport_say "$file has no proxies: containers go around the proxy (sallyport env --for docker prints the lines)"
    fi
  elif sallyport_is_on "${SALLYPORT_DOCKER_CONFIG:-}"; then
    mkdir -p "${file%/*}" && (umask 077 && printf '{"proxies":{"default":{"httpProxy":"%s","httpsProxy":"%s","noProxy":"%s"}}}\n' \
      "$url" "$url" "$exceptions" >"$file")
  fi
}

# Seconds that the token should live: the job's timeout, which BUILDKITE_TIMEOUT gives in minutes or as false, and some more.
sallyport_lifetime() {
  case "${BUILDKITE_TIMEOUT:-}" in
    '' | *[!0-9]* | 0) printf '%s\n' "$SALLYPORT_LEASE_SECONDS" ;;
    *) printf '%s\n' $((BUILDKITE_TIMEOUT * 60 + 300)) ;;
  esac
}

# The lease, and the watcher. Fails with a message.
sallyport_identify() {
  local home=$1 state lifetime shared
  if ! sallyport_has curl; then sallyport_say 'curl is not there: no lease, no report'; return 1; fi
  if ! sallyport_has buildkite-agent; then sallyport_say 'buildkite-agent is not on the path: no lease, no report'; return 1; fi
  if ! state=$(sallyport_state); then sallyport_say "no folder of one's own in ${TMPDIR:-/tmp}: no lease, no report"; return 1; fi
  lifetime=$(sallyport_lifetime)
  if ! sallyport_token "$state" "$lifetime"; then
    sallyport_say "no OIDC token for audience $SALLYPORT_AUDIENCE: $(head -n 1 "$state/error")"
    return 1
  fi
  if ! sallyport_lease "$state"; then
    sallyport_say "no lease from $(sallyport_place "$SALLYPORT_PROXY"): $(sallyport_said "$state")"
    return 1
  fi
  shared=$(sallyport_field "$state/lease" shared)
  if [ "$shared" = true ]; then
    sallyport_say "this address is shared with jobs $(sallyport_field "$state/lease" candidates): without credentials what every client may reach counts"
  fi
  sallyport_say "connections of this host are job $BUILDKITE_JOB_ID until $(sallyport_field "$state/lease" expires_at)"
  sallyport_watch "$home" "$state"
}

# The watcher has none of the hook's streams, or the agent would wait for it; it ends with the job, by pre-exit or by itself.
sallyport_watch() {
  local home=$1 state=$2
  case "${SALLYPORT_WATCH:-on}" in off | 0 | false | no) return 0 ;; esac
  export SALLYPORT_PROXY SALLYPORT_PROXY_CA SALLYPORT_AUDIENCE SALLYPORT_CLAIMS SALLYPORT_LEASE_SECONDS
  nohup bash "$home/lib/watch.bash" "$state" "$PPID" </dev/null >/dev/null 2>"$state/watch.log" &
  printf '%s\n' "$!" >"$state/watcher"
  disown 2>/dev/null || true
}

# The proxy's URL with who asks, where the tools are to say it themselves. Claims are good for reports and prove nothing. A token is
# for hosts on which several jobs run: their leases cancel each other, and tools that send credentials still are the job.
sallyport_url() {
  local user='' state
  case "$SALLYPORT_IDENTITY" in
    claim) user="${BUILDKITE_PIPELINE_SLUG:-}%2F${BUILDKITE_JOB_ID:-}:@" ;;
    token) if state=$(sallyport_state) && [ -s "$state/lease" ]; then user="buildkite:$(cat "$state/token")@"; fi ;;
  esac
  if [ -z "$user" ]; then
    printf '%s\n' "$SALLYPORT_PROXY"
  else
    printf '%s://%s%s\n' "${SALLYPORT_PROXY%%://*}" "$user" "$(sallyport_place "$SALLYPORT_PROXY")"
  fi
}

# sallyport_environment HOME
sallyport_environment() {
  local home=$1
  sallyport_settings "$home"
  # The host's hook and the plugin may both be there: the first one has done it.
  if [ "${SALLYPORT_ACTIVE:-}" = "${BUILDKITE_JOB_ID:-none}" ]; then return 0; fi
  if [ -z "$SALLYPORT_PROXY" ]; then
    sallyport_say 'SALLYPORT_PROXY is not set: nothing is done'
    if sallyport_is_on "${SALLYPORT_REQUIRED:-}"; then return 1; fi
    return 0
  fi
  export SALLYPORT_ACTIVE=${BUILDKITE_JOB_ID:-none}
  # The agent's commands need the proxy too: in a container nobody else has set it.
  sallyport_proxy "$SALLYPORT_PROXY"
  case "$SALLYPORT_IDENTITY" in
    lease | token)
      if ! sallyport_identify "$home"; then
        if sallyport_is_on "${SALLYPORT_REQUIRED:-}"; then
          sallyport_say 'SALLYPORT_REQUIRED is on: the job does not go on without a lease'
          return 1
        fi
        sallyport_say 'the job goes on without a lease: it gets what every client may reach'
      fi
      ;;
  esac
  local url
  url=$(sallyport_url)
  sallyport_proxy "$url"
  sallyport_tools "$url"
}
