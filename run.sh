#!/bin/sh
# Start CPD Studio: make its environment where needed, start the app on this machine, print its address.
set -u
cd "$(dirname "$0")" || exit 1
. scripts/environment.sh

usage() {
    cat <<'TEXT'
usage: ./run.sh [--port N] [--share oidc|proxy] [--check]

  --port N   the port on 127.0.0.1; without it the first free one from 8501 on
  --share M  let others in: M is oidc (they sign in with your provider) or proxy (a proxy says who they are);
             workspace/sharing.toml says who may do what, docs/sharing.md how to write it
  --check    set up, start the app, prove that it answers, stop it, and exit 0
  -h         this help

Needs Python 3.11 or newer, or uv. Everything is installed into .venv beside this file; the second start needs no network.
Stop the app with Ctrl+C: runs that are under way go on.
TEXT
}

port="" check="" share=""
while [ $# -gt 0 ]; do
    case "$1" in
        --port) port=${2:-}; [ -n "$port" ] || { say "--port needs a number."; exit 2; }; shift ;;
        --port=*) port=${1#--port=} ;;
        --share) share=${2:-}; [ -n "$share" ] || { say "--share needs oidc or proxy."; exit 2; }; shift ;;
        --share=*) share=${1#--share=} ;;
        --check) check=1 ;;
        -h|--help) usage; exit 0 ;;
        *) say "unknown option $1; see ./run.sh --help."; exit 2 ;;
    esac
    shift
done
case "$port" in *[!0-9]*) say "port $port is not a number."; exit 2 ;; esac

case "$share" in ""|oidc|proxy) ;; *) say "--share $share: choose oidc or proxy."; exit 2 ;; esac

prepare run requirements.txt || exit 1
[ "$share" != oidc ] || prepare oidc requirements-oidc.txt || exit 1
port=$(.venv/bin/python scripts/free_port.py $port) || exit 2
if [ -n "$check" ]; then exec .venv/bin/python scripts/check_app.py "$port"; fi
exec .venv/bin/python -m app.serve --port "$port" ${share:+--share "$share"}
