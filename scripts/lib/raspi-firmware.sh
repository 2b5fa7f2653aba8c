# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The Raspberry Pi 4's own firmware, for `cargo bulkhead sdcard`: Debian's package raspi-firmware, which may
# be passed on but is no free software, and so stands in a component of its own. Where that cannot be had,
# setup goes on without: the command then names the files that are to be added.

RASPI_FIRMWARE=$ROOT/target/guest-software/raspi-firmware
RASPI_FILES=(start4.elf fixup4.dat)

raspi_firmware_missing() {
    [[ -e $RASPI_FIRMWARE/version ]] || echo "raspi-firmware (the Pi's own firmware, for cards)"
}

raspi_firmware_setup() {
    local version deb new=$RASPI_FIRMWARE.new
    apt_find_debian
    apt_state raspi arm64 "$GUEST_CODENAME" "$GUEST_CODENAME"-updates
    sed -i 's/ main$/ non-free-firmware/' "$APT_STATES/raspi/sources.list"
    rm -rf "$new"
    mkdir -p "$new"
    if apt_update raspi 2>/dev/null && version=$(apt_field raspi "" raspi-firmware Version) && [[ -n $version ]]; then
        deb=$(apt_fetch raspi raspi-firmware "$version")
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$new" --strip-components=4 "${RASPI_FILES[@]/#/./usr/lib/raspi-firmware/}"
        dpkg-deb --fsys-tarfile "$deb" | tar -x -O ./usr/share/doc/raspi-firmware/copyright >"$new/LICENCE.raspi-firmware"
        rm -f "$APT_STATES"/raspi/archives/*.deb
        echo "raspi-firmware $version" >"$new/version"
        say "raspi-firmware $version in target/guest-software/raspi-firmware"
    else
        echo "not to be had" >"$new/version"
        say "the mirror has no raspi-firmware: cards for the Raspberry Pi will lack ${RASPI_FILES[*]}"
    fi
    rm -rf "$RASPI_FIRMWARE"
    mv "$new" "$RASPI_FIRMWARE"
}
