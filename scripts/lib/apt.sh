# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Debian packages through private apt states: the machine's own mirror, whose address is read from its
# apt sources, but package lists and sources of our own under target/. So neither the user's sources
# nor their architectures change, and apt checks every signature against Debian's archive keys.

APT_STATES=$ROOT/target/setup/apt
# On a terminal apt shows its progress; a log gets errors only.
if [[ -t 1 ]]; then APT_VERBOSITY=(-q=0); else APT_VERBOSITY=(-qq); fi

# apt_mirrors SUITE: the addresses that the machine's apt sources name for SUITE, one a line.
# apt itself reads the sources, so one-line and deb822 files and mirror lists are all understood.
apt_mirrors() {
    # shellcheck disable=SC2016 # apt fills these in
    apt-get indextargets --no-release-info -o Dir::State::lists="$APT_STATES/none" \
        --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v suite="$1" '$1 == suite { sub("/$", "", $2); if (!seen[$2]++) print $2 }'
}

# debian_codename: the release of this machine, if it is Debian.
debian_codename() (
    # shellcheck source=/dev/null
    . /etc/os-release 2>/dev/null
    [[ ${ID-} == debian && -n ${VERSION_CODENAME-} ]] && echo "$VERSION_CODENAME"
)

# debian_keyring: Debian's archive keys, which the package debian-archive-keyring puts in one file.
debian_keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
        [[ -r $file ]] && echo "$file" && return
    done
    die "Debian's archive keys are not on this machine: install the package debian-archive-keyring"
}

# apt_find_debian: learns the mirror once, into MIRROR, MIRROR_SECURITY (may be empty), CODENAME, KEYRING.
apt_find_debian() {
    [[ -z ${MIRROR-} ]] || return 0
    if ! CODENAME=$(debian_codename) || ! command -v apt-get >/dev/null; then
        die "this is not a Debian machine, so nothing can be installed here: use Debian 12 or 13, or provide what 'scripts/setup --check' names by hand"
    fi
    KEYRING=$(debian_keyring)
    local candidate
    # Other vendors name their suites after Debian's too: the mirror is the one signed by Debian.
    while read -r candidate; do
        MIRROR=$candidate
        apt_state host "" "$CODENAME"
        if apt_update host 2>/dev/null; then
            MIRROR_SECURITY=$(apt_mirrors "$CODENAME-security" | head -n 1)
            return 0
        fi
    done < <(apt_mirrors "$CODENAME")
    die "no source in /etc/apt answers as a Debian mirror of $CODENAME: check the network and run 'apt-get update'"
}

# apt_state NAME ARCHITECTURE SUITE...: (re)writes the private state NAME. An empty ARCHITECTURE is the
# machine's own, whose installed packages the state then knows; another one knows of none installed.
apt_state() {
    local name=$1 arch=$2 suite uri
    shift 2
    local dir=$APT_STATES/$name
    mkdir -p "$dir"/{lists,archives}/partial
    for suite; do
        uri=$MIRROR
        if [[ $suite == *-security ]]; then uri=$MIRROR_SECURITY; fi
        if [[ -n $uri ]]; then echo "deb [signed-by=$KEYRING] $uri $suite main"; fi
    done >"$dir/sources.list"
    {
        # The user's own settings for the network (proxies, credentials) stay in force.
        echo "Dir::Etc::SourceList \"$dir/sources.list\";"
        echo 'Dir::Etc::SourceParts "/dev/null";'
        echo 'Dir::Etc::Preferences "/dev/null";'
        echo 'Dir::Etc::PreferencesParts "/dev/null";'
        echo "Dir::State::Lists \"$dir/lists\";"
        echo "Dir::Cache::Archives \"$dir/archives\";"
        echo 'Dir::Cache::PkgCache "";'
        echo 'Dir::Cache::SrcPkgCache "";'
        echo 'APT::Default-Release "";'
        # Only package lists: no translations, no catalogue of desktop programs.
        echo 'Acquire::Languages "none";'
        echo 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";'
        # apt's download user cannot write below a home folder; what arrives is verified all the same.
        echo 'APT::Sandbox::User "root";'
        if [[ -n $arch ]]; then
            : >"$dir/status"
            echo "Dir::State::Status \"$dir/status\";"
            echo "APT::Architecture \"$arch\";"
            echo "APT::Architectures { \"$arch\"; };"
        fi
    } >"$dir/apt.conf"
}

# apt_update NAME: brings the state's package lists; fails when one does not come or is not signed.
apt_update() { apt-get -c "$APT_STATES/$1/apt.conf" "${APT_VERBOSITY[@]}" -o APT::Update::Error-Mode=any update </dev/null; }

# apt_field NAME SUITE PACKAGE FIELD: a field of the version that SUITE offers (any suite where empty).
apt_field() {
    apt-cache -c "$APT_STATES/$1/apt.conf" -o APT::Default-Release="$2" show --no-all-versions "$3" 2>/dev/null |
        sed -n "s/^$4: //p" | head -n 1
}

# apt_fetch NAME PACKAGE VERSION: downloads one package, or verifies the file of an earlier call, and
# prints its path.
apt_fetch() {
    local dir=$APT_STATES/$1/archives
    (cd "$dir" && apt-get -c "$APT_STATES/$1/apt.conf" "${APT_VERBOSITY[@]}" download "$2=$3" >&2) ||
        die "apt could not download $2 $3: check the network and run scripts/setup again"
    echo "$dir/$2"_*.deb
}

# apt_install NAME APT-OPTIONS-AND-PACKAGES...: installs on this machine from the state's suites, with
# the machine's own cache, which root may write.
apt_install() {
    local log=$APT_STATES/$1/install.log
    local command=(apt-get -c "$APT_STATES/$1/apt.conf" "${APT_VERBOSITY[@]}" -o Dir::Cache::Archives=archives/)
    shift
    command=(env DEBIAN_FRONTEND=noninteractive "${command[@]}" install --yes --no-install-recommends "$@")
    if [[ -t 1 ]]; then
        as_root "${command[@]}" </dev/null
    else
        (as_root "${command[@]}") </dev/null >"$log" 2>&1 || { cat "$log" >&2 && false; }
    fi || die "apt could not install: $*"
}
