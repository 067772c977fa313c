/* What programs do that neither a shell nor safe Rust can: locks of the three kinds, careful saves, shared memory.

   helper lock flock|posix|ofd shared|exclusive try|wait|alarm FILE START LENGTH
       says held, and keeps the lock until its input ends; or says refused, or interrupted; for posix and ofd locks
       a refusal is followed by the process that holds it
   helper save DIR
       saves DIR/file over and over as careful editors do, and says each version that is safe
   helper map FILE ROLE ROUNDS
       counts with another process, each in its turn, in a page that both have mapped */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static void say(const char *word) {
    puts(word);
    if (fflush(stdout) != 0) exit(2);
}

static void wait_for_end_of_input(void) {
    char byte;
    while (read(0, &byte, 1) > 0) {}
}

static void on_alarm(int number) { (void)number; }

static int lock(char **words) {
    const char *kind = words[0], *how = words[2];
    int is_shared = strcmp(words[1], "shared") == 0, is_trying = strcmp(how, "try") == 0;
    int file = open(words[3], O_RDWR | O_CREAT, 0666);
    if (file < 0) fail(words[3]);
    if (strcmp(how, "alarm") == 0) {
        /* Without SA_RESTART, so that the wait ends. */
        struct sigaction action = {.sa_handler = on_alarm};
        sigaction(SIGALRM, &action, NULL);
        alarm(1);
    }
    struct flock range = {.l_type = is_shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    range.l_start = atol(words[4]);
    range.l_len = atol(words[5]);
    int is_ofd = strcmp(kind, "ofd") == 0, done;
    if (strcmp(kind, "flock") == 0)
        done = flock(file, (is_shared ? LOCK_SH : LOCK_EX) | (is_trying ? LOCK_NB : 0));
    else if (is_ofd)
        done = fcntl(file, is_trying ? F_OFD_SETLK : F_OFD_SETLKW, &range);
    else
        done = fcntl(file, is_trying ? F_SETLK : F_SETLKW, &range);
    if (done == 0) {
        say("held");
        wait_for_end_of_input();
        return 0;
    }
    if (errno == EINTR) {
        say("interrupted");
        return 0;
    }
    if (errno != EAGAIN && errno != EACCES) fail("lock");
    say("refused");
    if (strcmp(kind, "flock") != 0) {
        if (fcntl(file, is_ofd ? F_OFD_GETLK : F_GETLK, &range) != 0) fail("F_GETLK");
        printf("%d\n", (int)range.l_pid);
    }
    return 0;
}

/* Writes the version, many bytes that follow from it, and the version again. */
static void write_version(const char *path, unsigned version) {
    FILE *file = fopen(path, "w");
    if (!file) fail(path);
    fprintf(file, "%u\n", version);
    for (unsigned line = 0; line < 200 + version % 7 * 500; line++) fprintf(file, "%u of %u\n", line, version);
    fprintf(file, "%u\n", version);
    if (fflush(file) != 0 || fsync(fileno(file)) != 0 || fclose(file) != 0) fail(path);
}

static int save(const char *dir) {
    if (chdir(dir) != 0) fail(dir);
    int here = open(".", O_RDONLY | O_DIRECTORY);
    if (here < 0) fail("directory");
    unsigned version = 1;
    FILE *old = fopen("file", "r");
    if (old) {
        if (fscanf(old, "%u", &version) != 1) fail("the old version");
        version++;
        fclose(old);
    }
    for (;; version++) {
        write_version("file.new", version);
        /* The backup is the old file itself; at no time is there no file. */
        if (unlink("file~") != 0 && errno != ENOENT) fail("unlink");
        if (link("file", "file~") != 0 && errno != ENOENT) fail("link");
        if (rename("file.new", "file") != 0) fail("rename");
        if (fsync(here) != 0) fail("fsync of the directory");
        printf("%u\n", version);
        if (fflush(stdout) != 0) return 2;
    }
}

static int map(const char *path, unsigned role, unsigned rounds) {
    int file = open(path, O_RDWR);
    if (file < 0) fail(path);
    char *bytes = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (bytes == MAP_FAILED) fail("mmap");
    volatile unsigned *count = (volatile unsigned *)(bytes + 5000);
    /* It is killed when the other one does not count on. */
    alarm(60);
    while (*count < rounds) {
        if (*count % 2 == role) __sync_fetch_and_add((unsigned *)count, 1);
        else sched_yield();
    }
    if (msync(bytes, 8192, MS_SYNC) != 0) fail("msync");
    say("counted");
    return munmap(bytes, 8192) == 0 ? 0 : 2;
}

int main(int count, char **words) {
    if (count == 8 && strcmp(words[1], "lock") == 0) return lock(words + 2);
    if (count == 3 && strcmp(words[1], "save") == 0) return save(words[2]);
    if (count == 5 && strcmp(words[1], "map") == 0) return map(words[2], atoi(words[3]), atoi(words[4]));
    fputs("helper: wrong words\n", stderr);
    return 2;
}
