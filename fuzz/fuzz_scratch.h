/* SPDX-License-Identifier: Apache-2.0 */
/* For targets whose readers and writers want a folder: one with a file of the given name in it, whose bytes each input
 * sets, until the program ends. Who includes this calls fuzz_scratch_make() once. */
#ifndef SAH_FUZZ_SCRATCH_H
#define SAH_FUZZ_SCRATCH_H

#include "fuzz_input.h"

static fuzz_folder folder;
static int file;

static void remove_folder(void)
{
    fuzz_folder_remove(&folder);
}

static void fuzz_scratch_make(const char *name)
{
    fuzz_folder_make(&folder);
    atexit(remove_folder);
    file = fuzz_named(&folder, name);
}

#endif
