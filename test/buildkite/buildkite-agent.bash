#!/usr/bin/env bash
# A stand-in for the command buildkite-agent: it takes what the hooks may ask of it and nothing else, keeps what it was called with
# in AGENT_DIR, and fails as AGENT_FAIL says. Its annotations are files there, named by their context.
set -eu
printf '%s\n' "$*" >>"$AGENT_DIR/calls"

wrong() {
  printf 'stand-in: %s\n' "$1" | tee -a "$AGENT_DIR/wrong" >&2
  exit 64
}

case "${1:-} ${2:-}" in
'oidc request-token')
  if [ -z "${HTTPS_PROXY:-}" ]; then wrong 'the Agent API is behind the proxy'; fi
  shift 2
  if [ "${1:-}" != --audience ] || [ -z "${2:-}" ]; then wrong 'an audience comes first'; fi
  shift 2
  if [ "$#" -gt 0 ]; then
    if [ "$#" -ne 4 ] || [ "$1" != --lifetime ] || [ "$3" != --claim ]; then wrong "unknown: $*"; fi
    case "$2" in '' | *[!0-9]*) wrong "the lifetime is $2" ;; esac
    case "${AGENT_FAIL:-}" in lifetime) printf 'fatal: lifetime too long\n' >&2 && exit 1 ;; esac
  fi
  case "${AGENT_FAIL:-}" in
  token) printf 'fatal: \033[31mnot allowed\n' >&2 && exit 1 ;;
  garbage) printf 'warning: "x" \\ \n' ;;
  *) if [ -n "${AGENT_TOKEN:-}" ]; then printf '%s\n' "$AGENT_TOKEN" && exit 0; fi
    printf 'head.%s.tail\n' "$(wc -l <"$AGENT_DIR/calls" | tr -d ' ')" ;;
  esac
  ;;
'annotate --context')
  case "${3:-}" in sallyport | sallyport-*) ;; *) wrong "the context is ${3:-}" ;; esac
  [ "${4:-}" = --style ] || wrong 'a style follows'
  case "${5:-}" in success | info | warning | error) ;; *) wrong "the style is ${5:-}" ;; esac
  case "$*" in *' --append') ;; *) [ "$#" -eq 5 ] || wrong "unknown: $*" ;; esac
  case "${AGENT_FAIL:-}" in annotate) printf 'fatal: unauthorized\n' >&2 && exit 1 ;; esac
  cat >"$AGENT_DIR/incoming"
  if [ "${6:-}" = --append ]; then cat "$AGENT_DIR/incoming" >>"$AGENT_DIR/$3"; else cp "$AGENT_DIR/incoming" "$AGENT_DIR/$3"; fi
  printf '%s\n' "$5" >"$AGENT_DIR/$3.style"
  ;;
'annotation remove')
  if [ "${3:-}" != --context ] || [ "$#" -ne 4 ]; then wrong "unknown: $*"; fi
  rm -f "$AGENT_DIR/$4" "$AGENT_DIR/$4.style"
  ;;
*) wrong "unknown: $*" ;;
esac
