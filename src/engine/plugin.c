/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/cpu/cpu.h"
#include "engine/cuda/plugin.h"
#include "util/error.h"

static const char CUDA[] = "cuda", FOLDERS[] = "SAHARA_DEVICE_PATH";

/* ---- Where it is --------------------------------------------------------------------------------------- */

/* The folder of the program or library that this code lies in; false: nobody knows. */
static bool own_folder(char out[PATH_MAX])
{
    Dl_info info;
    struct link_map *map = NULL;
    static const char here; /* anything of ours */
    if (!dladdr1(&here, &info, (void **)&map, RTLD_DL_LINKMAP) || map == NULL) return false;
    /* The program itself has no name there. */
    const char *path = map->l_name[0] ? map->l_name : "/proc/self/exe";
    if (realpath(path, out) == NULL) return false;
    char *slash = strrchr(out, '/');
    if (slash != NULL) *slash = '\0';
    return slash != NULL;
}

static bool is_there(const char *folder, size_t length, const char *file, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%.*s/%s", (int)length, folder, file);
    return n > 0 && n < PATH_MAX && access(out, F_OK) == 0;
}

/* The plugin's path: in our own folder, else in the first of SAHARA_DEVICE_PATH that has it (its folders stand
 * between colons), else its bare name, which the system looks for where it keeps libraries. */
static void find_file(const char *file, const char *folder, char out[PATH_MAX])
{
    const char *at = secure_getenv(FOLDERS);
    if (folder[0] && is_there(folder, strlen(folder), file, out)) return;
    while (at != NULL && *at) {
        const size_t length = strcspn(at, ":");
        if (length > 0 && length < PATH_MAX && is_there(at, length, file, out)) return;
        at += length + (at[length] == ':');
    }
    snprintf(out, PATH_MAX, "%s", file);
}

/* ---- Opening it ---------------------------------------------------------------------------------------- */

static sah_status load(const char *name, void **out, char path[PATH_MAX], sah_error *error)
{
    char file[64], folder[PATH_MAX];
    snprintf(file, sizeof file, "libsahara-%s.so", name);
    if (!own_folder(folder)) folder[0] = '\0';
    find_file(file, folder, path);
    *out = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (*out != NULL) return SAH_OK;
    const char *why = dlerror();
    if (strchr(path, '/') != NULL || (why != NULL && strncmp(why, file, strlen(file)) != 0))
        return sah_fail(error, SAH_NOT_SUPPORTED, "the plugin does not load: %s", why != NULL ? why : path);
    return sah_fail(
        error, SAH_NOT_SUPPORTED,
        "there is no plugin %s, neither in %s nor in a folder of %s nor among the system's libraries", file,
        folder[0] ? folder : "the program's folder", FOLDERS);
}

/* Whether library and plugin speak of the same structs. Of a plugin with another number nothing else is read. */
static sah_status check(const sah_plugin *plugin, const char *name, const char *path, sah_error *error)
{
    if (plugin->abi != SAH_PLUGIN_ABI)
        return sah_fail(
            error, SAH_NOT_SUPPORTED,
            "%s belongs to another version (its interface is %u, not %d); install the one of " SAH_VERSION,
            path, plugin->abi, SAH_PLUGIN_ABI);
    if (strcmp(plugin->version, SAH_VERSION) != 0)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s belongs to version %.40s; install the one of " SAH_VERSION, path,
                        plugin->version);
    if (!sah_plugin_fits(plugin))
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s was built from other sources of " SAH_VERSION "; rebuild both", path);
    if (strcmp(plugin->name, name) != 0)
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s is the plugin of %.40s", path, plugin->name);
    return SAH_OK;
}

/* The library stays: its device is used until the process ends. */
static sah_status open_plugin(const char *name, const sah_device **out, char *description, size_t size,
                              sah_error *error)
{
    void *library;
    char path[PATH_MAX];
    sah_status status = load(name, &library, path, error);
    if (status != SAH_OK) return status;
    void *symbol = dlsym(library, SAH_PLUGIN_SYMBOL);
    sah_plugin_fn get;
    memcpy(&get, &symbol, sizeof get);
    const sah_plugin *plugin = symbol != NULL ? get() : NULL;
    if (plugin == NULL)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s is no plugin of Sahara's: it has no " SAH_PLUGIN_SYMBOL "()", path);
    status = check(plugin, name, path, error);
    return status == SAH_OK ? plugin->open(out, description, size, error) : status;
}

sah_status sah_device_find(sah_device_choice choice, const sah_device **out, char *description, size_t size,
                           char *note, size_t note_size, sah_error *error)
{
    sah_error why = {0};
    *out = sah_cpu();
    description[0] = note[0] = '\0';
    if (choice == SAH_DEVICE_CPU) return SAH_OK;
    if (choice != SAH_DEVICE_CUDA && choice != SAH_DEVICE_AUTO)
        return sah_fail_field(error, SAH_BAD_ARGUMENT, "device", ": there is no device number %d",
                              (int)choice);
    sah_status status = open_plugin(CUDA, out, description, size, &why);
    if (status == SAH_OK) {
        if (choice == SAH_DEVICE_AUTO) snprintf(note, note_size, "%s", description);
        return SAH_OK;
    }
    *out = sah_cpu();
    description[0] = '\0';
    if (choice == SAH_DEVICE_CUDA)
        return sah_fail_field(error, status, "device", " %s: %s", CUDA, why.message);
    snprintf(note, note_size, "cpu: %s", why.message);
    return SAH_OK;
}
