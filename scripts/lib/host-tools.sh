# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The programs that Bulkhead needs on the machine: an emulator that knows the boards, the device tree
# compiler, U-Boot's image tools, the C linker that cargo links host programs with, the scripts' own checker, and
# Python for the schema's.

QEMU_MAJOR=9 # older ones have no raspi4b

# Command and Debian package, one a line.
HOST_TOOLS='
dtc     device-tree-compiler
mkimage u-boot-tools
cc      gcc
shellcheck shellcheck
'

qemu_major() { qemu-system-aarch64 --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\)\..*/\1/p'; }

qemu_is_new_enough() {
    local major
    major=$(qemu_major)
    [[ -n $major && $major -ge $QEMU_MAJOR ]]
}

missing_packages() {
    local tool package
    while read -r tool package; do
        if [[ -n $tool ]] && ! command -v "$tool" >/dev/null; then echo "$package"; fi
    done <<<"$HOST_TOOLS"
    # The binding's schema is checked by a tool from PyPI, in an environment of its own.
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then echo python3-venv; fi
    # QEMU's boards have a network card by default, and do not start without its boot ROM.
    if command -v dpkg >/dev/null && [[ ! -e /usr/lib/ipxe/qemu/efi-virtio.rom && ! -e /usr/share/qemu/efi-virtio.rom ]]; then echo ipxe-qemu; fi
    # Cargo links with the C library's start files, which a bare gcc does not bring.
    if [[ ! -e /usr/include/stdlib.h ]] && command -v dpkg >/dev/null; then echo libc6-dev; fi
}

host_tools_missing() {
    missing_packages
    if ! qemu_is_new_enough; then echo "qemu-system-arm (version $QEMU_MAJOR or later)"; fi
}

host_tools_setup() {
    local packages
    mapfile -t packages < <(missing_packages)
    apt_find_debian
    apt_state host "" "$CODENAME" "$CODENAME-updates" "$CODENAME-security"
    apt_update host || die "the package lists of $CODENAME did not come: check the network and run scripts/setup again"
    if ((${#packages[@]})); then
        say "installing ${packages[*]}: to build, check and boot Bulkhead"
        apt_install host "${packages[@]}"
    fi
    if qemu_is_new_enough; then return; fi

    local suite="" version
    version=$(apt_field host "" qemu-system-arm Version)
    if dpkg --compare-versions "${version:-0}" lt "1:$QEMU_MAJOR"; then
        suite=$CODENAME-backports
        say "$CODENAME offers QEMU ${version:-not at all}, older than $QEMU_MAJOR: looking in $suite (your apt sources stay as they are)"
        apt_state host "" "$CODENAME" "$CODENAME-updates" "$CODENAME-security" "$suite"
        apt_update host || die "the package lists of $suite did not come: check the network and run scripts/setup again"
        version=$(apt_field host "$suite" qemu-system-arm Version)
    fi
    dpkg --compare-versions "${version:-0}" ge "1:$QEMU_MAJOR" ||
        die "neither $CODENAME nor its backports offers QEMU $QEMU_MAJOR or later: install one by hand"
    say "installing QEMU $version${suite:+ from $suite}: it emulates the boards"
    apt_install host ${suite:+-t "$suite"} qemu-system-arm
    qemu_is_new_enough || die "qemu-system-aarch64 is still older than $QEMU_MAJOR after the install: does another one come first in PATH? ($(command -v qemu-system-aarch64))"
}
