# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# What runs inside partitions, or below, and is not ours: Debian's arm64 kernels, BusyBox (that of armhf too, for the
# tests of AArch32), U-Boot and Trusted Firmware-A, each one file in target/guest-software; the device trees of the
# newest kernel, a folder; modules of debian-12, as archives to go behind an initial ramdisk; and the ramdisks: one of
# BusyBox and guests/software, and that one with the modules behind it that drive a virtio disk and network.

GUEST_SOFTWARE=$ROOT/target/guest-software
GUEST_RECIPES=$ROOT/guests/software
GUEST_CODENAME=bookworm       # Debian 12
GUEST_NEWEST=trixie-backports # the newest kernels that a release of Debian has

# Name of the file, how it is taken out of its package, release to prefer (- for none: the newest of
# main, updates and security), architecture, package, path inside the package. A package with slashes is a way:
# behind each one stands a pattern for the package to go on with, among those that the one before depends on.
GUEST_PIECES="
debian-12            kernel  -                         arm64 linux-image-arm64/linux-image-* ./boot/vmlinuz-*
debian-12-backports  kernel  $GUEST_CODENAME-backports arm64 linux-image-arm64/linux-image-* ./boot/vmlinuz-*
debian-13-backports  kernel  $GUEST_NEWEST arm64 linux-image-arm64/linux-image-*/linux-binary-* ./usr/lib/modules/*/vmlinuz
dtbs                 folder  $GUEST_NEWEST arm64 linux-image-arm64/linux-image-*/linux-base-* ./usr/lib/modules/*/dtb/*.dtb
bcm2711-rpi-4-b.dtb  file    $GUEST_CODENAME-backports arm64 linux-image-arm64/linux-image-* ./usr/lib/linux-image-*/broadcom/bcm2711-rpi-4-b.dtb
u-boot               file    -                         arm64 u-boot-qemu       ./usr/lib/u-boot/qemu_arm64/u-boot.bin
tf-a-rpi4            file    -                         arm64 arm-trusted-firmware ./usr/lib/arm-trusted-firmware/rpi4/bl31.bin
busybox              file    -                         arm64 busybox-static    ./bin/busybox
busybox-armhf        file    $GUEST_CODENAME           armhf busybox-static    ./bin/busybox
virtio-modules       modules -                         arm64 linux-image-arm64/linux-image-* -
watchdog-modules     modules -                         arm64 linux-image-arm64/linux-image-* -
"

# What only the long tests run: further builds of the newest kernel.
GUEST_PIECES_FULL="
debian-13-backports-rt    kernel $GUEST_NEWEST arm64 linux-image-rt-arm64/linux-image-*/linux-binary-* ./usr/lib/modules/*/vmlinuz
debian-13-backports-cloud kernel $GUEST_NEWEST arm64 linux-image-cloud-arm64/linux-image-*/linux-binary-* ./usr/lib/modules/*/vmlinuz
debian-13-backports-16k   kernel $GUEST_NEWEST arm64 linux-image-arm64-16k/linux-image-*/linux-binary-* ./usr/lib/modules/*/vmlinuz
"

# These are of one build.
GUEST_KERNEL=(debian-12 virtio-modules watchdog-modules)

# guest_suites ARCHITECTURE: where its packages come from.
guest_suites() {
    case $1 in
    arm64) echo "$GUEST_CODENAME" "$GUEST_CODENAME"-{updates,security,backports} "$GUEST_NEWEST" ;;
    armhf) echo "$GUEST_CODENAME" ;;
    esac
}

# guest_module_names NAME: the modules of NAME, in the order in which they load.
guest_module_names() {
    case $1 in
    virtio-modules) # transport, disk, network, file system
        echo drivers/virtio/virtio_mmio drivers/block/virtio_blk \
            net/core/failover drivers/net/net_failover drivers/net/virtio_net \
            lib/crc16 fs/mbcache fs/jbd2/jbd2 crypto/crc32c_generic fs/ext4/ext4
        ;;
    watchdog-modules) echo drivers/watchdog/sbsa_gwdt ;;
    esac
}

# guest_version NAME: what the file NAME was made of; nothing if it is not there.
guest_version() {
    if [[ -s $GUEST_SOFTWARE/$1 && -e $GUEST_SOFTWARE/versions ]]; then
        sed -n "s/^$1  *//p" "$GUEST_SOFTWARE/versions"
    fi
}

# The recipe and BusyBox of the ramdisk, in one line: it is rebuilt when either changes.
initrd_recipe() {
    local digest
    digest=$(cat "$GUEST_RECIPES"/{initrd.list,init,inittab,console,profile} | sha256sum)
    echo "$(guest_version busybox), guests/software ${digest:0:16}"
}

virtio_initrd_recipe() { echo "$(guest_version busybox-initrd), $(guest_version virtio-modules)"; }

guest_software_missing() {
    local name rest
    while read -r name rest; do
        if [[ -n $name && -z $(guest_version "$name") ]]; then echo "$name"; fi
    done <<<"$GUEST_PIECES"
    # A kernel takes the modules of its own build only: they come together.
    if [[ $(for name in "${GUEST_KERNEL[@]}"; do printf '%s\n' "$(guest_version "$name")"; done | sort -u | wc -l) != 1 ]]; then
        printf '%s\n' "${GUEST_KERNEL[@]}"
    fi
    if [[ $(guest_version busybox-initrd) != "$(initrd_recipe)" ]]; then echo busybox-initrd; fi
    if [[ $(guest_version virtio-initrd) != "$(virtio_initrd_recipe)" ]]; then echo virtio-initrd; fi
}

guest_software_setup() {
    local missing name kind suite arch package path suites listed=
    missing=" $(guest_software_missing | tr '\n' ' ')"
    mkdir -p "$GUEST_SOFTWARE"
    while read -r name kind suite arch package path; do
        if [[ -z $name || $missing != *" $name "* ]]; then continue; fi
        if [[ $listed != *" $arch "* ]]; then
            apt_find_debian
            say "guest software: Debian's $arch package lists, in a private apt state (no foreign architecture is added to this machine)"
            read -ra suites < <(guest_suites "$arch")
            apt_state "guest-$arch" "$arch" "${suites[@]}"
            apt_update "guest-$arch" || die "the $arch package lists of ${suites[*]} did not come: check the network and run scripts/setup again"
            listed+=" $arch "
        fi
        guest_piece "$name" "$kind" "${suite#-}" "guest-$arch" "$package" "$path"
    done <<<"$GUEST_PIECES"
    rm -f "$APT_STATES"/guest-*/archives/*.deb
    if [[ $(guest_version busybox-initrd) != "$(initrd_recipe)" ]]; then guest_initrd; fi
    if [[ $(guest_version virtio-initrd) != "$(virtio_initrd_recipe)" ]]; then guest_virtio_initrd; fi
    say "guest software in target/guest-software:"
    sed 's/^/    /' "$GUEST_SOFTWARE/versions"
}

# guest_package STATE SUITE WAY: the package that a way of the table leads to.
guest_package() {
    local package pattern patterns
    IFS=/ read -r package patterns <<<"$3"
    while [[ -n $patterns ]]; do
        IFS=/ read -r pattern patterns <<<"$patterns"
        package=$(apt_field "$1" "$2" "$package" Depends | sed 's/ *[,|] */\n/g' | sed 's/ .*//' |
            grep -m 1 -x -- "${pattern//\*/.*}" || true)
        [[ -n $package ]] || die "$2: the way $3 to a kernel's package ends before $pattern: Debian names its packages anew"
    done
    echo "$package"
}

# guest_piece NAME KIND SUITE STATE PACKAGE PATH: a row of the table, by an apt state.
guest_piece() {
    local name=$1 kind=$2 suite=$3 state=$4 package=$5 path=$6 version size deb new=$GUEST_SOFTWARE/.$1.new
    package=$(guest_package "$state" "$suite" "$package")
    version=$(apt_field "$state" "$suite" "${package:-none}" Version)
    size=$(apt_field "$state" "$suite" "${package:-none}" Size)
    [[ -n $version ]] || die "${suite:-$GUEST_CODENAME} offers no package $package for ${state#guest-}, which $name comes from"
    say "  $name: from $package $version ($((size / 1000000 + 1)) MB)"
    deb=$(apt_fetch "$state" "$package" "$version")
    if [[ $kind == modules ]]; then
        guest_modules "$name" "$deb" "$new"
    elif [[ $kind == folder ]]; then
        guest_folder "$deb" "$path" "$new"
    else
        dpkg-deb --fsys-tarfile "$deb" | tar -x -O --wildcards "$path" >"$new"
        [[ -s $new ]] || die "$package $version holds no file $path"
    fi
    if [[ $kind == kernel ]]; then guest_plain_image "$new"; fi
    guest_done "$name" "$package $version"
}

# guest_plain_image FILE: unpacks a compressed kernel in place, to the Image that arm64's boot protocol
# (Linux, Documentation/arch/arm64/booting.rst) describes.
guest_plain_image() {
    local file=$1 offset size
    if [[ $(bytes "$file" 4 4) == zimg ]]; then # an EFI zboot image: offset, size and name of the packed Image
        read -r offset size < <(od -A n -t u4 --endian=little -j 8 -N 8 "$file")
        local packer
        packer=$(bytes "$file" 24 8)
        tail -c "+$((offset + 1))" "$file" | head -c "$size" | "${packer//[^a-z0-9]/}" -dc >"$file.plain"
        mv "$file.plain" "$file"
    elif gzip -t "$file" 2>/dev/null; then
        gzip -dc <"$file" >"$file.plain"
        mv "$file.plain" "$file"
    fi
    [[ $(bytes "$file" 56 4) == ARMd ]] || die "the kernel is no arm64 Image: no magic number at offset 56"
}

# bytes FILE OFFSET COUNT: these bytes, without zeros.
bytes() { tail -c "+$(($2 + 1))" "$1" | head -c "$3" | tr -d '\0'; }

# guest_done NAME MADE-OF: the finished file into place, then its line into the list of versions.
guest_done() {
    local versions=$GUEST_SOFTWARE/versions
    rm -rf "${GUEST_SOFTWARE:?}/$1"
    mv "$GUEST_SOFTWARE/.$1.new" "$GUEST_SOFTWARE/$1"
    {
        if [[ -e $versions ]]; then sed "/^$1 /d" "$versions"; fi
        printf '%-20s %s\n' "$1" "$2"
    } | sort >"$versions.new"
    mv "$versions.new" "$versions"
}

# guest_folder DEB PATHS FOLDER: what of a package lies in a folder and matches, with the folders in which it lies there.
guest_folder() {
    local above=${2%/*}
    mkdir -p "$3"
    # Each slash parts one more name, the dot at the front too.
    above=${above//[!\/]/}
    dpkg-deb --fsys-tarfile "$1" | tar -x -C "$3" --strip-components=$((${#above} + 1)) --wildcards "$2"
}

# guest_modules NAME DEB FILE: modules of a kernel's package as an archive to go behind an initial ramdisk.
guest_modules() {
    local folder module modules names=()
    folder=$(mktemp -d)
    modules=$(guest_module_names "$1")
    for module in $modules; do names+=("./lib/modules/*/kernel/$module.ko"); done
    dpkg-deb --fsys-tarfile "$2" | tar -x -C "$folder" --wildcards "${names[@]}"
    {
        printf 'dir /lib 755\ndir /lib/modules 755\nfile /lib/modules/order 644 order\n'
        for module in $modules; do
            mv "$folder"/lib/modules/*/kernel/"$module.ko" "$folder"
            echo "file /lib/modules/${module##*/}.ko 644 ${module##*/}.ko"
            echo "${module##*/}.ko" >>"$folder/order"
        done
    } >"$folder/list"
    newc_archive "$folder/list" "$folder" | gzip -9n >"$3"
    rm -r "$folder"
}

# guest_virtio_initrd: the kernel unpacks archives that lie behind each other one after the other.
guest_virtio_initrd() {
    say "  virtio-initrd: busybox-initrd with the modules of a virtio disk and network"
    cat "$GUEST_SOFTWARE"/{busybox-initrd,virtio-modules} >"$GUEST_SOFTWARE/.virtio-initrd.new"
    guest_done virtio-initrd "$(virtio_initrd_recipe)"
}

guest_initrd() {
    say "  busybox-initrd: packing BusyBox and guests/software into an initial ramdisk"
    local new=$GUEST_SOFTWARE/.busybox-initrd.new
    newc_archive "$GUEST_RECIPES/initrd.list" "$GUEST_RECIPES" "$GUEST_SOFTWARE" | gzip -9n >"$new"
    guest_done busybox-initrd "$(initrd_recipe)"
}
