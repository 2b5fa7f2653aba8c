# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Writes the archive format of initial ramdisks (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)
# from a list, so that device nodes need no root and the same list always gives the same bytes.

# newc_archive LIST FOLDER...: the archive that LIST describes; sources of files are sought in the folders.
newc_archive() {
    local list=$1 inode=0 kind path mode rest minor folder source
    shift
    while read -r kind path mode rest minor; do
        case $kind in
        '' | '#'*) continue ;;
        dir) newc_entry $((0040000 | 8#$mode)) 2 "$path" ;;
        node) newc_entry $((0020000 | 8#$mode)) 1 "$path" "" "$rest" "$minor" ;;
        file)
            for folder; do
                source=$folder/$rest
                if [[ -e $source ]]; then break; fi
            done
            newc_entry $((0100000 | 8#$mode)) 1 "$path" "$source"
            ;;
        *) die "$list: unknown kind of entry: $kind" ;;
        esac
    done <"$list"
    inode=-1 newc_entry 0 1 'TRAILER!!!'
}

# newc_entry MODE LINKS PATH [SOURCE [MAJOR MINOR]]: one entry, owned by root, of no date.
newc_entry() {
    local name=${3#/} size=0
    if [[ -n ${4-} ]]; then size=$(stat -c %s "$4"); fi
    inode=$((inode + 1))
    printf '070701'
    printf '%08x' "$inode" "$1" 0 0 "$2" 0 "$size" 0 0 "${5:-0}" "${6:-0}" $((${#name} + 1)) 0
    printf '%s\0' "$name"
    newc_pad $((110 + ${#name} + 1))
    if ((size)); then
        cat "$4"
        newc_pad "$size"
    fi
}

# newc_pad LENGTH: zeros up to the next multiple of four.
newc_pad() { head -c $((-$1 & 3)) /dev/zero; }
