/* CRC-32 (ISO 3309, reflected polynomial 0xedb88320), as used by zip, gzip and PNG. */
#ifndef WRIT_DEMO_CRC32_H
#define WRIT_DEMO_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Continues a checksum over more bytes; begin with 0. */
uint32_t crc32_update(uint32_t crc, const void *bytes, size_t length);

#endif
