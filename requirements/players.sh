#!/bin/sh
# What the tests need besides Python and a Chromium: players that are not ours (npm: whip-whep on libwebrtc), a TURN server
# (Debian: coturn) and proxies (nginx-light, caddy). Where one cannot be had, its tests say so and are left out.
set -u
cd "$(dirname "$0")/.."

say() { printf 'farcast: %s\n' "$*" >&2; }

if ! command -v npm >/dev/null 2>&1; then
    say "npm is not installed, so the tests with players of other makers are left out"
elif ! (cd tests/players && npm install --silent --no-fund --no-audit >/dev/null 2>&1 && touch node_modules/.installed); then
    say "npm cannot install tests/players, so the tests with players of other makers are left out"
fi

# Debian's packages: the program that is looked for, the package, and what is left out without it.
PATH=$PATH:/usr/sbin:/usr/local/sbin
missing=
for entry in turnserver:coturn nginx:nginx-light caddy:caddy; do
    command -v "${entry%%:*}" >/dev/null 2>&1 || missing="$missing ${entry##*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && grep -q '^ID=debian' /etc/os-release 2>/dev/null; then
    say "installing Debian's$missing for the tests of relays and proxies"
    log=$(mktemp)
    # shellcheck disable=SC2086
    if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing \
        iproute2; } >"$log" 2>&1; then
        tail -5 "$log" >&2
        say "$missing cannot be installed, so the tests that start them are left out"
    fi
    rm -f "$log"
else
    say "not installed (Debian: sudo apt-get install$missing): the tests that start them are left out"
fi
exit 0
