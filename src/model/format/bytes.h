/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian numbers at any place in a file. */
#ifndef SAH_MODEL_FORMAT_BYTES_H
#define SAH_MODEL_FORMAT_BYTES_H

#include "model/format/dtype.h"

static inline uint16_t sah_u16_at(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline uint32_t sah_u32_at(const uint8_t *bytes)
{
    return sah_u16_at(bytes) | (uint32_t)sah_u16_at(bytes + 2) << 16;
}

static inline float sah_half_at(const uint8_t *bytes)
{
    return sah_f16_to_f32(sah_u16_at(bytes));
}

#endif
