# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# The compiler's bare-metal target: `core`, `alloc` and `compiler_builtins` for aarch64-unknown-none-softfloat
# in rustc's own library folder. rustup brings them; where it may not, they are built from Debian's
# rust-src of exactly this compiler.

TARGET=aarch64-unknown-none-softfloat
# Suites that may hold the compiler's sources, smallest package lists first.
RUST_SRC_SUITES=(stable-backports oldstable-backports stable testing unstable oldstable)

RUST_CHANNEL=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml")

# rust_lacks: what the compiler lacks, in a sentence; nothing where it serves. Only looks: rustup
# would otherwise install the toolchain on this question, unseen.
rust_lacks() (
    cd "$ROOT" || exit
    if ! env RUSTUP_AUTO_INSTALL=0 cargo --version >/dev/null 2>&1 ||
        ! version=$(env RUSTUP_AUTO_INSTALL=0 rustc --version 2>/dev/null | awk '{ print $2 }'); then
        echo "rustc and cargo $RUST_CHANNEL do not run here"
    elif ! printf '%s\n' "$RUST_CHANNEL" "$version" | sort --check=quiet --version-sort; then
        echo "rustc is $version, but rust-toolchain.toml asks for $RUST_CHANNEL"
    elif [[ ! -x $(rustc --print target-libdir)/../bin/rust-lld ]] && ! command -v rust-lld >/dev/null; then
        echo "this rustc comes without its linker, rust-lld"
    fi
)

rustup_may_install() { [[ ${RUSTUP_AUTO_INSTALL-1} != 0 ]] && command -v rustup >/dev/null; }

rust_target_dir() { (cd "$ROOT" && dirname "$(rustc --print target-libdir --target "$TARGET")"); }

# A target that was built here carries the compiler it was built for: after an upgrade it no longer fits.
rust_target_is_there() {
    local dir crate
    dir=$(rust_target_dir 2>/dev/null) || return 1
    for crate in core alloc compiler_builtins; do
        compgen -G "$dir/lib/lib$crate-*.rlib" >/dev/null || return 1
    done
    [[ ! -e $dir/built-from-source ]] ||
        [[ $(<"$dir/built-from-source") == "$(cd "$ROOT" && rustc --version --verbose)" ]]
}

rust_target_missing() {
    local lacks
    lacks=$(rust_lacks)
    if [[ -n $lacks ]]; then
        echo "the Rust compiler ($lacks)"
    elif ! rust_target_is_there; then
        echo "the Rust target $TARGET"
    fi
}

rust_target_setup() {
    local lacks
    lacks=$(rust_lacks)
    if [[ -n $lacks ]] && rustup_may_install; then
        say "installing the compiler that rust-toolchain.toml names, with rustup"
        (cd "$ROOT" && rustc --version) || true
        lacks=$(rust_lacks)
    fi
    if [[ -n $lacks ]]; then
        local hint="install Rust $RUST_CHANNEL with rustup, then run scripts/setup again"
        if [[ $EUID -eq 0 && -n ${SUDO_USER-} ]]; then
            hint="run scripts/setup as $SUDO_USER, without sudo: it calls sudo itself where it must"
        fi
        die "$lacks: $hint"
    fi
    if rust_target_is_there; then return; fi
    if rustup_may_install; then
        say "adding the Rust target $TARGET with rustup: the hypervisor and its guests are built for it"
        if (cd "$ROOT" && rustup target add "$TARGET") && rust_target_is_there; then return; fi
        say "rustup could not add it; trying Debian's sources of the compiler instead"
    fi
    rust_target_from_debian
}

rust_target_from_debian() {
    local version deb source
    version=$(cd "$ROOT" && rustc --version | awk '{ print $2 }')
    say "looking for Debian's rust-src $version: the Rust target $TARGET is built from it, as rustup may not install here"
    apt_find_debian
    deb=$(rust_src_fetch "$version")
    rm -rf "$ROOT/target/setup/rust-src"
    mkdir -p "$ROOT/target/setup/rust-src"
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$ROOT/target/setup/rust-src" --wildcards './usr/src/*/library/*'
    source=$(echo "$ROOT"/target/setup/rust-src/usr/src/*/library)
    say "building core, alloc and compiler_builtins for $TARGET (about half a minute)"
    rust_target_build "$source"
    rust_target_install
    rm -rf "$ROOT/target/setup/rust-src" "$ROOT/target/setup/rust-target" "$deb"
    rust_target_is_there || die "the Rust target $TARGET was built but rustc does not find it in $(rust_target_dir)"
}

# rust_src_fetch VERSION: the path of the rust-src package that matches, from the first suite that has it.
rust_src_fetch() {
    local suite found
    keyring_renew
    for suite in "$CODENAME" "$CODENAME-backports" "${RUST_SRC_SUITES[@]}"; do
        rm -rf "$APT_STATES/rust-src"
        apt_state rust-src "" "$suite"
        if ! apt_update rust-src >/dev/null 2>&1; then
            say "  $suite: the mirror does not offer it" >&2
            continue
        fi
        found=$(apt-cache -c "$APT_STATES/rust-src/apt.conf" madison rust-src |
            awk -v want="$1" '{ v = $3; sub(/[-+~].*/, "", v); if (v == want) { print $3; exit } }')
        if [[ -n $found ]]; then
            say "  $suite: has rust-src $found; fetching it (about 45 MB)" >&2
            apt_fetch rust-src rust-src "$found"
            return
        fi
        say "  $suite: has no rust-src $1" >&2
    done
    die "no suite of this machine's Debian mirror has rust-src $1, the version of rustc: let rustup add the target (rustup target add $TARGET), or use a compiler whose sources Debian has"
}

# keyring_renew: a release's keys come with the keyring package of the releases before it, once updated.
keyring_renew() {
    local version
    version=$(dpkg-query -W -f '${Version}' debian-archive-keyring 2>/dev/null || true)
    if dpkg --compare-versions "${version:-0}" lt 2023.3+deb12u2; then
        say "renewing debian-archive-keyring ${version:-(absent)}: it lacks the keys of newer Debian releases" >&2
        apt_state host "" "$CODENAME" "$CODENAME-updates" "$CODENAME-security"
        apt_update host >&2
        apt_install host debian-archive-keyring >&2
    fi
}

# rust_target_build LIBRARY: cargo builds the standard crates of the source tree LIBRARY as dependencies
# of an empty crate. Building them is unstable, hence the bootstrap switch: for this one build only, with
# the compiler's own sources of its own version. Paths are mapped as in rustup's builds, so the
# result does not depend on where the checkout is.
rust_target_build() {
    local dir=$ROOT/target/setup/rust-target hash
    hash=$(cd "$ROOT" && rustc --version --verbose | sed -n 's/^commit-hash: //p')
    rm -rf "$dir"
    mkdir -p "$dir/src"
    echo '#![no_std]' >"$dir/src/lib.rs"
    cat >"$dir/Cargo.toml" <<-'EOF'
		[package]
		name = "standard-crates"
		version = "0.0.0"
		edition = "2024"
		[profile.release]
		codegen-units = 1
		panic = "abort"
		[workspace]
	EOF
    if ! (
        cd "$dir" || exit
        unset CARGO_ENCODED_RUSTFLAGS RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_BUILD_TARGET
        export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=$1 CARGO_TARGET_DIR=$dir/target
        export RUSTFLAGS="--remap-path-prefix=$1=/rustc/$hash/library -Cembed-bitcode=yes"
        cargo --config 'future-incompat-report.frequency="never"' \
            --config 'source.crates-io.replace-with="rust-src"' \
            --config "source.rust-src.directory=\"$1/vendor\"" \
            build --release --offline --target "$TARGET" -Zbuild-std=core,alloc,compiler_builtins
    ); then
        die "the standard crates did not build for $TARGET (see above)"
    fi
}

# Into place by one rename: an interrupted run leaves no half-made target behind.
rust_target_install() {
    local dir deps=$ROOT/target/setup/rust-target/target/$TARGET/release/deps run=() crate
    dir=$(rust_target_dir)
    [[ -w $(dirname "$dir") ]] || run=(as_root)
    local new=$dir.new
    "${run[@]}" rm -rf "$new" "$dir.old"
    "${run[@]}" mkdir -p "$new/lib"
    for crate in core alloc compiler_builtins; do
        "${run[@]}" cp "$deps/lib$crate"-*.rlib "$new/lib/"
    done
    (cd "$ROOT" && rustc --version --verbose) | "${run[@]}" tee "$new/built-from-source" >/dev/null
    if [[ -e $dir ]]; then "${run[@]}" mv -T "$dir" "$dir.old"; fi
    "${run[@]}" mv -T "$new" "$dir"
    "${run[@]}" rm -rf "$dir.old"
}
