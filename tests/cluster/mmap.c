/* Changes a file through a shared mapping: mmap.c FILE OFFSET TEXT. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int count, char **words) {
    struct stat meta;
    int file = count == 4 ? open(words[1], O_RDWR) : -1;
    if (file < 0 || fstat(file, &meta) != 0) return 1;
    char *bytes = mmap(NULL, meta.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (bytes == MAP_FAILED) return 2;
    memcpy(bytes + atol(words[2]), words[3], strlen(words[3]));
    if (munmap(bytes, meta.st_size) != 0) return 3;
    return close(file) == 0 ? 0 : 4;
}
