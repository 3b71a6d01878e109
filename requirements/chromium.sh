#!/bin/sh
# Make sure that the browser tests have a Chromium. Usage: requirements/chromium.sh VENV
# Taken in this order: $FARCAST_CHROMIUM, one on PATH, Debian's package (as root), Playwright's own download.
set -eu
venv=$1

say() { printf 'farcast: %s\n' "$*" >&2; }

[ -n "${FARCAST_CHROMIUM:-}" ] && [ -x "$FARCAST_CHROMIUM" ] && exit 0
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    # Ubuntu's chromium-browser may be a stub that only points to a snap: one that cannot tell its version is none.
    if command -v "$name" >/dev/null 2>&1 && "$name" --version >/dev/null 2>&1; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && grep -q '^ID=debian' /etc/os-release 2>/dev/null; then
    say "installing Debian's chromium for the browser tests"
    log=$(mktemp)
    if { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium \
        fonts-dejavu-core; } >"$log" 2>&1; then rm -f "$log"; exit 0; fi
    tail -5 "$log" >&2
    rm -f "$log"
fi
say "downloading Playwright's Chromium for the browser tests"
with_deps=
[ "$(id -u)" = 0 ] && [ "$(uname -s)" = Linux ] && with_deps=--with-deps
# shellcheck disable=SC2086
if "$venv/bin/playwright" install $with_deps chromium; then exit 0; fi
say "no Chromium for the browser tests. Install one (Debian: sudo apt-get install chromium), or name it in"
say "FARCAST_CHROMIUM, or leave those tests out: make test PYTEST='-m \"not browser\"'"
exit 1
