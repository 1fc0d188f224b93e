/* SPDX-License-Identifier: Apache-2.0 */
/* Devices other than the CPU live in plugins, libsahara-NAME.so, which are looked for and opened when a run asks for
 * one, and never otherwise (cuda/plugin.h says what they show). */
#ifndef SAH_ENGINE_PLUGIN_H
#define SAH_ENGINE_PLUGIN_H

#include "engine/device.h"

/* The device that is meant, for as long as the process lives; `description` [size] is what results say of it, ""
 * for the CPU. `auto` takes the first that opens, and the CPU where none does: `note` [note_size] then says which, and
 * why no other; it is empty otherwise. Else fails with a line that says what is missing. */
sah_status sah_device_find(sah_device_choice choice, const sah_device **out, char *description, size_t size,
                           char *note, size_t note_size, sah_error *error);

#endif
