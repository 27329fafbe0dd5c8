# shellcheck shell=bash
# The pre-exit hook: the job's report as an annotation of its build, then the end of the lease. It always succeeds.

# sallyport_style DENIED WOULD-DENY MISSING: what the annotation looks like.
sallyport_style() {
  if [ "$1" -gt 0 ] && [ "${BUILDKITE_COMMAND_EXIT_STATUS:-0}" != 0 ]; then
    printf 'error\n'
  elif [ "$1" -gt 0 ] || [ -n "$3" ]; then
    printf 'warning\n'
  elif [ "$2" -gt 0 ]; then
    printf 'info\n'
  else
    printf 'success\n'
  fi
}

# A count as digits, 0 where it is anything else.
sallyport_count() {
  case "${1:-}" in '' | *[!0-9]*) printf '0\n' ;; *) printf '%s\n' "$1" ;; esac
}

# The label of the step in a link; whoever wrote the pipeline chose it.
sallyport_label() {
  local label
  label=$(printf '%s' "${BUILDKITE_LABEL:-job}" | LC_ALL=C tr -cd 'A-Za-z0-9 ._:/-' | cut -c 1-100)
  printf '%s\n' "${label:-job}"
}

# sallyport_annotate STATE DENIED WOULD-DENY MISSING
sallyport_annotate() {
  local state=$1
  sallyport_api "$state" GET 'report?format=markdown&wait_ms=5000' || return 1
  if [ "$(cat "$state/status")" != 200 ]; then return 1; fi
  {
    printf '#### Egress of [%s](#%s)\n\n' "$(sallyport_label)" "$BUILDKITE_JOB_ID"
    head -c "$SALLYPORT_ANNOTATION_BYTES" "$state/body"
    printf '\n'
  } >"$state/annotation"
  # One annotation for the build; each job adds to it.
  buildkite-agent annotate --context sallyport --style "$(sallyport_style "$2" "$3" "$4")" --append \
    <"$state/annotation" >/dev/null 2>"$state/error"
}

sallyport_report() {
  local state=$1 denied would missing
  # The proxy waits so long for the other nodes that write into the same store.
  if ! sallyport_api "$state" GET 'report?format=json&wait_ms=5000' || [ "$(cat "$state/status")" != 200 ]; then
    sallyport_say "no report: $(sallyport_said "$state")"
    return 1
  fi
  denied=$(sallyport_count "$(sallyport_field "$state/body" denied)")
  would=$(sallyport_count "$(sallyport_field "$state/body" would_deny)")
  missing=$(sallyport_field "$state/body" missing_nodes)
  sallyport_say "$denied refused, $would would be refused${missing:+; no records yet from $missing}"
  case "$SALLYPORT_ANNOTATE" in
    never) return 0 ;;
    always) ;;
    *) if [ "$denied" -eq 0 ] && [ "$would" -eq 0 ] && [ -z "$missing" ]; then return 0; fi ;;
  esac
  if ! sallyport_annotate "$state" "$denied" "$would" "$missing"; then
    sallyport_say "the report could not be annotated: $(sallyport_said "$state")"
    return 1
  fi
  if [ -e "$state/announced" ]; then
    buildkite-agent annotation remove --context "sallyport-$BUILDKITE_JOB_ID" >/dev/null 2>&1 || true
  fi
}

sallyport_stop_watcher() {
  local pid
  pid=$(cat "$1/watcher" 2>/dev/null) || return 0
  case "$pid" in '' | *[!0-9]*) return 0 ;; esac
  # The number may have gone to another process: only one that runs the watcher of this job is ended.
  case "$(ps -o args= -p "$pid" 2>/dev/null)" in *watch.bash*"$1"*) kill "$pid" 2>/dev/null ;; esac
  return 0
}

# sallyport_pre_exit HOME
sallyport_pre_exit() {
  local state
  sallyport_settings "$1"
  if [ -z "$SALLYPORT_PROXY" ]; then return 0; fi
  # Of the host's hook and the plugin's, the first one has done it.
  state="${TMPDIR:-/tmp}/sallyport-${BUILDKITE_JOB_ID:-none}"
  if [ ! -d "$state" ] || ! state=$(sallyport_state); then return 0; fi
  sallyport_stop_watcher "$state"
  if [ -s "$state/lease" ]; then
    sallyport_report "$state" || true
    sallyport_api "$state" DELETE lease || true
  fi
  rm -rf "$state"
  return 0
}
