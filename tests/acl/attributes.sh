# Extended attributes: which name spaces are whose, on what, with which flags.
. "$STEPS"
umask 022
chmod 777 .
echo text >file
chown 1000:1000 file
chmod 644 file
mkdir dir sticky
chmod 1777 sticky
ln -s file link
mkfifo fifo
mknod null c 1 3
names() { getfattr -h -m - "$@" 2>&1 | grep -v '^$' | sort; }

for target in file dir fifo null; do
    t setfattr -n user.a -v 1 $target
    t setfattr -n trusted.a -v 1 $target
    t setfattr -n security.a -v 1 $target
    t setfattr -n system.a -v 1 $target
    t setfattr -n other.a -v 1 $target
    t setfattr -n noprefix -v 1 $target
    t setfattr -n user. -v 1 $target
    names $target
    as 1001 1001 getfattr -n user.a $target
    as 1001 1001 getfattr -n trusted.a $target
    as 1001 1001 getfattr -n security.a $target
    as 1001 1001 setfattr -n user.a -v 2 $target
    as 1001 1001 setfattr -n trusted.a -v 2 $target
    as 1001 1001 setfattr -n security.a -v 2 $target
    as 1001 1001 getfattr -m - $target
    t getfattr -n user.missing $target
    t setfattr -x user.missing $target
    t setfattr -x user.a $target
    t setfattr -x trusted.a $target
    names $target
done
# Of a symlink itself.
t setfattr -h -n user.a -v 1 link
t setfattr -h -n trusted.a -v 1 link
t setfattr -h -n security.a -v 1 link
names link
t getfattr -h -n user.a link
# The owner, without privilege.
as 1000 1000 setfattr -n user.b -v 'some text' file
as 1000 1000 setfattr -n user.empty file
as 1000 1000 setfattr -n user.binary -v 0x00ff00 file
as 1000 1000 setfattr -n trusted.b -v 1 file
as 1000 1000 setfattr -n security.b -v 1 file
as 1000 1000 getfattr -d -m - file
t getfattr -d -e hex -m user file
chmod 0 file
as 1000 1000 getfattr -n user.b file
as 1000 1000 setfattr -n user.b -v 2 file
chmod 444 file
as 1000 1000 setfattr -n user.b -v 2 file
as 1000 1000 setfattr -x user.b file
# In a sticky directory only the owner sets them.
as 1001 1001 setfattr -n user.a -v 1 sticky
t setfattr -n user.a -v 1 sticky
as 1001 1001 getfattr -n user.a sticky
# They stay with the file.
chmod 644 file
t setfattr -n user.stays -v here file
t mv file moved
t ln moved linked
t chmod 600 moved
t sh -c 'echo more >moved'
t truncate -s 0 moved
t chown 1001 moved
t getfattr -d linked
t cp -a moved copied
t getfattr -d -m - copied
t cp moved plain
t getfattr -d -m - plain
