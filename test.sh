#!/bin/sh
# Set up as run.sh does, then lint, types and every test. Arguments go to pytest: ./test.sh tests/models -k weights
set -u
cd "$(dirname "$0")" || exit 1
. scripts/environment.sh

case "${1:-}" in
    -h|--help) say "usage: ./test.sh [pytest arguments]   lint, types and tests; without arguments all of them"; exit 0 ;;
esac

prepare test requirements.txt requirements-dev.txt requirements-oidc.txt requirements-cluster.txt || exit 1
export PATH="$PWD/.venv/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
status=0

if [ $# -eq 0 ]; then
    say "ruff ..."
    ruff check . || status=1
    say "mypy ..."
    mypy || status=1
fi

. scripts/browser.sh
if find_browser; then
    export CPD_BROWSER="$browser"
else
    say "No Chromium: none is installed and none could be fetched, so the browser test is left out."
    if [ "${CI:-}" = true ]; then
        say "CI must run it: install chromium, or let this run as root with apt."
        status=1
    fi
    set -- -m "not browser" "$@"
fi

# A worker that died is not replaced: the run could wait for it for ever. Two workers: torch is kept to one thread in each, so that they do not fight for the same cores.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"
say "pytest ..."
python -m pytest -q --durations=10 -n "${CPD_TEST_WORKERS:-2}" --dist loadfile --max-worker-restart 0 "$@" </dev/null || status=1
exit $status
