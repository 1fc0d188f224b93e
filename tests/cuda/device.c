/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/device.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/cuda/card.h"
#include "engine/cuda/plugin.h"

const sah_plugin *sah_plugin_get(void);

static const sah_device *device_of(bool pieces, emulated_order order)
{
    const sah_device *device;
    char description[160];
    sah_error error = {0};
    emulated_card(1, 9, 0, (size_t)4 << 30);
    emulated_run(order);
    if (sah_plugin_get()->open(&device, description, sizeof description, &error) != SAH_OK) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    sah_card_here()->pieces = pieces;
    return device;
}

const sah_device *emulated_by_pieces(void)
{
    return device_of(true, EMULATED_FORWARD);
}

const sah_device *emulated_by_float32(void)
{
    return device_of(false, EMULATED_BACKWARD);
}
