/* Prints the CRC-32 of each file named on the command line. */
#include <inttypes.h>
#include <stdio.h>

#include "crc32.h"

static int print_sum(const char *name)
{
    unsigned char block[4096];
    uint32_t crc = 0;
    size_t length;
    FILE *file = fopen(name, "rb");

    if (file == NULL) {
        perror(name);
        return 1;
    }
    while ((length = fread(block, 1, sizeof block, file)) > 0)
        crc = crc32_update(crc, block, length);
    if (ferror(file)) {
        perror(name);
        fclose(file);
        return 1;
    }
    fclose(file);
    printf("%08" PRIx32 "  %s\n", crc, name);
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE...\n", argv[0]);
        return 64;
    }
    for (int i = 1; i < argc; i++)
        failed |= print_sum(argv[i]);
    return failed;
}
