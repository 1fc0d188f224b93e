/* SPDX-License-Identifier: Apache-2.0 */
#include "loading.h"

sah_status model_load(const cli_options *options, const char *path, const sah_model_options *model_options,
                      sah_model **out, sah_error *error)
{
    sah_status status = sah_model_open(path, model_options, out, error);
    if (status != SAH_OK || options->quiet) return status;
    const sah_model_info *info = sah_model_describe(*out);
    if (info->device_note[0]) fprintf(stderr, "device %s\n", info->device_note);
    if (info->precision_note[0]) fprintf(stderr, "precision %s\n", info->precision_note);
    return status;
}
