#!/usr/bin/env bash
# The watcher of one job, started by the environment hook: annotates the build at the job's first refusal, within ten seconds,
# and posts the lease again before it ends. It ends when the job does, at the latest when the hook's parent is gone.
# watch.bash STATE PARENT-PID
set -u

state=$1
parent=$2
# shellcheck source-path=SCRIPTDIR source=common.bash
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

POLL_S=${SALLYPORT_POLL_S:-5}
# A lease is posted again when so much of it is left.
RENEW_S=${SALLYPORT_RENEW_S:-180}
# A proxy without a job API, or one that is gone, is asked so often and no more.
FAILURES_MAX=30

# Its answers have a folder of their own, so that pre-exit and the watcher do not write into each other's.
work="$state/watch"

# Annotates at the first refusal. Fails where the proxy or the agent did.
announce() {
  local denied
  sallyport_api "$work" GET 'report?format=json' || return 1
  if [ "$(cat "$work/status")" != 200 ]; then return 1; fi
  denied=$(sallyport_field "$work/body" denied)
  case "$denied" in '' | 0 | *[!0-9]*) return 0 ;; esac
  sallyport_api "$work" GET 'report?format=markdown' || return 1
  if [ "$(cat "$work/status")" != 200 ]; then return 1; fi
  {
    printf 'The egress proxy has refused requests of [this job](#%s), which is still running.\n\n' "$BUILDKITE_JOB_ID"
    head -c "$SALLYPORT_ANNOTATION_BYTES" "$work/body"
  } | buildkite-agent annotate --context "sallyport-$BUILDKITE_JOB_ID" --style warning >/dev/null || return 1
  : >"$state/announced"
}

renew() {
  local ends
  ends=$(sallyport_seconds "$(sallyport_field "$work/lease" expires_at)") || return 0
  if [ $((ends - $(date +%s))) -gt "$RENEW_S" ]; then return 0; fi
  if sallyport_token "$work" "$SALLYPORT_LEASE_SECONDS" && sallyport_lease "$work"; then
    (umask 077 && cp "$work/token" "$state/token.new") && mv -f "$state/token.new" "$state/token"
  fi
}

# An ISO 8601 moment in UTC as seconds since the epoch, by GNU or BSD date.
sallyport_seconds() {
  local text=${1%%.*}
  text=${text%Z}
  if [ -z "$text" ]; then return 1; fi
  date -u -d "${text}Z" +%s 2>/dev/null || date -u -j -f '%Y-%m-%dT%H:%M:%S' "$text" +%s 2>/dev/null
}

mkdir -p "$work" && (umask 077 && cp "$state/token" "$state/lease" "$work/") || exit 0
failures=0
while kill -0 "$parent" 2>/dev/null && [ -d "$work" ]; do
  if [ ! -e "$state/announced" ] && [ "$failures" -lt "$FAILURES_MAX" ]; then
    if announce; then failures=0; else failures=$((failures + 1)); fi
  fi
  renew
  sleep "$POLL_S"
done
