# shellcheck shell=bash
# What the hooks share: settings, messages, the state of this job on this host, and one HTTP exchange with the job API.
# Sourced into the agent's hook shell: it sets no shell options, changes no directory and never exits by itself.
# Bash 3.2 (macOS) and later; needs curl.

SALLYPORT_API=http://sallyport.invalid/v1/jobs
# Buildkite refuses an annotation of more than 1 MiB; ours is one of several in it.
# shellcheck disable=SC2034 # report.bash and watch.bash read it
SALLYPORT_ANNOTATION_BYTES=200000

# Settings, the last one wins: the job's environment, the options of the plugin, then the file of whoever owns the host.
# A job cannot change what the file says.
sallyport_settings() {
  local home=$1 name
  for name in PROXY PROXY_CA NO_PROXY AUDIENCE CLAIMS IDENTITY LEASE_SECONDS REQUIRED ANNOTATE WATCH OVERRIDE SSH DOCKER_CONFIG; do
    local option="BUILDKITE_PLUGIN_SALLYPORT_${name}"
    if [ -n "${!option:-}" ]; then printf -v "SALLYPORT_${name}" '%s' "${!option}"; fi
  done
  # shellcheck source=/dev/null
  if [ -r "$home/sallyport.conf" ]; then . "$home/sallyport.conf"; fi
  SALLYPORT_PROXY=${SALLYPORT_PROXY:-${HTTPS_PROXY:-${https_proxy:-}}}
  SALLYPORT_AUDIENCE=${SALLYPORT_AUDIENCE:-sallyport}
  SALLYPORT_CLAIMS=${SALLYPORT_CLAIMS:-pipeline_id,cluster_id,agent_tag:queue}
  SALLYPORT_IDENTITY=${SALLYPORT_IDENTITY:-lease}
  SALLYPORT_LEASE_SECONDS=${SALLYPORT_LEASE_SECONDS:-14400}
  SALLYPORT_ANNOTATE=${SALLYPORT_ANNOTATE:-refused}
  SALLYPORT_OVERRIDE=${SALLYPORT_OVERRIDE:-warn}
}

sallyport_is_on() {
  case "${1:-}" in 1 | true | yes | on) return 0 ;; *) return 1 ;; esac
}

# One line in the log of the job. Parts of it may come from elsewhere: control characters go, and so does what is too long.
sallyport_say() {
  printf 'sallyport: %s\n' "$(printf '%s' "$*" | LC_ALL=C tr '\000-\037\177' ' ' | cut -c 1-600)" >&2
}

sallyport_has() {
  command -v "$1" >/dev/null 2>&1
}

# The folder of this job, which only its user can read: the token and the lease are in it. Prints it; fails where there is none.
sallyport_state() {
  local dir="${TMPDIR:-/tmp}/sallyport-${BUILDKITE_JOB_ID:-none}"
  case "${BUILDKITE_JOB_ID:-}" in '' | *[!A-Za-z0-9-]*) return 1 ;; esac
  if [ ! -d "$dir" ]; then (umask 077 && mkdir "$dir") 2>/dev/null || return 1; fi
  # Somebody else may have been first in a folder that everybody writes to.
  if [ -L "$dir" ] || [ ! -O "$dir" ]; then return 1; fi
  printf '%s\n' "$dir"
}

# sallyport_api STATE METHOD PATH [curl options]: the answer's status goes to STATE/status, its body to STATE/body.
# The token goes in by standard input: arguments stand in the process list. Fails where there was no answer.
sallyport_api() {
  local state=$1 method=$2 path=$3
  shift 3
  local ca=()
  if [ -n "${SALLYPORT_PROXY_CA:-}" ]; then ca=(--proxy-cacert "$SALLYPORT_PROXY_CA"); fi
  : >"$state/body"
  # NO_PROXY and .curlrc of the job do not count here: the name exists only behind the proxy.
  printf 'header = "Authorization: Bearer %s"\n' "$(cat "$state/token")" |
    curl --disable --config - --silent --show-error --noproxy '' --proxy "$SALLYPORT_PROXY" ${ca[@]+"${ca[@]}"} \
      --connect-timeout 5 --max-time 20 --request "$method" --output "$state/body" --write-out '%{http_code}' \
      --max-filesize 2000000 "$@" "$SALLYPORT_API/$BUILDKITE_JOB_ID/$path" >"$state/status" 2>"$state/error"
}

# What the job API said, in one line: its status, and the first lines of its body.
sallyport_said() {
  local state=$1
  if [ -s "$state/error" ]; then
    head -n 1 "$state/error"
    return
  fi
  printf 'status %s: %s\n' "$(cat "$state/status")" "$(head -c 400 "$state/body" | tr '\n' ' ')"
}

# sallyport_field FILE NAME: the value of a field of the outermost object, as text; the items of a list joined with commas; '' where
# there is none. Not every host has jq, and a field of the same name may stand deeper.
sallyport_field() {
  head -c 300000 "$1" | LC_ALL=C awk -v want="$2" '
    { text = text $0 "\n" }
    END {
      length_of = length(text)
      for (at = 1; at <= length_of; at++) {
        c = substr(text, at, 1)
        if (quoted) {
          if (c == "\\") { item = item substr(text, ++at, 1) }
          else if (c != "\"") { item = item c }
          else {
            quoted = 0
            if (depth == 1 && !after) key = item
            else if (key == want && depth <= 2) { value = value (some++ ? "," : "") item }
          }
        }
        else if (c == "\"") { quoted = 1; item = "" }
        else if (c == "{" || c == "[") depth++
        else if (c == "}" || c == "]") { if (--depth == 0) break }
        else if (depth == 1 && c == ":") after = 1
        else if (depth == 1 && c == ",") { if (key == want) break; after = 0 }
        else if (depth == 1 && after && key == want && c !~ /[ \t\r\n]/) value = value c
      }
      if (key == want) print value
    }'
}

# A new token of the job into STATE/token, for so many seconds. An older agent knows no claims, and a lifetime may be more than is
# allowed: then the token is what can be had.
sallyport_token() {
  local state=$1 seconds=$2 token
  if ! token=$(buildkite-agent oidc request-token --audience "$SALLYPORT_AUDIENCE" --lifetime "$seconds" \
    --claim "$SALLYPORT_CLAIMS" 2>"$state/error"); then
    token=$(buildkite-agent oidc request-token --audience "$SALLYPORT_AUDIENCE" 2>"$state/error") || return 1
  fi
  : >"$state/error"
  case "$token" in
    '' | *[!A-Za-z0-9._-]*)
      echo 'buildkite-agent printed something that is no token' >"$state/error"
      return 1
      ;;
  esac
  (umask 077 && printf '%s' "$token" >"$state/token.new") && mv -f "$state/token.new" "$state/token"
}

# Posts the lease. Posting it again is no harm, and with a newer token it lasts longer.
sallyport_lease() {
  local state=$1
  sallyport_api "$state" POST lease --retry 2 --retry-connrefused || return 1
  case "$(cat "$state/status")" in
    200 | 201) cp "$state/body" "$state/lease" ;;
    *) return 1 ;;
  esac
}
