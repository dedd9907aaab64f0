/* Gives an unmodified program another /etc/hosts: preloaded, it opens the file that HOSTS_SHIM_FILE names in its place. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef FILE *open_file(const char *, const char *);

static const char *instead_of(const char *path) {
    const char *other = getenv("HOSTS_SHIM_FILE");
    return other && path && strcmp(path, "/etc/hosts") == 0 ? other : path;
}

FILE *fopen(const char *path, const char *mode) {
    return ((open_file *)dlsym(RTLD_NEXT, "fopen"))(instead_of(path), mode);
}

FILE *fopen64(const char *path, const char *mode) {
    return ((open_file *)dlsym(RTLD_NEXT, "fopen64"))(instead_of(path), mode);
}
