# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# What every script here shares: where the checkout is, how to speak, how to act as root.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# A rustup installed a moment ago is not on PATH before the next login.
command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

# say SENTENCE: what happens now and why, with the seconds since the start.
say() { printf 'setup [%3d s]: %s\n' "$SECONDS" "$*"; }

# die SENTENCE: what is wrong and what to do about it.
die() {
    printf '%s: error: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# as_root COMMAND...: directly, or through sudo where the user is not root. Without a terminal sudo
# must not ask for a password, or an unattended run would hang.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        die "this step needs root and there is no sudo: run as root: $*"
    elif [[ -t 0 ]]; then
        sudo -- "$@"
    else
        sudo -n -- "$@" || die "this step needs root, and sudo asks for a password without a terminal: run scripts/setup once in a terminal, or as root: $*"
    fi
}
