# shellcheck shell=bash
# The pre-bootstrap check: a job whose own environment points its tools at another proxy, or past this one, is warned of or refused.
# It runs in the agent's environment, before anything of the job does; the job's is in the file $BUILDKITE_ENV_FILE.

# What a pipeline has no business to set; npm and git have spellings of their own.
SALLYPORT_GUARDED='https?_proxy|all_proxy|no_proxy|npm_config_(https?_)?proxy|npm_config_noproxy|yarn_https?_proxy|git_proxy_command|sallyport_[a-z_]+|buildkite_plugin_sallyport_[a-z_]+'

# Names of guarded variables that the job sets to something else than the agent has, one a line.
sallyport_overrides() {
  local line name value
  while IFS= read -r line || [ -n "$line" ]; do
    name=${line%%=*}
    value=${line#*=}
    # Newer agents quote the values.
    value=${value#\"}
    value=${value%\"}
    if printf '%s\n' "$name" | grep -qiE "^($SALLYPORT_GUARDED)\$"; then
      if [ "$value" != "${!name:-}" ]; then printf '%s\n' "$name"; fi
    elif printf '%s\n' "$name" | grep -qE '^(JAVA_TOOL_OPTIONS|MAVEN_OPTS|GRADLE_OPTS|NODE_OPTIONS|GIT_SSH_COMMAND)$'; then
      case "$value" in *[pP]roxy*) printf '%s\n' "$name" ;; esac
    fi
  done <"$1"
}

# sallyport_pre_bootstrap HOME
sallyport_pre_bootstrap() {
  local found
  sallyport_settings "$1"
  if [ ! -r "${BUILDKITE_ENV_FILE:-}" ]; then
    sallyport_say 'BUILDKITE_ENV_FILE cannot be read: the environment of the job is not checked'
    if [ "$SALLYPORT_OVERRIDE" = refuse ]; then return 1; fi
    return 0
  fi
  found=$(sallyport_overrides "$BUILDKITE_ENV_FILE" | sort -u | tr '\n' ' ')
  if [ -z "$found" ]; then return 0; fi
  if [ "$SALLYPORT_OVERRIDE" = refuse ]; then
    sallyport_say "the job is refused: its environment sets ${found}(SALLYPORT_OVERRIDE=refuse); take them out of the pipeline"
    return 1
  fi
  sallyport_say "the environment of the job sets ${found}itself: its tools may go around the proxy, or nowhere"
  return 0
}
