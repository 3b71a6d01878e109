#!/bin/sh
# Make the virtual environment and install Farcast into it. Usage: requirements/install.sh VENV EXTRAS [cpu|gpu]
# EXTRAS: server = both distributions (farcast from client/python, farcast-server from here); dev, train, bench = the same with
# these extras; client = farcast alone, without PyTorch; "" = PyTorch only (a layer of the Docker image).
# Safe to run again: what is there already is kept. The versions come from requirements/constraints.txt.
set -eu
cd "$(dirname "$0")/.."
venv=$1 extras=$2 kind=${3:-cpu}
pins=requirements/constraints.txt
unfinished=$venv/.unfinished
log=$(mktemp)
trap 'rm -f "$log"' EXIT

say() { printf 'farcast: %s\n' "$*" >&2; }
die() { say "$*"; rm -f "$unfinished"; exit 1; }
torch_pin() { sed -n 's/^torch==//p' "$pins"; }

python_ok() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 && python_ok "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 to 3.14 is needed and was not found. Install one, or name it: make run PYTHON=/path/to/python3.12"
}

make_venv() {
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then # Debian splits this part off
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "installing python3-venv"
            { apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv; } >"$log" 2>&1 ||
                { cat "$log" >&2; die "python3-venv could not be installed"; }
        else
            die "this Python cannot make virtual environments. On Debian or Ubuntu: sudo apt-get install python3-venv"
        fi
    fi
    say "making the virtual environment $venv with $("$python" --version)"
    "$python" -m venv "$venv"
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

pip_or_die() {
    pip install -q -c "$pins" "$@" >"$log" 2>&1 || { cat "$log" >&2; die "pip could not install: $*. Is the network there?"; }
}

# Plain `torch` from PyPI brings gigabytes of CUDA on Linux. Three ways to the CPU build, the first that works:
# the configured index, PyTorch's own index as uv knows it, and at last the default build, which runs on a CPU too.
install_torch() {
    pin=$(torch_pin)
    have=$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("torch"))' 2>/dev/null || true)
    case "$kind/$have" in
    cpu/"$pin" | cpu/"$pin"+* | gpu/"$pin" | gpu/"$pin"+cu*) return ;;
    esac
    say "installing PyTorch $pin for ${kind} (the largest part; a few minutes the first time)"
    if [ "$kind" = gpu ] || [ "$(uname -s)" != Linux ]; then
        pip_or_die --force-reinstall --no-deps "torch==$pin"
        pip_or_die "torch==$pin"
        return
    fi
    if pip install -q -c "$pins" "torch==$pin+cpu" >"$log" 2>&1; then return; fi
    if pip install -q -c "$pins" uv >"$log" 2>&1 && UV_HTTP_TIMEOUT=30 UV_HTTP_RETRIES=1 "$venv/bin/uv" pip install -q \
        --python "$venv/bin/python" --torch-backend cpu -c "$pins" "torch==$pin" >"$log" 2>&1; then return; fi
    say "the CPU build of PyTorch cannot be reached from here; taking the default one, which is larger"
    pip_or_die "torch==$pin"
}

# An installation that was killed half way leaves packages that pip takes for whole: then begin anew.
if [ -e "$unfinished" ]; then
    say "the last installation was cut short; starting it anew"
    rm -rf "$venv"
fi
[ -x "$venv/bin/python" ] || make_venv
python_ok "$venv/bin/python" || die "$venv has another Python. Remove it (rm -r $venv) and run this again"
: >"$unfinished"
[ "$extras" = client ] || install_torch
case $extras in
"") set -- ;;
client) set -- -e ./client/python ;;
server) set -- -e ./client/python -e . ;;
*) set -- -e ./client/python -e ".[$extras]" ;;
esac
if [ $# -gt 0 ]; then
    say "installing farcast ($extras)"
    pip_or_die hatchling editables
    pip_or_die --no-build-isolation "$@"
fi
rm -f "$unfinished"
