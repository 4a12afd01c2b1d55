/* Known answers of CRC-32, and that parts add up to the whole. One line a case; exit 1 when one fails. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crc32.h"

static const struct {
    const char *text;
    uint32_t crc;
} known[] = {
    { "", 0x00000000u },
    { "a", 0xe8b7be43u },
    { "abc", 0x352441c2u },
    { "123456789", 0xcbf43926u },
    { "The quick brown fox jumps over the lazy dog", 0x414fa339u },
};

static int failures;

static void check(const char *what, uint32_t got, uint32_t want)
{
    failures += got != want;
    printf("%s - %s: %08" PRIx32 "\n", got == want ? "ok" : "not ok", what, got);
}

int main(void)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        check(known[i].text, crc32_update(0, known[i].text, strlen(known[i].text)), known[i].crc);

    const char *text = known[4].text;
    size_t length = strlen(text);
    for (size_t cut = 0; cut <= length; cut += 11) {
        uint32_t crc = crc32_update(0, text, cut);
        check("in two parts", crc32_update(crc, text + cut, length - cut), known[4].crc);
    }
    printf("%d failed\n", failures);
    return failures != 0;
}
