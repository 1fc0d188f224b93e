/* SPDX-License-Identifier: Apache-2.0 */
/* The device of far.h as a plugin, which takes the place of libsahara-cuda.so. The environment says what is the matter
 * with it:
 *
 *     FAR_IS=abi, version, bytes, name   it is not what the library expects
 *     FAR_IS=absent                      there is no card
 *     FAR_IS=other                       one of another kind
 *     FAR_MEMORY=N, FAR_PRODUCTS=N       far_limit()
 *     FAR_LOADED=FILE                    made when the plugin is loaded */
#include <stdio.h>
#include <stdlib.h>

#include "engine/cuda/plugin.h"
#include "models/far.h"
#include "util/error.h"

static long number(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? strtol(text, NULL, 10) : 0;
}

static bool is(const char *what)
{
    const char *text = getenv("FAR_IS");
    return text != NULL && strcmp(text, what) == 0;
}

__attribute__((constructor)) static void loaded(void)
{
    const char *path = getenv("FAR_LOADED");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    if (file != NULL) fclose(file);
}

static sah_status open_far(const sah_device **out, char *description, size_t size, sah_error *error)
{
    if (is("absent")) return sah_fail(error, SAH_NOT_SUPPORTED, "there is no card");
    far_limit((size_t)number("FAR_MEMORY"), number("FAR_PRODUCTS"));
    *out = far_device();
    snprintf(description, size, "cuda: far%s", is("other") ? ", of another kind" : "");
    return SAH_OK;
}

/* By its name alone (SAH_PLUGIN_SYMBOL). */
__attribute__((visibility("default"))) const sah_plugin *sah_plugin_get(void);

const sah_plugin *sah_plugin_get(void)
{
    static sah_plugin plugin;
    plugin = (sah_plugin){
        .abi = SAH_PLUGIN_ABI + (is("abi") ? 6 : 0),
        .bytes = SAH_PLUGIN_BYTES + (is("bytes") ? 8 : 0),
        .version = is("version") ? "9.9.9" : SAH_VERSION,
        .name = is("name") ? "abacus" : "cuda",
        .open = open_far,
    };
    return &plugin;
}
