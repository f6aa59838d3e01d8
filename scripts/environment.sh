# Sourced by run.sh and test.sh, from the project's root: `prepare FILE...` makes .venv hold those requirement files.
# Everything it says goes to stderr, so that stdout stays the caller's.

say() { printf '%s\n' "$*" >&2; }

# Seconds that torch's own CPU index may keep uv waiting before the machine's configured index is used instead.
: "${CPD_INDEX_TIMEOUT:=20}"

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() { # prints the first Python that is new enough
    for candidate in ${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.11 python3 python python3.14; do
        if command -v "$candidate" >/dev/null 2>&1 && is_new_enough "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

quietly() { # runs a command; shows what it said only when it fails
    if said=$("$@" 2>&1); then return 0; fi
    say "$said"
    return 1
}

make_venv() {
    if [ -e .venv ] && [ ! -f .venv/pyvenv.cfg ]; then
        say ".venv exists and is not a Python environment; move it away and start again."
        return 1
    fi
    rm -rf .venv
    if command -v uv >/dev/null 2>&1; then
        say "Making .venv with uv ..."
        quietly uv venv --quiet --python ">=3.11,<3.15" .venv && return 0
        rm -rf .venv
    fi
    if ! python=$(find_python); then
        found=$(python3 --version 2>/dev/null || echo "no python3")
        say "Python 3.11 or newer is needed, found $found. Install it, or name one: PYTHON=/path/to/python3.11 $0"
        return 1
    fi
    say "Making .venv with $("$python" --version) ..."
    "$python" -m venv .venv >/dev/null 2>&1 && return 0
    # Debian and Ubuntu ship Python without ensurepip.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing python$version-venv ..."
        quietly apt-get update -q
        quietly env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "python$version-venv"
        rm -rf .venv
        "$python" -m venv .venv >/dev/null 2>&1 && return 0
    fi
    rm -rf .venv
    say "$python cannot make a virtual environment; install its venv module (Debian, Ubuntu: apt install python$version-venv) or uv."
    return 1
}

fingerprint() { # of the requirement files' contents
    .venv/bin/python - "$@" <<'PY'
import hashlib, sys
print(hashlib.sha256(b"\0".join(open(name, "rb").read() for name in sys.argv[1:])).hexdigest())
PY
}

install() { # requirement files
    files=""
    for file in "$@"; do files="$files -r $file"; done
    if command -v uv >/dev/null 2>&1; then
        # With a CPU alone, torch's CPU build saves gigabytes. Its index may be out of reach: then whatever the
        # machine's own configuration gives will do, since every build works on a CPU.
        # shellcheck disable=SC2086
        UV_HTTP_TIMEOUT=$CPD_INDEX_TIMEOUT UV_HTTP_RETRIES=0 uv pip install --quiet --python .venv/bin/python --torch-backend=auto $files 2>/dev/null && return 0
        # shellcheck disable=SC2086
        quietly uv pip install --quiet --python .venv/bin/python $files && return 0
        say "uv could not install them; trying pip."
    fi
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        .venv/bin/python -m ensurepip >/dev/null 2>&1 || { say "no pip in .venv; remove .venv and start again."; return 1; }
    fi
    if [ -t 2 ]; then
        # shellcheck disable=SC2086
        .venv/bin/python -m pip install --disable-pip-version-check $files >&2
    else
        # shellcheck disable=SC2086
        quietly .venv/bin/python -m pip install --quiet --disable-pip-version-check $files
    fi
}

prepare() { # stamp name, requirement files
    stamp=.venv/.installed-$1
    shift
    # One set-up at a time; the lock is on the folder itself and goes when its descriptor does.
    if command -v flock >/dev/null 2>&1; then
        exec 9<.
        flock 9
    fi
    if ! { [ -f .venv/pyvenv.cfg ] && is_new_enough .venv/bin/python; }; then make_venv || return 1; fi
    wanted=$(fingerprint "$@") || return 1
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        say "Installing $* into .venv (the first time takes minutes) ..."
        if ! install "$@"; then
            say "Could not install $*: see above. The first start needs a package index; later ones do not."
            return 1
        fi
        printf '%s\n' "$wanted" >"$stamp"
    fi
    exec 9<&-
}
