/* What a hosts entry does, for one process and without root: DSQL_ENDPOINT resolves to DSQL_HOSTADDR. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    const char *name = getenv("DSQL_ENDPOINT"), *address = getenv("DSQL_HOSTADDR");
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node && name && address && strcmp(node, name) == 0)
        node = address;
    return real(node, service, hints, found);
}
