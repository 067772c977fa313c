# Set-user-id bits, capabilities, sticky and set-group-id directories: what is lost when, and to whom.
. "$STEPS"
umask 022
chmod 755 .

# fresh MODE [GROUP]: a file of user 1000.
fresh() {
    rm -f file
    head -c 8192 /dev/zero >file
    chown "1000:${2:-1000}" file
    chmod "$1" file
}
mode() { stat -c '%a %u:%g %s' file; }
page='dd if=/dev/zero of=file bs=4096 count=1 conv=notrunc status=none'

# Change of bytes, by one without privilege.
for bits in 6755 4755 2755 2745 6666 6777; do
    fresh $bits; as 1000 1000 sh -c 'echo x >>file'; mode
    fresh $bits; as 1000 1000 $page; mode
    fresh $bits; as 1000 1000 $page oflag=direct; mode
    fresh $bits; as 1000 1000 truncate -s 10 file; mode
    fresh $bits; as 1000 1000 truncate -s 10000 file; mode
    fresh $bits; as 1000 1000 sh -c ': >file'; mode
    fresh $bits; as 1000 1000 fallocate -l 20000 file; mode
    fresh $bits; as 1000 1000 fallocate -p -o 0 -l 4096 file; mode
    fresh $bits; t fallocate -z -o 0 -l 4096 file; mode
    fresh $bits; as 1000 1000 touch file; mode
    fresh $bits 1005; as 1000 1000 sh -c 'echo x >>file'; mode
    fresh $bits 1005; as 1000 1000 $page oflag=direct; mode
    fresh $bits 1005; as 1000 1000 truncate -s 10 file; mode
    fresh $bits 1005; member 1000 1000 1005 sh -c 'echo x >>file'; mode
    fresh $bits 1005; member 1000 1000 1005 $page oflag=direct; mode
    fresh $bits 1005; member 1000 1000 1005 truncate -s 10 file; mode
    fresh $bits 1005; member 1000 1000 1005 sh -c ': >file'; mode
    # By root, with its privilege and without.
    fresh $bits; t sh -c 'echo x >>file'; mode
    fresh $bits; t $page oflag=direct; mode
    fresh $bits; t truncate -s 10 file; mode
    fresh $bits; t sh -c ': >file'; mode
    fresh $bits; t capsh --drop=cap_fsetid -- -c 'echo x >>file'; mode
    fresh $bits; t capsh --drop=cap_fsetid -- -c "$page oflag=direct"; mode
    fresh $bits; t capsh --drop=cap_fsetid -- -c 'truncate -s 10 file'; mode
    fresh $bits; t capsh --drop=cap_fsetid -- -c ': >file'; mode
    # Change of owner.
    fresh $bits; t chown 1001 file; mode
    fresh $bits; t chgrp 1001 file; mode
    fresh $bits; t chown 1000:1000 file; mode
    fresh $bits; t chown '' file; mode
    fresh $bits; as 1000 1000 chown '' file; mode
    fresh $bits; as 1000 1000 chgrp 1000 file; mode
    fresh $bits 1005; member 1000 1000 1005 chgrp 1000 file; mode
    fresh $bits 1005; as 1000 1000 chgrp 1000 file; mode
    # What changes neither.
    fresh $bits; t ln file other; mode; rm other
    fresh $bits; t mv file other; mv other file; mode
    fresh $bits; as 1001 1001 sh -c 'echo x >>file'; mode
    fresh $bits; as 1000 1000 chmod u+s,g+s file; mode
    fresh $bits 1005; as 1000 1000 chmod 6755 file; mode
done
mkfifo fifo
chown 1000:1000 fifo
chmod 6755 fifo
t chown 1001 fifo
stat -c '%a' fifo
mkdir sdir
chmod 6755 sdir
t chown 1001:1001 sdir
stat -c '%a' sdir

# Capabilities go with any change, whoever makes it.
capable() {
    fresh 755
    setcap cap_net_bind_service+ep file
}
caps() { getcap file; }
capable; caps
capable; t sh -c 'echo x >>file'; caps
capable; t $page; caps
capable; t $page oflag=direct; caps
capable; t truncate -s 10 file; caps
capable; t fallocate -l 20000 file; caps
capable; t sh -c ': >file'; caps
capable; t chown 1001 file; caps
capable; t chgrp 1001 file; caps
capable; t chmod 700 file; caps
capable; t touch file; caps
capable; t mv file other; mv other file; caps
capable; as 1000 1000 sh -c 'echo x >>file'; caps
capable; as 1000 1000 $page oflag=direct; caps
capable; as 1000 1000 truncate -s 10 file; caps
capable; as 1000 1000 setcap -r file; caps
capable; t setcap -r file; caps
# What was written before does not take away what was granted after.
fresh 755; t sh -c 'echo x >>file; setcap cap_net_bind_service+ep file; sync file'; caps
fresh 755; chmod 6755 file; t sh -c 'echo x >>file; sync file'; mode

# Sticky directories.
mkdir sticky
chmod 1777 sticky
as 1000 1000 sh -c 'echo mine >sticky/mine; echo mine >sticky/given; chmod 666 sticky/*'
as 1001 1001 sh -c 'echo more >>sticky/mine'
as 1001 1001 rm -f sticky/mine
as 1001 1001 mv sticky/mine sticky/yours
as 1001 1001 sh -c 'echo x >sticky/own; mv sticky/own sticky/mine'
as 1001 1001 ln sticky/mine sticky/linked
as 1000 1000 mv sticky/given sticky/moved
as 1000 1000 rm -f sticky/mine
t rm -f sticky/moved
ls sticky

# Set-group-id directories.
mkdir -m 2777 team
chgrp 1005 team
as 1000 1000 sh -c 'mkdir team/dir; : >team/file; mkfifo team/fifo; ln -s x team/link'
as 1000 1000 sh -c 'umask 0; cp /bin/true team/program; chmod 2755 team/program'
member 1000 1000 1005 sh -c 'umask 0; cp /bin/true team/program2; chmod 2755 team/program2'
stat -c '%A %u:%g %n' team/*
t sh -c 'cd team/dir && mkdir -p a/b && stat -c "%A %g" a a/b'

# access(2) answers as open(2) would, for the real user.
echo text >readable
chown 1000:1005 readable
for bits in 400 040 004 200 020 002 100 010 001 000; do
    chmod $bits readable
    for flag in -r -w -x; do
        as 1000 1000 test $flag readable
        as 1001 1005 test $flag readable
        as 1001 1001 test $flag readable
        t test $flag readable
    done
done
