# Access control lists: who gets in, what becomes of the mode, what a new file inherits.
. "$STEPS"
umask 022
chmod 755 .

# Who gets in.
echo text >file
chown 1000:1000 file
chmod 640 file
t setfacl -m u:1001:rw,g:1002:r file
show file
as 1000 1000 cat file
as 1001 1001 sh -c 'echo more >>file'
as 1003 1002 cat file
as 1003 1002 sh -c 'echo more >>file'
member 1003 1003 1002 cat file
as 1003 1003 cat file
as 1001 1001 test -w file
as 1003 1002 test -w file
as 1001 1001 test -x file
t cat file

# The mask bounds all but owner and others, and is what chmod and stat call the group.
t chmod g-w file
show file
as 1001 1001 sh -c 'echo more >>file'
t setfacl -m m::rwx file
show file
as 1001 1001 sh -c 'echo more >>file'
t chmod 0604 file
show file
as 1001 1001 cat file
as 1003 1003 cat file
t setfacl -n -m g::rx file
show file
t chmod 4770 file
show file

# Only the owner and root set one.
as 1001 1001 setfacl -m u:1003:rwx file
as 1000 1000 setfacl -m u:1003:r file
show file
as 1003 1003 cat file
t setfacl -x u:1003 file
show file
t setfacl -b file
show file
as 1001 1001 cat file
t setfacl -b file
t setfacl --set u::rw,g::r,o::- file
show file
t setfacl --set u::rwx,g::rx,m::r,o::x file
show file
t chmod g+rwx file
show file
t setfattr -x system.posix_acl_access file
show file
t setfattr -x system.posix_acl_access file
t setfacl -d -m u:1001:rw file
show file

# A directory passes its default list on; then the umask does not count.
mkdir dir
t setfacl -m u:1001:rwx,d:u:1001:rwx,d:g:1002:rx,d:o::- dir
show dir
umask 077
t mkdir dir/below
t touch dir/file
t sh -c 'echo text >dir/written'
t mkfifo dir/fifo
t mknod dir/null c 1 3
t ln -s file dir/link
t ln dir/file dir/hard
t mkdir -m 0711 dir/below/narrow
t install -m 0640 /dev/null dir/below/installed
t sh -c 'umask 0; : >dir/below/open; mkdir dir/below/wide'
show dir/below dir/file dir/written dir/fifo dir/null dir/hard dir/below/narrow dir/below/installed dir/below/open \
    dir/below/wide
stat -c '%A %F %n' dir/link
as 1001 1001 sh -c 'echo more >>dir/written'
as 1001 1001 touch dir/below/by-another
show dir/below/by-another
as 1003 1002 cat dir/written
as 1003 1003 ls dir/below
t setfacl -k dir
show dir
t mkdir dir/private
t touch dir/private/file
show dir/private dir/private/file
umask 022
# A default list without a mask bounds the group itself.
mkdir plain
t setfacl -d --set u::rwx,g::rx,o::x plain
t touch plain/file
t mkdir plain/dir
show plain plain/file plain/dir
t setfattr -x system.posix_acl_default plain
show plain

# A way through a directory.
mkdir -m 700 way
echo through >way/file
chmod 644 way/file
as 1001 1001 cat way/file
t setfacl -m u:1001:x way
as 1001 1001 cat way/file
as 1001 1001 ls way
as 1002 1002 cat way/file
t setfacl -m u:1001:rx way
as 1001 1001 ls way
t setfacl -x u:1001 way
as 1001 1001 cat way/file

# The set-group-id bit and who may leave it there.
for kind in sgid-file sgid-dir; do
    case $kind in *file) : >$kind ;; *) mkdir $kind ;; esac
    for who in stranger member root; do
        chown 1000:1005 $kind
        chmod 2775 $kind
        case $who in
        stranger) as 1000 1000 setfacl -m u:1001:rwx $kind ;;
        member) member 1000 1000 1005 setfacl -m u:1001:rwx $kind ;;
        root) t setfacl -m u:1001:rwx $kind ;;
        esac
        show $kind
        t setfacl -b $kind
    done
done
mkdir shared
chown 1000:1005 shared
chmod 2775 shared
t setfacl -d -m u:1001:rwx shared
as 1001 1005 sh -c 'umask 077; mkdir shared/dir; : >shared/file'
show shared/dir shared/file

# What copies a file copies its list.
echo text >original
t setfacl -m u:1001:rw,u:1002:r,g:1003:rwx,m::rw original
mkdir -m 750 tree
t setfacl -m u:1001:rwx,d:u:1001:rx tree
touch tree/file
mkdir copied
t cp -a original tree copied
show copied/original copied/tree copied/tree/file
t tar --acls -cf archive.tar original tree
mkdir unpacked
t tar --acls -xf archive.tar -C unpacked
show unpacked/original unpacked/tree unpacked/tree/file
getfattr -m - original tree copied/tree 2>&1
t mv original moved
show moved
t sh -c 'getfacl --numeric -R tree >saved; setfacl -R -b tree; setfacl --restore=saved'
show tree tree/file

# Many entries.
entries=$(seq -s, -f 'u:%g:r' 2000 2099)
setfacl -m "$entries" moved
getfacl --numeric moved | sha256sum

# What is no list.
bad() { t setfattr -n system.posix_acl_access -v "$1" moved; }
bad 0x01000000
bad 0x02000000
bad 0x0200
bad 0x0200000001000600ffffffff
bad 0x0200000001000800ffffffff04000400ffffffff20000400ffffffff
bad 0x0200000001000600ffffffff02000600e803000004000400ffffffff20000400ffffffff
bad 0x0200000004000400ffffffff01000600ffffffff20000400ffffffff
bad 0x0200000001000600ffffffff04000400ffffffff20000400ffffffff00
bad 0x0200000001000600ffffffff04000400ffffffff40000400ffffffff
bad 0x0200000001000600ffffffff04000400ffffffff20000400ffffffff
show moved
ln -s moved symlink
t setfacl -P -m u:1001:r symlink
t setfattr -h -n system.posix_acl_access -v 0x0200000001000600ffffffff04000400ffffffff20000400ffffffff symlink
