/* SPDX-License-Identifier: Apache-2.0 */
/* What a device's plugin, libsahara-NAME.so, shows: one function that returns one struct. Nothing else of the plugin
 * is visible, and it needs no symbol of the program's: what it uses of the library lies in it.
 *
 * The structs of engine/device.h go through without translation, so plugin and library must be of one version and
 * one layout. Who loads a plugin compares what sah_plugin_fits() compares, in this order, before anything else. */
#ifndef SAH_ENGINE_CUDA_PLUGIN_H
#define SAH_ENGINE_CUDA_PLUGIN_H

#include <string.h>

#include "engine/device.h"

#define SAH_PLUGIN_SYMBOL "sah_plugin_get" /* of type sah_plugin_fn */
#define SAH_PLUGIN_ABI    4 /* counts up when engine/device.h, or what it includes, changes */

typedef struct sah_plugin {
    uint32_t abi; /* SAH_PLUGIN_ABI; stays the first member for ever */
    uint32_t bytes; /* SAH_PLUGIN_BYTES: structs that changed without a new number */
    const char *version; /* SAH_VERSION of the library it was built of */
    const char *name; /* "cuda" */
    /* *out = the device, for as long as the process lives; `description` [size] is what a result's header
     * says of it: the kind of card and how products are made there, the same for cards that give the same bits. On
     * failure one line says what is missing: a driver, a card, a library. May be called again, and by any thread. */
    sah_status (*open)(const sah_device **out, char *description, size_t size, sah_error *error);
} sah_plugin;

typedef const sah_plugin *(*sah_plugin_fn)(void);

#define SAH_PLUGIN_BYTES                                                                                     \
    ((uint32_t)(sizeof(sah_device) + sizeof(sah_config) + sizeof(sah_workspace) + sizeof(sah_attention) +    \
                sizeof(sah_rotation) + sizeof(sah_stand_in) + sizeof(sah_view) + sizeof(sah_row_score) +     \
                sizeof(sah_packing) + sizeof(sah_weights)))

static inline bool sah_plugin_fits(const sah_plugin *plugin)
{
    return plugin->abi == SAH_PLUGIN_ABI && plugin->bytes == SAH_PLUGIN_BYTES &&
           strcmp(plugin->version, SAH_VERSION) == 0;
}

#endif
