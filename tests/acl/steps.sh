# What the scripts here have in common: a step is shown with what it says and how it ends.

run() {
    "$@" 2>&1
    printf '= %s\n' "$?"
}

# t COMMAND...: as root.
t() {
    printf '$ %s\n' "$*"
    run "$@"
}

# as UID GID COMMAND...: as an ordinary user of no other group.
as() {
    uid=$1 gid=$2
    shift 2
    printf '%s:%s $ %s\n' "$uid" "$gid" "$*"
    run setpriv --reuid "$uid" --regid "$gid" --clear-groups -- "$@"
}

# member UID GID GROUP COMMAND...: as an ordinary user of one more group.
member() {
    uid=$1 gid=$2 more=$3
    shift 3
    printf '%s:%s,%s $ %s\n' "$uid" "$gid" "$more" "$*"
    run setpriv --reuid "$uid" --regid "$gid" --groups "$more" -- "$@"
}

# show FILE...: owners, modes and lists.
show() {
    for shown in "$@"; do stat -c '%A %a %u:%g %n' "$shown"; done
    getfacl --numeric --absolute-names --omit-header "$@" 2>&1
}
